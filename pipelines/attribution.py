"""Attribution: what supports each sentence of a reply, measured word by word, and the answer with exact citations.

The support of a statement by a sentence of a passage is the share of the statement's content words that the sentence holds,
each weighted by its inverse document frequency in the collection; words of the sentence before, of the headings and of the rest of
the passage count in part, as they do for `ragkit.pipelines.extractive`. It needs no model and knows no synonyms: it
shows where a statement was taken from, not that it follows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log

from ragkit.pipelines.context import Block
from ragkit.pipelines.extractive import IN_HEADINGS, IN_PASSAGE, IN_PREVIOUS
from ragkit.pipelines.reply import Reply, marks_in, parse, says_not_found
from ragkit.protocols import TermStatistics
from ragkit.text import content_terms, sentence_spans
from ragkit.types import Citation

MIN_SUPPORT = 0.5
"""Share of a statement's weight that has to be found for it to count as supported; chosen, not fitted: half of what it says."""

NUMBERS = 0.4
"""What support is multiplied by where the statement has a number that the passage, its headings and the question lack."""

GAIN = 0.25
"""A neighbouring sentence is quoted too where it holds this share of the statement's weight that the best sentence lacks."""

MOST = 3
"""Citations of one sentence, at most (as ALCE counts them: Gao et al., EMNLP 2023)."""

_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
_FENCES = re.compile("`+|~{3,}")
_WORD = re.compile(r"\w+")
_YES_NO = "yes no not ja nein doch sí si oui non sì да нет yok evet hayır tak nie sim não 是 是的 否 不 不是 はい いいえ نعم لا हाँ नहीं"
_YES_OR_NO = frozenset(_YES_NO.split())
_LEAD_IN = (":", "：", "?", "？", "؟")


@dataclass(frozen=True)
class Evidence:
    """A span of a block that supports a statement: ``passage.text[start:end]`` of blocks[block], with its support from 0 to 1."""

    block: int
    start: int
    end: int
    support: float


@dataclass
class Attributed:
    """An answer's text and citations, and what became of each sentence; the lists hold sentences of the reply.

    bare          the text without its marks
    invalid       numbers that name no block
    statements    sentences that say something, by which the answer is judged
    unsupported   those of them for which the context holds too little
    attributed    those that cited nothing and were found in the context
    reattributed  those whose own citations did not support them, and that were found elsewhere in the context
    dropped       citations of passages that hold not one content word of their sentence
    """

    text: str = ""
    bare: str = ""
    citations: list[Citation] = field(default_factory=list)
    cited_blocks: set[int] = field(default_factory=set)
    invalid: int = 0
    statements: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    attributed: list[str] = field(default_factory=list)
    reattributed: list[str] = field(default_factory=list)
    dropped: int = 0

    @property
    def confidence(self) -> float:
        """Share of the statements that are supported; 0 where there are none."""
        return 1 - len(self.unsupported) / len(self.statements) if self.statements else 0.0


class _Read:
    """One block, cut into sentences and terms."""

    def __init__(self, block: Block, terms_of: TermsOf, question: str) -> None:
        p = block.passage
        self.passage = p
        self.spans = sentence_spans(p.text)
        self.terms = [terms_of(p.text[a:b]) for a, b in self.spans]
        self.headings = {t for text in p.path for t in terms_of(text)}
        self.around = self.headings.union(*self.terms)
        self.numbers = _numbers(" ".join((p.text, *p.path, question)))

    def best(self, wanted: dict[str, float], numbers: set[str]) -> tuple[float, int, int] | None:
        """(support, first sentence, last sentence); None where the block holds no content word of the statement."""
        if not self.spans or not self.around & wanted.keys():
            return None
        of_each = [self._support(wanted, self.terms[n], self.terms[n - 1] if n else set()) for n in range(len(self.spans))]
        n = max(range(len(of_each)), key=lambda n: (of_each[n], -n))
        first, last, support, held = n, n, of_each[n], _held(wanted, self.terms[n])
        for a, b in ((n - 1, n), (n, n + 1)):
            if a >= 0 and b < len(self.spans):
                here = self.terms[a] | self.terms[b]
                both = self._support(wanted, here, self.terms[a - 1] if a else set())
                if _held(wanted, here) >= held + GAIN and both > support:
                    first, last, support = a, b, both
        return support * (1.0 if numbers <= self.numbers else NUMBERS), first, last

    def _support(self, wanted: dict[str, float], here: set[str], previous: set[str]) -> float:
        return sum(w * self._credit(t, here, previous) for t, w in wanted.items()) / sum(wanted.values())

    def _credit(self, term: str, here: set[str], previous: set[str]) -> float:
        if term in here:
            return 1.0
        if term in previous:
            return IN_PREVIOUS
        if term in self.headings:
            return IN_HEADINGS
        return IN_PASSAGE if term in self.around else 0.0


def _held(wanted: dict[str, float], here: set[str]) -> float:
    """Share of the weight that a text itself holds."""
    return sum(w for t, w in wanted.items() if t in here) / sum(wanted.values())


class TermsOf:
    """The terms of texts, by the collection's own analyzer."""

    def __init__(self, statistics: TermStatistics) -> None:
        self.statistics = statistics
        self._mapper = statistics.analyzer.open()

    def __call__(self, text: str) -> set[str]:
        return set(self._mapper.terms(text))

    def weights(self, text: str) -> dict[str, float]:
        """Inverse document frequency (Lucene's form) of each content word."""
        n = self.statistics.n_rows
        found = {t: self.statistics.df(t) for t in content_terms(text, self.statistics.analyzer)}
        return {t: log(1 + (n - df + 0.5) / (df + 0.5)) for t, df in found.items()}


class Attribution:
    """The context of one answer, ready to be asked what supports a statement."""

    def __init__(self, blocks: Sequence[Block], question: str, terms_of: TermsOf, *, min_support: float = MIN_SUPPORT) -> None:
        self.question, self.terms_of, self.min_support = question, terms_of, min_support
        self._blocks = [_Read(b, terms_of, question) for b in blocks]

    def evidence(self, statement: str, among: Iterable[int], *, wanted: dict[str, float] | None = None) -> list[Evidence]:
        """The best span of each of these blocks that holds a word of the statement, the best supported first."""
        weights = self.terms_of.weights(statement) if wanted is None else wanted
        numbers = _numbers(statement)
        found: list[Evidence] = []
        for n in among:
            block = self._blocks[n]
            if (best := block.best(weights, numbers)) is not None:
                support, first, last = best
                found.append(Evidence(n, block.spans[first][0], block.spans[last][1], support))
        return sorted(found, key=lambda e: -e.support)

    def attribute(self, text: str) -> Attributed:
        """A model's text with marks that point at exact citations; its own marks name the blocks by their numbers from 1."""
        out = self._marked(parse(text, len(self._blocks)))
        if marks_in(out.text) != list(range(1, len(out.citations) + 1)):  # a stray fence makes code of the marks behind it
            out = self._marked(parse(_FENCES.sub("", text), len(self._blocks)))
        return out

    def _marked(self, reply: Reply) -> Attributed:
        out = Attributed(invalid=reply.invalid)
        numbers: dict[tuple[str, int, int], int] = {}
        pieces: list[str] = []
        said_alone: list[str] = []
        at = 0
        for sentence in reply.sentences:
            said = reply.text[sentence.start : sentence.end]
            if says_not_found(said):  # beside sentences that answer, it says nothing
                pieces.append(reply.text[at : sentence.start])
                said_alone.append(reply.text[at : sentence.start])
                at = sentence.end
                continue
            chosen = self._chosen(said, [n - 1 for n in sentence.cited], out)
            marks: list[str] = []
            for e in chosen:
                citation = self._citation(e)
                out.cited_blocks.add(e.block)
                number = numbers.setdefault((citation.document, citation.start, citation.end), len(numbers) + 1)
                if number > len(out.citations):
                    out.citations.append(citation)
                if f"[{number}]" not in marks:
                    marks.append(f"[{number}]")
            pieces.append(reply.text[at : sentence.end])
            said_alone.append(reply.text[at : sentence.end])
            if marks:
                pieces += ["\n" if said.rpartition("\n")[2].lstrip(" \t>").startswith(("```", "~~~")) else " ", *marks]
                if reply.text[sentence.end : sentence.end + 1].strip():
                    pieces.append(" ")  # where no space divides sentences, as in Chinese
            at = sentence.end
        out.text = "".join((*pieces, reply.text[at:])).strip()
        out.bare = "".join((*said_alone, reply.text[at:])).strip()
        return out

    def _chosen(self, said: str, cited: list[int], out: Attributed) -> list[Evidence]:
        """What is cited for a sentence; notes in `out` what became of it."""
        wanted = self.terms_of.weights(said)
        states = bool(wanted) and not said.lstrip("-*+>•0123456789.) \t").startswith("#") and not said.endswith(_LEAD_IN)
        if cited and not set(_WORD.findall(said.lower())) - _YES_OR_NO:  # what it is about stands in the question
            wanted, states = self.terms_of.weights(self.question), True
        if not wanted:
            return []
        kept = self.evidence(said, cited, wanted=wanted)
        out.dropped += len(cited) - len(kept)
        kept = kept[:MOST]
        if states:
            out.statements.append(said)
        if kept and self._joint(said, wanted, kept) >= self.min_support:
            return sorted(kept, key=lambda e: cited.index(e.block))
        if not states:
            return kept
        best = self.evidence(said, range(len(self._blocks)), wanted=wanted)[:1]
        if best and best[0].support >= self.min_support:
            (out.reattributed if cited else out.attributed).append(said)
            return best
        out.unsupported.append(said)
        return kept

    def _joint(self, said: str, wanted: dict[str, float], kept: Sequence[Evidence]) -> float:
        """Support by several passages together: what each word is worth in the best of them."""
        if len(kept) == 1:
            return kept[0].support
        quoted = [self.terms_of(self._blocks[e.block].passage.text[e.start : e.end]) for e in kept]
        here = set().union(*quoted)
        around = set().union(*(self._blocks[e.block].around for e in kept))
        held = set().union(*(self._blocks[e.block].numbers for e in kept))
        credit = sum(w * (1.0 if t in here else IN_PASSAGE if t in around else 0.0) for t, w in wanted.items()) / sum(wanted.values())
        return max(kept[0].support, credit * (1.0 if _numbers(said) <= held else NUMBERS))

    def _citation(self, e: Evidence) -> Citation:
        p = self._blocks[e.block].passage
        quote = p.text[e.start : e.end]
        return Citation(p.document, p.start + e.start, p.start + e.end, quote, title=p.title, page=p.page, score=round(e.support, 4))


def _numbers(text: str) -> set[str]:
    """The numbers of a text by their digits alone: 1,000 and 1.000 are one; a list's own numbers are none."""
    text = re.sub(r"^\s*\d{1,3}[.)]\s", "", text)
    return {"".join(str(unicodedata.decimal(c)) for c in n if c.isdecimal()) for n in _NUMBER.findall(text)}
