"""Phrases in a question: what stands in quotation marks is meant as it is written, and with a minus sign it is not wanted."""

from __future__ import annotations

import re
from typing import NamedTuple

_QUOTED = re.compile(r"(?<!\w)(-?)(?:\"([^\"]+)\"|“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»)")


class Phrases(NamedTuple):
    """A question without its quotation marks and without what it does not want; what a text must hold, and must not."""

    text: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


def split_phrases(text: str) -> Phrases:
    """Find the quoted phrases of a question.

    >>> split_phrases('how often is the "outer gasket" replaced -"in winter"')
    Phrases(text='how often is the outer gasket replaced', wanted=('outer gasket',), unwanted=('in winter',))
    """
    found: dict[str, list[str]] = {"": [], "-": []}

    def plain(match: re.Match[str]) -> str:
        phrase = next(group for group in match.groups()[1:] if group)
        if phrase.strip():
            found[match[1]].append(phrase)
        return " " if match[1] else phrase

    rest = " ".join(_QUOTED.sub(plain, text).split())
    return Phrases(rest, tuple(found[""]), tuple(found["-"]))
