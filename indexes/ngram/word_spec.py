"""WordNGram: the spec of an index that ranks passages by the n-grams of a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ragkit.indexes.ngram.word_part import WordPart
from ragkit.indexes.ngram.word_searcher import WordNGramSearcher
from ragkit.indexes.terms import language_of
from ragkit.progress import Progress, track
from ragkit.protocols import Part
from ragkit.spec import validated
from ragkit.text import Analyzer

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns


@validated
class WordNGram:
    """Ranks passages by the n-grams of a question, the rarest and longest first; needs no language model.

    n            terms of the longest n-grams
    rarity       how much an n-gram's own rarity counts beside that of its words, from 0 on
    novelty      how much less an n-gram counts in a passage where its words have counted before, from 0 to 1
    k1, b        saturation by frequency, and normalisation by length, as of BM25
    language, stop_words, stem, identifiers   how texts become terms; see `ragkit.Analyzer` and `ragkit.BM25`

    An n-gram counts in a passage only where no better one has counted: an occurrence of "outer gasket" is not one of "gasket" again.
    An n-gram g of a question, with idf(x) = ln(1 + (N - df + .5) / (df + .5)) over live passages, adds to a passage with tf uncovered
    occurrences of it

        count in the question * (sum of idf of its words + rarity * idf(g), for n > 1) * tf (k1 + 1) / (tf + k1 (1 - b + b l / avgl))
        * (1 - novelty + novelty * new words / words)

    source  after the key scores and the coverage of SEAL (Bevilacqua et al., Autoregressive Search Engines, NeurIPS 2022), with the
            language model's probabilities replaced by rarity; k1 and b as in BM25. Settings were chosen on SciFact's training
            questions, MuSiQue, Cranfield, CoSQA's development questions, CACM and Vaswani
    """

    n: Annotated[int, Field(ge=1, le=16)] = 5
    rarity: Annotated[float, Field(ge=0)] = 0.6
    novelty: Annotated[float, Field(ge=0, le=1)] = 0.8
    k1: Annotated[float, Field(ge=0)] = 1.6
    b: Annotated[float, Field(ge=0, le=1)] = 0.75
    language: str = "auto"
    stop_words: bool = True
    stem: bool = True
    identifiers: bool = True
    name: ClassVar[str] = "word_ngram"
    unit: ClassVar[str] = "passage"

    def __post_init__(self) -> None:
        if self.language != "auto":
            _ = self.analyzer  # an unknown language is refused here, not at the first document

    @property
    def analyzer(self) -> Analyzer:
        """How texts and questions become terms; "auto" reads as English until documents decide."""
        language = "en" if self.language == "auto" else self.language
        return Analyzer(language=language, stop_words=self.stop_words, stem=self.stem, identifiers=self.identifiers)

    def fit(self, columns: SegmentColumns) -> WordNGram:
        """This spec with the language of the first documents."""
        return self if self.language != "auto" else replace(self, language=language_of(columns))

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write one segment's terms and suffixes."""
        with track("indexing n-grams", columns.n_passages, progress) as tracker:
            part = WordPart.of(columns.index_texts(), self.analyzer)
            part.save(folder)
            tracker.advance(columns.n_passages)

    def open(self, parts: Sequence[Part]) -> WordNGramSearcher:
        """A searcher over the parts; a small part without files is sorted in memory, once."""
        return WordNGramSearcher(self, [(self._part(p), p.alive) for p in parts])

    def _part(self, part: Part) -> WordPart:
        columns, folder = part.columns, part.folder
        if folder is None:
            key = ("word_ngram", self.analyzer)
            made: WordPart = columns.memo(key, lambda: WordPart.of(columns.index_texts(), self.analyzer))
            return made
        opened: WordPart = columns.memo(("word_ngram", "file"), lambda: WordPart.load(folder, columns.n_passages))
        return opened
