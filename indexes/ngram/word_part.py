"""What the index of word n-grams holds of one segment: the terms of its passages, end to end, and their suffixes in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from ragkit.indexes.ngram.grams import Gram, Passages, Places
from ragkit.indexes.ngram.tokens import TokenSuffixes
from ragkit.indexes.terms import Terms
from ragkit.text import Analyzer, count


@dataclass(frozen=True)
class WordPart:
    """Passages as documents of `TokenSuffixes`, whose tokens are numbers of terms."""

    terms: Terms
    index: TokenSuffixes

    @classmethod
    def of(cls, texts: Iterable[str], analyzer: Analyzer) -> WordPart:
        """Of passages in memory."""
        counts = count(texts, analyzer)
        by_name = np.array(sorted(range(len(counts.terms)), key=counts.terms.__getitem__), np.int64)
        number = np.empty(len(by_name), np.int32)
        number[by_name] = np.arange(len(by_name), dtype=np.int32)
        terms = Terms(pa.array([counts.terms[i] for i in by_name.tolist()], pa.large_string()))
        return cls(terms, TokenSuffixes.of_ids(number[counts.ids] if len(number) else counts.ids, counts.indptr))

    def save(self, folder: Path) -> None:
        """Write the terms and the suffixes."""
        self.terms.save(folder)
        self.index.save(folder)

    @classmethod
    def load(cls, folder: Path, n_passages: int) -> WordPart:
        """Map what `save` wrote; raises CorruptCollectionError where it can't be right."""
        return cls(Terms.load(folder), TokenSuffixes.load(folder, n_passages))

    @cached_property
    def passages(self) -> Passages:
        """Where the passages lie among the tokens."""
        starts = self.index.starts
        sizes = np.diff(np.append(starts, len(self.index.tokens))) - 1
        return Passages.of(starts, starts + sizes, sizes.astype(np.int32), len(self.index.tokens))

    def places(self, grams: Sequence[Gram]) -> Places:
        """Where n-grams of terms stand."""
        number = {term: self.terms.find(str(term)) for gram in grams for term in gram}
        return self.index.places([[number[t] for t in gram] for gram in grams])  # a term that is not there is no token
