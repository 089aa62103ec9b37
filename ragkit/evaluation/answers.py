"""Scores short answers against gold answers: exact match, F1 and the lenient `contains`.

Normalisation is that of SQuAD (Rajpurkar et al., EMNLP 2016); the rule for yes and no is HotpotQA's
(Yang et al., EMNLP 2018); `contains` is the token match of open-domain QA (Chen et al., ACL 2017).
Each measure is the maximum over the gold answers. An unanswerable question has the gold answer "".
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

from ragkit.errors import InputError

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_VERDICTS = frozenset({"yes", "no", "noanswer"})


def normalize_answer(text: str, *, unicode: bool = False) -> str:
    """Lower case, then no punctuation, then no articles, then single spaces: SQuAD's steps in SQuAD's order.

    unicode   also fold compatibility forms (NFKC) first and strip punctuation of all scripts; off for parity with SQuAD

    >>> normalize_answer("The  U.S. Army's a-team")
    'us armys ateam'
    """
    if unicode:
        text = unicodedata.normalize("NFKC", text)
    text = text.lower().translate(_ASCII_PUNCTUATION)
    if unicode:
        text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, golds: str | Sequence[str], *, unicode: bool = False) -> float:
    """1 if the normalised prediction equals a normalised gold answer, else 0.

    >>> exact_match("the Eiffel Tower!", ["Eiffel tower", "La tour Eiffel"])
    1.0
    """
    said = normalize_answer(prediction, unicode=unicode)
    return _best(golds, lambda gold: float(said == normalize_answer(gold, unicode=unicode)))


def f1(prediction: str, golds: str | Sequence[str], *, unicode: bool = False, characters: bool = False) -> float:
    """Harmonic mean of precision and recall over the normalised tokens, each counted as often as it occurs.

    Both sides empty give 1, one empty side 0. If either side is "yes", "no" or "noanswer", anything else than
    the same word gives 0.

    characters   count characters (spaces left out) in place of words: for languages written without spaces

    >>> round(f1("in the city of Paris", "Paris"), 4)  # precision 1/4, recall 1
    0.4
    """

    def score(gold: str) -> float:
        said, true = normalize_answer(prediction, unicode=unicode), normalize_answer(gold, unicode=unicode)
        if said != true and (said in _VERDICTS or true in _VERDICTS):
            return 0.0
        ours, theirs = (list(side.replace(" ", "")) if characters else side.split() for side in (said, true))
        if not ours or not theirs:
            return float(ours == theirs)
        shared = (Counter(ours) & Counter(theirs)).total()
        return 2 * shared / (len(ours) + len(theirs))  # = 2PR / (P + R)

    return _best(golds, score)


def contains(prediction: str, golds: str | Sequence[str]) -> float:
    """1 if a gold answer's tokens stand side by side in the prediction, else 0: lenient, to be reported apart.

    Case-folded and decomposed (NFD); a token is a run of letters, marks and digits, or one other visible character.
    A gold answer without tokens is contained only in a prediction without tokens.

    >>> contains("It was built by Gustave EIFFEL.", ["Gustave Eiffel"]), contains("the art of", ["the a"])
    (1.0, 0.0)
    """
    said = _tokens(prediction)

    def score(gold: str) -> float:
        wanted = _tokens(gold)
        if not wanted:
            return float(not said)
        return float(any(said[i : i + len(wanted)] == wanted for i in range(len(said) - len(wanted) + 1)))

    return _best(golds, score)


def _tokens(text: str) -> list[str]:
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())  # folding can compose again
    tokens: list[str] = []
    for kind, run in groupby(folded, key=_kind):
        if kind == "word":
            tokens.append("".join(run))
        elif kind == "symbol":
            tokens.extend(run)
    return tokens


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    return "word" if category in "LMN" else "blank" if category in "ZC" else "symbol"


def _best(golds: str | Sequence[str], score: Callable[[str], float]) -> float:
    answers = [golds] if isinstance(golds, str) else list(golds)
    if not answers:
        raise InputError("no gold answer was given: an unanswerable question has the one gold answer ''")
    return max(map(score, answers))
