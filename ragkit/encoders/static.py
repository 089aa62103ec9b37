"""Static encoder: a text is the weighted mean of its tokens' vectors, with no transformer at query or index time.

Distilled from the default encoder: each token of its vocabulary is encoded alone, the vectors are
reduced to their principal components, in part whitened, and frequent tokens count less. Many times faster than
the encoder itself, and worse; the documentation states both.

source  Model2Vec (Tulkens & van Dongen, 2024): distillation from single tokens and PCA; Arora et al., A Simple but
        Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017: weight a / (a + p(token)), with p here from Zipf's law
        over the vocabulary's order, which for WordPiece is that of frequency
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.encoders.encoder import TextEncoder
from ragkit.encoders.kept import keep, kept
from ragkit.registry import need

DIM = 256
SMOOTHING = 3e-5
"""a of the weight a / (a + p)."""

WHITENING = 0.75
"""How far the components' unequal spread is evened out: 0 leaves it, 1 makes all alike. Both constants, and the dimension, were
chosen on cranfield, the development half of cosqa, hotpotqa-train100 and the training half of scifact."""


def static_encoder(folder: Path, teacher: Path, load: Callable[[], TextEncoder]) -> StaticBackend:
    """The static encoder kept in a folder; distilled from the teacher first, if it is not there or not whole."""
    if kept(folder) is None:
        encoder = load()
        keep(folder, lambda made: _distil(made, teacher, encoder))
    return StaticBackend(folder)


def _distil(folder: Path, teacher: Path, encoder: TextEncoder) -> dict[str, Any]:
    tokenizers = need("tokenizers", extra="models", why="the static encoder")
    tokenizer = tokenizers.Tokenizer.from_file(str(teacher / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    names = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    vectors = token_vectors(encoder.encode_document([n.removeprefix("##") for n in names]))
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return {"dim": DIM}


def token_vectors(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V, DIM) weighted principal components of encoded tokens (V, D), whose order is that of their frequency."""
    centred = encoded.astype(np.float64) - encoded.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ axes[:, ::-1][:, :DIM] / spread[::-1][:DIM] ** (WHITENING / 2)
    ranks = np.arange(1, len(encoded) + 1)
    p = 1 / (ranks * np.log(len(encoded)))
    return np.asarray(reduced * (SMOOTHING / (SMOOTHING + p))[:, None], np.float32)


class StaticBackend:
    """See `ragkit.encoders.encoder.Backend`."""

    name = "static"
    precision = "float32"

    def __init__(self, folder: Path) -> None:
        tokenizers = need("tokenizers", extra="models", why="the static encoder")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        self.dim = int(self._vectors.shape[1])

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        from scipy.sparse import csr_array

        tokens = [t.ids for t in self._tokenizer.encode_batch_fast([prompt + t for t in texts], add_special_tokens=False)]
        counts = [len(t) for t in tokens]
        indptr = np.concatenate(([0], np.cumsum(counts)))
        ids = np.concatenate([np.asarray(t, np.int32) for t in tokens]) if tokens else np.zeros(0, np.int32)
        rows = csr_array((np.ones(len(ids), np.float32), ids, indptr), shape=(len(texts), len(self._vectors)))
        rows.sum_duplicates()
        sums: NDArray[np.float32] = rows @ self._vectors
        return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32)
