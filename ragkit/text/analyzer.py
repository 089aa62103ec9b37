"""Analyzer: how text becomes the terms of an index, as a frozen spec that is stored with the index.

Words are found by `ragkit.text.words`, stop words dropped, the rest stemmed by Snowball. Stemmers may
not be shared between threads, so the spec owns none: `Analyzer.open` gives a `TermMapper`, which belongs
to one thread and remembers every distinct word that it has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

from pydantic import field_validator

from ragkit.errors import UnknownNameError
from ragkit.registry import need
from ragkit.spec import validated
from ragkit.text.stop_words import stop_list
from ragkit.text.words import identifier_parts, words

ALGORITHMS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "eo": "esperanto",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "st": "sesotho",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
UNSTEMMED = ("ja", "ko", "none", "th", "zh")


class _Stemmer(Protocol):
    def stemWord(self, word: str, /) -> str: ...


@cache
def languages() -> frozenset[str]:
    """The languages that an `Analyzer` takes: Snowball's by ISO 639-1 code, then zh, ja, ko, th and "none"."""
    installed = set(need("Stemmer", extra="all", why="stemming").algorithms())
    return frozenset([code for code, name in ALGORITHMS.items() if name in installed]).union(UNSTEMMED)


@validated
class Analyzer:
    """How text becomes terms.

    language     ISO 639-1 code out of `languages()`; "none" neither drops nor stems
    stop_words   drop the words of the language's stop list
    stem         reduce words by the language's Snowball algorithm, where it has one
    identifiers  take code identifiers apart: parseHTTPResponse gives itself, parse, http and response
    raises       UnknownNameError for a language that is not in `languages()`

    >>> Analyzer().terms("The indexes of John's libraries")
    ['index', 'john', 'librari']
    """

    language: str = "en"
    stop_words: bool = True
    stem: bool = True
    identifiers: bool = False

    @field_validator("language")
    @classmethod
    def _known(cls, language: str) -> str:
        if language not in languages():
            raise UnknownNameError.near("language", language, languages())
        return language

    def split(self, text: str) -> list[str]:
        """The raw tokens of a text, lower-cased, neither dropped nor stemmed."""
        found = self.words(text)
        return [part for word in found for part in identifier_parts(word)] if self.identifiers else found

    def words(self, text: str) -> list[str]:
        """The words that `split` starts from: with identifiers, whole and with their case."""
        return words(text, lower=not self.identifiers, possessive=self.language == "en", turkic=self.language == "tr")

    def term(self, token: str) -> str | None:
        """The term of a raw token; None for a stop word."""
        return self.open().term(token)

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order. For many texts `open` once, or use `ragkit.text.count`."""
        return self.open().terms(text)

    def open(self) -> TermMapper:
        """The working half of the analyzer, for one thread."""
        return TermMapper(self)


class TermMapper:
    """Maps words to terms and remembers each distinct word. Not to be shared between threads."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self._stop = stop_list(analyzer.language) if analyzer.stop_words else frozenset()
        self._stem = _stemmer(analyzer.language) if analyzer.stem else None
        self._memo = _Memo(self._word_terms)

    def term(self, token: str) -> str | None:
        """The term of a raw token; None for a stop word."""
        if token in self._stop:
            return None
        return self._stem(token) if self._stem is not None else token

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order."""
        memo = self._memo
        return [term for word in self.analyzer.words(text) for term in memo[word]]

    def _word_terms(self, word: str) -> tuple[str, ...]:
        tokens = identifier_parts(word) if self.analyzer.identifiers else (word,)
        return tuple(term for term in map(self.term, tokens) if term is not None)

    def word_terms(self, word: str) -> tuple[str, ...]:
        """The terms of one word as `Analyzer.words` gives it: none, one, or several for an identifier."""
        return self._memo[word]


class _Memo(dict[str, tuple[str, ...]]):
    """A dictionary that computes what it lacks."""

    def __init__(self, compute: Callable[[str], tuple[str, ...]]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, word: str) -> tuple[str, ...]:
        self[word] = terms = self._compute(word)
        return terms


def _stemmer(language: str) -> Callable[[str], str] | None:
    if language not in ALGORITHMS:
        return None
    made: _Stemmer = need("Stemmer", extra="all", why="stemming").Stemmer(ALGORITHMS[language], 0)  # 0: we remember words ourselves
    return made.stemWord
