"""What the index of word n-grams holds of one segment: the terms of its passages, end to end, and their suffixes in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.indexes.kernels.coverage import BLOCK
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
    def sizes(self) -> NDArray[np.int32]:
        """Terms of each passage, int32 (P,)."""
        return np.diff(np.append(self.index.starts, len(self.index.tokens))).astype(np.int32) - 1

    @cached_property
    def firsts(self) -> NDArray[np.int32]:
        """The passage in which every 64th token lies, int32 (n / 64,)."""
        places = np.arange(0, len(self.index.tokens), 1 << BLOCK)
        return np.maximum(np.searchsorted(self.index.starts, places, side="right") - 1, 0).astype(np.int32)
