"""BM25: the spec that a collection stores, and what it builds and opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ragkit.errors import InputError
from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.searcher import BM25Searcher, as_one
from ragkit.indexes.terms import language_of
from ragkit.progress import Progress, track
from ragkit.protocols import Part
from ragkit.spec import validated
from ragkit.text import Analyzer

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns


@validated
class BM25:
    """Okapi BM25 and its variants.

    k1, b        saturation and length normalisation; 0.9 and 0.4 are Anserini's
    method       "lucene" (default), "robertson", "atire", "okapi" (rank_bm25's), "l" (BM25L), "plus" (BM25+)
    delta        of "l" (default 0.5) and "plus" (default 1)
    epsilon      floor of "okapi"'s negative idf, as a share of the mean idf
    language     ISO 639-1 code, "none", or "auto": decided by the first documents and stored
    stop_words, stem, identifiers   see `ragkit.Analyzer`
    ignore_function_words   a question's "what", "how", "does", "you" … count only if it holds nothing else

    rank_bm25 0.2.2 multiplies each term of its BM25L by tf once more than the paper does; "l" is the paper's.

    source  Robertson et al., Okapi at TREC-3, 1994; Lv & Zhai, CIKM 2011 (BM25+) and SIGIR 2011 (BM25L);
            the variants' exact idf and term weights as in Kamphuis et al., ECIR 2020
    """

    k1: Annotated[float, Field(ge=0)] = 0.9
    b: Annotated[float, Field(ge=0, le=1)] = 0.4
    method: Literal["lucene", "robertson", "atire", "okapi", "l", "plus"] = "lucene"
    delta: Annotated[float, Field(ge=0)] | None = None
    epsilon: Annotated[float, Field(ge=0)] = 0.25
    language: str = "auto"
    stop_words: bool = True
    stem: bool = True
    identifiers: bool = True
    ignore_function_words: bool = True
    name: ClassVar[str] = "bm25"
    unit: ClassVar[str] = "passage"

    def __post_init__(self) -> None:
        if self.method == "l" and self.k1 == 0 and self.delta == 0:
            raise InputError("BM25L needs k1 or delta above 0, got 0 for both")
        if self.language != "auto":
            _ = self.analyzer  # an unknown language is refused here, not at the first document

    @property
    def analyzer(self) -> Analyzer:
        """How texts and questions become terms; "auto" reads as English until documents decide."""
        language = "en" if self.language == "auto" else self.language
        return Analyzer(language=language, stop_words=self.stop_words, stem=self.stem, identifiers=self.identifiers)

    def fit(self, columns: SegmentColumns) -> BM25:
        """This spec with the language of the first documents."""
        if self.language != "auto":
            return self
        return replace(self, language=language_of(columns))

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write one segment's postings."""
        with track("indexing terms", columns.n_passages, progress) as tracker:
            Postings.of(columns.index_texts(), self.analyzer, tracker.advance).save(folder)

    def open(self, parts: Sequence[Part]) -> BM25Searcher:
        """A searcher over the parts; a small part without files is inverted in memory, once a segment, and joined with its neighbours."""
        groups = [parts[a:b] for a, b in _groups([p.folder is None for p in parts])]
        segments = [[p.columns.n_passages for p in group] for group in groups]
        alive = [as_one(sizes, [p.alive for p in group]) for sizes, group in zip(segments, groups, strict=True)]
        return BM25Searcher(self, list(zip(map(self._joined, groups), alive, strict=True)), segments)

    def _joined(self, parts: Sequence[Part]) -> Postings:
        if len(parts) == 1:
            return self._postings(parts[0])
        key = ("bm25", self.analyzer, tuple(p.columns.id for p in parts))
        half = len(parts) // 2  # of each half the postings are kept too: the next snapshot may need them
        made: Postings = parts[0].columns.memo(key, lambda: Postings.joined([self._joined(parts[:half]), self._joined(parts[half:])]))
        return made

    def _postings(self, part: Part) -> Postings:
        if part.folder is not None:
            folder = part.folder
            opened: Postings = part.columns.memo(("bm25", "file"), lambda: Postings.load(folder, part.columns.n_passages))
            return opened
        made: Postings = part.columns.memo(("bm25", self.analyzer), lambda: Postings.of(part.columns.index_texts(), self.analyzer))
        return made


def _groups(small: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """(start, stop) of what is searched as one: large parts alone, small neighbours in groups of a power of two.

    A run of n small parts has as many groups as n has ones in binary; one more part changes few of them, so that over many
    commits a part is joined O(log n) times.

    >>> list(_groups([False, *[True] * 6, False]))
    [(0, 1), (1, 5), (5, 7), (7, 8)]
    """
    start = 0
    while start < len(small):
        run = 0
        while start + run < len(small) and small[start + run]:
            run += 1
        size = 1 << (run.bit_length() - 1) if run else 1
        yield start, start + size
        start += size
