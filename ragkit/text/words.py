"""Words of a text in any script: the raw tokens that an analyzer turns into terms.

A word is a run of letters, digits, underscores and combining marks. Han and kana, which are written
without spaces, become overlapping pairs of characters, and so do Thai, Lao, Khmer and Burmese; Hangul
stays whole. ASCII text takes a path of its own that is several times faster and gives the same words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

MAX_WORD = 255  # characters; longer words are cut, as in Lucene

HAN_KANA = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b2ff\U00020000-\U000323af"
)
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109d\u1780-\u17d3\u17dc\u17dd"
)

# Above the basic plane whole blocks count as letters: naming each range would slow every other script.
_ASTRAL = "\U00010000-\U0001afef\U0001b300-\U0001cfff\U0001d400-\U0001d7ff\U0001df00-\U0001efff\U000e0100-\U000e01ef"

_LOWER_ASCII = {c: chr(c).lower() if chr(c).isalnum() or chr(c) == "_" else " " for c in range(128)}
_CASED_ASCII = {c: chr(c) if chr(c).isalnum() or chr(c) == "_" else " " for c in range(128)}
_POSSESSIVE = re.compile(r"['’][sS](?!\w)")
_INVISIBLE = re.compile("[\u00ad\u200c\u200d\u2060\ufeff]+")  # soft hyphen, joiners: they sit inside words
_RAISED = re.compile("(?<=[0-9])(?=[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215f])")  # 10², 6½: NFKC would glue the digits


@cache
def word_class() -> str:
    """The inside of a regex class: word characters and combining marks, without Han, kana and the unspaced scripts."""
    letters = "".join(c for c in map(chr, range(0x10000)) if c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M")
    ranges: list[list[int]] = []
    for c in map(ord, re.sub(f"[{HAN_KANA}{UNSPACED}]", "", letters)):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in ranges) + _ASTRAL


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """(a run without spaces, a word, either)."""
    word, run = f"[{word_class()}]+", f"[{HAN_KANA}]+|[{UNSPACED}]+"
    return re.compile(f"[{HAN_KANA}{UNSPACED}]"), re.compile(word), re.compile(f"{run}|{word}")


def words(text: str, *, lower: bool = True, possessive: bool = False, turkic: bool = False) -> list[str]:
    """The words of a text, in order.

    lower       lower-case them
    possessive  drop the English 's
    turkic      lower-case I to ı and İ to i, as Turkish does

    >>> words("The cat's 10² mats, naïve_code")
    ['the', 'cat', 's', '10', '2', 'mats', 'naïve_code']
    >>> words("हिन्दी में 東京都です")
    ['हिन्दी', 'में', '東京', '京都', '都で', 'です']
    """
    if text.isascii():
        if possessive and ("'s" in text or "'S" in text):
            text = _POSSESSIVE.sub(" ", text)
        if turkic and lower:
            text = text.replace("I", "ı")
            found = _patterns()[1].findall(text.lower())
        else:
            found = text.translate(_LOWER_ASCII if lower else _CASED_ASCII).split()
    else:
        found = _unicode_words(text, lower, possessive, turkic)
    if "_" in text:
        found = [w for w in (raw.strip("_") for raw in found) if w]  # Markdown emphasis, rules, dunder names
    if found and max(map(len, found)) > MAX_WORD:
        found = [w[i : i + MAX_WORD] for w in found for i in range(0, len(w), MAX_WORD)]
    return found


def _unicode_words(text: str, lower: bool, possessive: bool, turkic: bool) -> list[str]:
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", _RAISED.sub(" ", text))
    text = _INVISIBLE.sub("", text)
    if possessive:
        text = _POSSESSIVE.sub(" ", text)
    if lower:
        text = (text.replace("İ", "i").replace("I", "ı") if turkic else text).lower()
    unspaced, word, either = _patterns()
    if not unspaced.search(text):
        return word.findall(text)
    found = []
    for w in either.findall(text):
        if len(w) > 2 and unspaced.match(w):
            found += [w[i : i + 2] for i in range(len(w) - 1)]
        else:
            found.append(w)
    return found


_PART = re.compile(r"d+|U+(?!l)|U?l+")


def identifier_parts(word: str) -> list[str]:
    """A code identifier, lower-cased, then its parts by camel case, underscores and digits.

    >>> identifier_parts("parseHTTPResponse_v2")
    ['parsehttpresponse_v2', 'parse', 'http', 'response', 'v', '2']
    >>> identifier_parts("Plain")
    ['plain']
    """
    whole = word.lower()
    if whole == word and word.isalpha():
        return [whole]
    kinds = "".join("U" if c.isupper() else "d" if c.isdigit() else "_" if c == "_" else "l" for c in word)
    parts = [word[m.start() : m.end()].lower() for m in _PART.finditer(kinds)]
    return [whole, *parts] if len(parts) > 1 else [whole]
