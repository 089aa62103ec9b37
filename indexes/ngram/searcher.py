"""Search for exact strings: passages in which they lie, and places in documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.ngram.part import OFFSET_BITS, TextPart
from ragkit.protocols import Bitmap
from ragkit.text.folding import Folding
from ragkit.text.phrases import split_phrases
from ragkit.types import Query

_NOWHERE: NDArray[np.int64] = np.zeros(0, np.int64)


class NGramSearcher:
    """An open index of strings; safe to share between threads."""

    scale = "occurrences"
    exact = True

    def __init__(self, folding: Folding, parts: Sequence[TextPart]) -> None:
        self.folding, self._parts = folding, list(parts)
        self._bases = np.concatenate(([0], np.cumsum([len(p.ends) for p in parts]))).astype(np.int64)

    def count_in(self, part: int, texts: Sequence[str]) -> NDArray[np.int64]:
        """How often each text stands in the documents of a part, dead or alive; overlapping occurrences all count. cost O(length)"""
        return self._parts[part].count([self.folding.pattern(text) for text in texts])

    def find_in(self, part: int, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(document, byte in its folded text) of each occurrence, int64 (any,) each, ascending. cost: see `TextPart.find`"""
        places = self._parts[part].find([self.folding.pattern(text)])[0]
        return places >> OFFSET_BITS, places & (1 << OFFSET_BITS) - 1

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. cost: that of finding all occurrences; all questions' phrases are looked for together."""
        asked = [self._patterns(query.text) for query in queries]
        patterns = sorted({p for wanted, unwanted in asked for p in (*wanted, *unwanted)})
        hits: list[list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = [[] for _ in queries]
        for n, part in enumerate(self._parts):
            found = dict(zip(patterns, part.find(patterns), strict=True)) if patterns else {}
            for mine, (wanted, unwanted) in zip(hits, asked, strict=True):
                mine.append(self._rows(n, found, wanted, unwanted, allow[n]))
        indptr, rows, scores = np.zeros(len(queries) + 1, np.int64), [_NOWHERE], [np.zeros(0, np.float32)]
        for q, mine in enumerate(hits):
            all_rows, counts = (np.concatenate([_NOWHERE, *(pair[i] for pair in mine)]) for i in (0, 1))
            best = np.lexsort((all_rows, -counts))[:k]
            indptr[q + 1] = indptr[q] + len(best)
            rows.append(all_rows[best])
            scores.append(counts[best].astype(np.float32))
        return indptr, np.concatenate(rows), np.concatenate(scores)

    def _patterns(self, text: str) -> tuple[list[bytes], list[bytes]]:
        """(what a document must hold, what it must not); without phrases the whole text, of white space alone nothing."""
        _, wanted, unwanted = split_phrases(text)
        if not wanted and not unwanted and text.strip():
            wanted = (text.strip(),)
        return [self.folding.pattern(p) for p in wanted], [self.folding.pattern(p) for p in unwanted]

    def _rows(
        self, n: int, found: dict[bytes, NDArray[np.int64]], wanted: list[bytes], unwanted: list[bytes], allow: Bitmap | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows, how many occurrences lie in each) of one part."""
        if not wanted:
            return _NOWHERE, _NOWHERE
        part = self._parts[n]
        documents = np.unique(found[wanted[0]] >> OFFSET_BITS)
        for pattern in wanted[1:]:
            documents = np.intersect1d(documents, found[pattern] >> OFFSET_BITS)
        for pattern in unwanted:
            documents = np.setdiff1d(documents, found[pattern] >> OFFSET_BITS)
        places = [(found[p][np.isin(found[p] >> OFFSET_BITS, documents)], len(p)) for p in dict.fromkeys(wanted)]
        rows, counts = np.unique(np.concatenate([part.passages_at(at, length) for at, length in places]), return_counts=True)
        if allow is not None:
            rows, counts = rows[allow[rows]], counts[allow[rows]]
        return rows + self._bases[n], counts
