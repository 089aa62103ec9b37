"""What the index of tokens holds of one segment: its documents as a language model reads them, in a structure that says what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.collection.segment import SegmentColumns
from ragkit.errors import CorruptCollectionError
from ragkit.indexes.ngram.fm_index import Preset
from ragkit.indexes.ngram.grams import Gram, Passages, Places
from ragkit.indexes.ngram.part import Structure
from ragkit.indexes.ngram.token_fm import TokenFM
from ragkit.indexes.ngram.tokens import TokenSuffixes

_AT_ONCE = 256
"""Documents that are tokenized together."""


@dataclass(frozen=True)
class TokenPart:
    """Documents as tokens, and where the passages lie among them."""

    index: TokenSuffixes | TokenFM
    passages: Passages

    @classmethod
    def build(
        cls, columns: SegmentColumns, tokenizer: Any, structure: Structure, preset: Preset, advance: Callable[[int], None] = lambda n: None
    ) -> TokenPart:
        """Of a segment; advance is called with a number of documents that were read."""
        ids: list[NDArray[np.int32]] = []
        indptr, firsts, lasts = [0], [], []
        rows = np.searchsorted(columns.document_of, np.arange(columns.n_documents + 1))
        texts = list(columns.texts())
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            encoded = tokenizer(some, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
            for row, (tokens, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), start):
                at = np.array([o[0] for o in offsets], np.int64)
                mine = slice(rows[row], rows[row + 1])
                firsts.append(indptr[-1] + np.searchsorted(at, columns.starts[mine]))
                lasts.append(indptr[-1] + np.searchsorted(at, columns.ends[mine]))
                ids.append(np.array(tokens, np.int32))
                indptr.append(indptr[-1] + len(tokens))
            advance(len(some))
        flat, cuts = np.concatenate([np.zeros(0, np.int32), *ids]), np.array(indptr, np.int64)
        begins, ends = (np.concatenate([np.zeros(0, np.int64), *pieces]) for pieces in (firsts, lasts))
        index = TokenFM.of_ids(flat, cuts, preset) if structure == "fm" else TokenSuffixes.of_ids(flat, cuts)
        place, separators = index.sizes_before(flat), columns.document_of.astype(np.int64) + 1
        sizes = (ends - begins).astype(np.int32)
        return cls(index, Passages.of(place[begins] + separators, place[ends] + separators, sizes, index.n_places))

    def save(self, folder: Path) -> None:
        """Write the structure, and where the passages lie."""
        self.index.save(folder)
        save_array(folder / "passages.npy", np.stack((self.passages.begins, self.passages.ends, self.passages.sizes.astype(np.int64))))

    @classmethod
    def load(cls, folder: Path, columns: SegmentColumns, structure: Structure) -> TokenPart:
        """Map what `save` wrote; raises CorruptCollectionError where it can't be right."""
        index = (TokenFM if structure == "fm" else TokenSuffixes).load(folder, columns.n_documents)
        stored = open_array(folder / "passages.npy")
        if stored.dtype != np.int64 or stored.shape != (3, columns.n_passages):
            raise CorruptCollectionError(
                f"{folder} does not say where {columns.n_passages} passages lie; index again, or restore it from a backup"
            )
        return cls(index, Passages.of(stored[0], stored[1], stored[2].astype(np.int32), index.n_places))

    def places(self, grams: Sequence[Gram]) -> Places:
        """Where n-grams of tokens stand."""
        return self.index.places(grams)  # type: ignore[arg-type]  # tokens are whole numbers
