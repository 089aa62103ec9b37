"""The extractive reader: answers with the best-supported sentences, and says so where there are none.

No language model: each sentence of the retrieved passages is credited for the content words of the
question that it holds, and in part for those that its surroundings hold, weighted by how rare they
are in the collection. The answer quotes the best sentences; how well the first is supported is its confidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ragkit.pipelines.context import Block, ContextBuilder
from ragkit.protocols import TermStatistics
from ragkit.run import Run
from ragkit.spec import validated
from ragkit.text import Analyzer, TermMapper, content_terms, detect, function_words, sentence_spans
from ragkit.types import Answer, Citation, Passage

_FENCES = ("```", "~~~")
_HASHES = re.compile(r"#{1,6}\s[^\n]*$")
_UNDERLINE = re.compile(r"^[^\n]+\n\s*([=\-~^\"'#*+`])\1{2,}\s*$")
_TABLE_RULE = re.compile(r"\|?[\s:|-]*-{2,}[\s:|-]*$")
_MARKER = re.compile(r"(?:[-*+>•]|\d{1,3}[.)])\s+")
_WORD = re.compile(r"\w[\w'’-]*")

NOT_FOUND = "Not found in these documents."

IN_PREVIOUS = 0.6
IN_HEADINGS = 0.5
IN_PASSAGE = 0.2
"""Credit for a word of the question that is not in the sentence but in the one before, in the title or a
heading above it, or anywhere else in its passage. Fitted on half of xquad-en."""

NAMES = 0.4
"""Share of the confidence that is lost where none of the names in the question occurs as it is written: passages about
other people and places share single words with a question that they can't answer. Chosen on halves of xquad-en
and hotpotqa and on musique."""

PASSAGE_SCORE = 0.3
"""Weight of the passage's score relative to the best hit's, beside a support in [0, 1]."""

ABOUT = 0.2
"""Weight of the share of the question's words in the title and headings: a page about a thing before one that mentions it."""

THRESHOLDS = {"en": 0.44, "es": 0.45, "de": 0.35, "hi": 0.42, "ar": 0.38, "zh": 0.25, "ja": 0.25}
OTHER_THRESHOLD = 0.4
"""Default threshold by language, from the questions with even positions of each xquad set (Japanese as Chinese: both are
indexed by pairs of characters, of which a question shares fewer with its answer)."""

FURTHER = 0.75
"""A further sentence is quoted if it scores at least this share of the first."""


@validated
class Extractive:
    """Quotes the best-supported sentences of a question's hits.

    sentences   at most this many are quoted
    threshold   confidence below which the answer is "not found"; 0 always answers; None takes the language's own
    """

    sentences: Annotated[int, Field(ge=1)] = 3
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    name: ClassVar[str] = "extractive"

    def read(self, run: Run) -> list[Answer]:
        """One answer a query, each from its own hits."""
        statistics = _statistics(run)
        mapper = statistics.analyzer.open()  # one for all questions: it remembers the words that it has seen
        return [self._answer(run, q, statistics, mapper) for q in range(len(run))]

    def _answer(self, run: Run, q: int, statistics: TermStatistics, mapper: TermMapper) -> Answer:
        question = run.queries[q].text
        at = run.hits_of(q)
        wanted = _weights(question, statistics)
        language = statistics.analyzer.language
        names = _names(question, language)
        context = ContextBuilder().build(run.passages_at(at), run.scores[at].tolist())
        candidates = sorted(_candidates(context.blocks, wanted, names, mapper), key=lambda c: -c.score)
        trace: dict[str, Any] = {"reader": self.name, "passages": at.stop - at.start, "sentences": len(candidates)}
        confidence = candidates[0].confidence if candidates else 0.0
        threshold = THRESHOLDS.get(language, OTHER_THRESHOLD) if self.threshold is None else self.threshold
        trace["threshold"] = threshold
        if not candidates or confidence < threshold:
            closest = [c.citation() for c in candidates[:1]]
            trace["closest"] = [{"document": c.document, "start": c.start, "end": c.end, "quote": c.quote} for c in closest]
            return Answer(question, NOT_FOUND, found=False, confidence=confidence, trace=trace)
        quoted = _choose(candidates, self.sentences)
        text = " ".join(f"{_in_prose(c.text)} [{n}]" for n, c in enumerate(quoted, 1))
        return Answer(question, text, tuple(c.citation() for c in quoted), confidence=confidence, trace=trace)


class _OfHits:
    """Statistics of a run's own passages, for runs that come from no collection."""

    def __init__(self, run: Run) -> None:
        texts = run.texts()
        self.analyzer = Analyzer(language=detect(texts))
        self._rows = [set(self.analyzer.terms(text)) for text in texts]
        self.n_rows = len(texts)

    def df(self, term: str) -> int:
        return sum(term in row for row in self._rows)


def _statistics(run: Run) -> TermStatistics:
    """The collection's own statistics where it has a lexical index, else those of the hits."""
    of_source = getattr(run.source, "term_statistics", lambda: None)()
    return of_source if of_source is not None else _OfHits(run)


@dataclass(frozen=True)
class _Candidate:
    """A sentence with its place and its worth."""

    passage: Passage
    start: int
    end: int
    score: float
    confidence: float
    terms: frozenset[str] = field(repr=False)

    @property
    def text(self) -> str:
        return self.passage.text[self.start : self.end]

    def citation(self) -> Citation:
        p = self.passage
        start, end = p.start + self.start, p.start + self.end
        return Citation(p.document, start, end, self.text, title=p.title, page=p.page, score=round(self.score, 4))


def _weights(question: str, statistics: TermStatistics) -> dict[str, float]:
    """Inverse document frequency (Lucene's form) of each content word of the question; a word no document holds weighs most."""
    terms = content_terms(question, statistics.analyzer)
    frequencies = {t: statistics.df(t) for t in terms}
    return {t: log(1 + (statistics.n_rows - df + 0.5) / (df + 0.5)) for t, df in frequencies.items()}


def _candidates(
    blocks: Sequence[Block],
    wanted: Mapping[str, float],
    names: Sequence[str],
    mapper: TermMapper,
) -> Iterator[_Candidate]:
    """Every sentence that could be quoted, scored; what `_is_statement` refuses is context only."""
    if not wanted:
        return
    weights = np.array(list(wanted.values()))
    top = max((b.score for b in blocks if b.score > 0), default=1.0)
    for block in blocks:
        passage = block.passage
        spans = sentence_spans(passage.text)
        terms = [mapper.terms(passage.text[a:b]) for a, b in spans]
        titles = [mapper.terms(h) for h in (passage.title, *passage.headings)]
        headings = {t for of_one in titles for t in of_one}
        around = headings.union(*terms)
        named = _share_named(names, " ".join((passage.title, *passage.headings, passage.text)))
        about = sum(w for t, w in wanted.items() if t in headings) / weights.sum()
        value = PASSAGE_SCORE * max(block.score, 0.0) / top + ABOUT * float(about)
        previous: set[str] = set()
        for n, ((start, end), words) in enumerate(zip(spans, terms, strict=True)):
            here = set(words)
            following = passage.text[slice(*spans[n + 1])] if n + 1 < len(spans) else ""
            with_code = _leads(passage.text[start:end]) and following.startswith(_FENCES)
            if with_code:
                end, said = spans[n + 1][1], here.union(terms[n + 1])  # words that lead to code are quoted with it, and judged without
            else:
                said = here
            if words and (with_code or words not in titles) and _is_statement(passage.text[start:end], following):
                credit = np.array([_credit(t, here, previous, headings, around) for t in wanted])
                support = float(credit @ weights / weights.sum())
                confidence = support * (1 - NAMES * (1 - named))
                yield _Candidate(passage, start, end, support + value, confidence, frozenset(said))
            previous = here


def _names(question: str, language: str) -> list[str]:
    """The names in a question, in lower case: runs of words that begin with a capital or a digit.

    A function word can't begin the question's first; "What" is no name.
    """
    little = function_words(language)
    found: list[list[str]] = [[]]
    for n, word in enumerate(_WORD.findall(question)):
        if (word[0].isupper() or word[0].isdigit()) and not (n == 0 and word.lower() in little):
            found[-1].append(word)
        else:
            found.append([])
    return [_words(" ".join(name)) for name in found if name]


def _words(text: str) -> str:
    """The words of a text in lower case, one space between and around them: what names are looked up in."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _share_named(names: Sequence[str], text: str) -> float:
    """Share of the names that a text holds word for word, each by its length in words; 1 where there is none."""
    worth = [name.count(" ") - 1 for name in names]
    line = _words(text)
    return sum(w for w, name in zip(worth, names, strict=True) if name in line) / sum(worth) if names else 1.0


def _is_heading(sentence: str) -> bool:
    """True for a heading as Markdown and reStructuredText draw it."""
    return bool(_HASHES.match(sentence) or _UNDERLINE.search(sentence))


def _leads(sentence: str) -> bool:
    """True for what stands before a block of code to introduce it: a heading, or words that end in a colon."""
    return sentence.endswith((":", "：")) or _is_heading(sentence)


def _is_statement(quote: str, following: str) -> bool:
    """False for a question, a block of code by itself, a heading or lead-in by itself, and the head of a table."""
    if quote.endswith(("?", "？", "؟")) or quote.startswith(_FENCES) or _leads(quote):
        return False
    return not (quote.startswith("|") and _TABLE_RULE.match(following))


def _credit(term: str, here: set[str], previous: set[str], headings: set[str], around: set[str]) -> float:
    if term in here:
        return 1.0
    if term in previous:
        return IN_PREVIOUS
    if term in headings:
        return IN_HEADINGS
    return IN_PASSAGE if term in around else 0.0


def _in_prose(sentence: str) -> str:
    """A quote on one line, without the marker of a list item."""
    line = " ".join(sentence.split())
    marker = _MARKER.match(line)
    return line[marker.end() :] if marker else line


def _choose(candidates: Sequence[_Candidate], n: int) -> list[_Candidate]:
    """The best candidate and up to n - 1 more that are nearly as good and do not repeat one chosen before."""
    chosen = [candidates[0]]
    for c in candidates[1:]:
        if len(chosen) == n or c.score < FURTHER * chosen[0].score:
            break
        if all(len(c.terms & o.terms) <= 0.6 * min(len(c.terms), len(o.terms)) for o in chosen):
            chosen.append(c)
    return chosen
