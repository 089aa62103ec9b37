"""Postings of one segment: for each term the rows that hold it and how often; for each row its length.

Statistics (N, df, avgdl) are never stored: they are those of the live rows of a snapshot, so that
a collection grown in steps scores as one built at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.errors import CorruptCollectionError
from ragkit.indexes.kernels.postings import document_frequencies, invert
from ragkit.indexes.terms import Terms
from ragkit.text import Analyzer, count

_ARRAYS = {"indptr": np.int64, "rows": np.int32, "tfs": np.int32, "lengths": np.int32}


@dataclass(frozen=True)
class Postings:
    """Posting lists of N rows over V sorted terms.

    indptr   int64 (V+1,)   term t owns rows[indptr[t]:indptr[t+1]]
    rows     int32 (P,)     ascending within a term
    tfs      int32 (P,)
    lengths  int32 (N,)     tokens of each row
    """

    terms: Terms
    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    tfs: NDArray[np.int32]
    lengths: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Iterable[str], analyzer: Analyzer, advance: Callable[[], None] | None = None) -> Postings:
        """Invert texts in memory."""
        counts = count(_reporting(texts, advance), analyzer)
        return cls.of_ids(counts.terms, counts.ids, counts.indptr)

    @classmethod
    def of_ids(cls, terms: Sequence[str], ids: NDArray[np.int32], indptr: NDArray[np.int64]) -> Postings:
        """Invert texts that are terms already.

        terms   V different terms, in any order
        ids     int32 (T,)     one per term occurrence, in text order: terms[ids[t]]
        indptr  int64 (N+1,)   text n owns ids[indptr[n]:indptr[n + 1]]
        cost    O(T + V log V)

        >>> made = Postings.of_ids(["b", "a"], np.array([0, 1, 0], np.int32), np.array([0, 3, 3]))
        >>> made.terms.column.to_pylist(), made.rows.tolist(), made.tfs.tolist(), made.lengths.tolist()
        (['a', 'b'], [0, 0], [1, 2], [3, 0])
        """
        by_name = np.array(sorted(range(len(terms)), key=terms.__getitem__), np.int64)
        df = np.zeros(len(terms), np.int64)
        document_frequencies(ids, indptr, df)
        starts = np.concatenate(([0], np.cumsum(df[by_name]))).astype(np.int64)
        rows, tfs = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
        list_starts = np.empty(len(terms), np.int64)
        list_starts[by_name] = starts[:-1]  # lists lie in the order of their names, ids stay as they are
        invert(ids, indptr, list_starts, rows, tfs)
        lengths = np.diff(indptr).astype(np.int32)
        for array in (starts, rows, tfs, lengths):
            array.flags.writeable = False  # as mapped arrays are: the kernels then compile one signature for both
        return cls(Terms(pa.array([terms[i] for i in by_name.tolist()], pa.large_string())), starts, rows, tfs, lengths)

    @classmethod
    def joined(cls, parts: Sequence[Postings]) -> Postings:
        """One for several, whose rows follow one another. cost O(P log P + V log V)"""
        names = [p.terms.column.to_pylist() for p in parts]
        terms = sorted(set().union(*names))
        number = {term: n for n, term in enumerate(terms)}
        starts = np.cumsum([0, *(len(p.lengths) for p in parts)])
        term_of = [np.repeat(np.array([number[t] for t in own], np.int64), np.diff(p.indptr)) for own, p in zip(names, parts, strict=True)]
        all_terms = np.concatenate(term_of)
        order = np.argsort(all_terms, kind="stable")  # stable: within a term rows stay in order
        indptr = np.concatenate(([0], np.cumsum(np.bincount(all_terms, minlength=len(terms))))).astype(np.int64)
        rows = np.concatenate([p.rows + s for p, s in zip(parts, starts, strict=False)])[order].astype(np.int32)
        arrays = (indptr, rows, np.concatenate([p.tfs for p in parts])[order], np.concatenate([p.lengths for p in parts]))
        for array in arrays:
            array.flags.writeable = False
        return cls(Terms(pa.array(terms, pa.large_string())), *arrays)

    def save(self, folder: Path) -> None:
        """Write terms.arrow and one .npy an array."""
        self.terms.save(folder)
        for name in _ARRAYS:
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, n_rows: int) -> Postings:
        """Map what `save` wrote of a segment of n_rows rows; raises CorruptCollectionError where it can't be right."""
        terms = Terms.load(folder)
        arrays = {n: open_array(folder / f"{n}.npy") for n in _ARRAYS}
        typed = all(arrays[n].dtype == kind and arrays[n].ndim == 1 for n, kind in _ARRAYS.items())
        made = cls(terms, **arrays) if typed else None
        if made is None or not made._fits(n_rows):
            raise CorruptCollectionError(f"{folder} holds BM25 postings that do not fit together; index again, or restore it from a backup")
        return made

    def _fits(self, n_rows: int) -> bool:
        """Whether every list lies in the arrays and every row in the segment: the kernels check no bounds."""
        starts, rows = self.indptr, self.rows
        if len(starts) != len(self.terms) + 1 or len(rows) != len(self.tfs) or len(self.lengths) != n_rows:
            return False
        lists = starts[0] == 0 and starts[-1] == len(rows) and bool((np.diff(starts) >= 0).all())
        return lists and (len(rows) == 0 or (int(rows.min()) >= 0 and int(rows.max()) < n_rows))


def _reporting(texts: Iterable[str], advance: Callable[[], None] | None) -> Iterator[str]:
    for text in texts:
        yield text
        if advance is not None:
            advance()
