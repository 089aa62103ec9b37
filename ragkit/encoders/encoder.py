"""TextEncoder: prompts, truncation and normalisation around a backend that turns texts into vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.progress import Progress, track
from ragkit.types import Query

CHUNK = 2048
"""Texts that are sorted by length and encoded together: enough for even batches, few enough for true progress."""

INSTRUCTION = "Instruct: {instruction}\nQuery: "
"""How a question's own instruction precedes it, in the manner of E5-mistral and its followers."""


class Backend(Protocol):
    """Computes vectors: `encode` gives float32 (n, dim) for texts that all begin with the prompt given apart."""

    name: str
    precision: str
    dim: int

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]: ...


class TextEncoder:
    """Turns questions and documents into vectors; safe to share between threads.

    model         the name that it was loaded by
    dim           dimension of its vectors
    fingerprint   hash of all that its vectors depend on
    similarity    "cosine" (vectors have length 1) or "dot"
    backend, precision   how they are computed
    """

    def __init__(
        self,
        backend: Backend,
        *,
        model: str,
        fingerprint: str,
        similarity: str = "cosine",
        query_prompt: str = "",
        document_prompt: str = "",
        dim: int | None = None,
    ) -> None:
        if dim is not None and dim > backend.dim:
            raise InputError(f"the model {model!r} gives {backend.dim} dimensions, and {dim} were asked for; ask for at most {backend.dim}")
        self.model, self.fingerprint, self.similarity = model, fingerprint, similarity
        self.query_prompt, self.document_prompt = query_prompt, document_prompt
        self.dim = dim or backend.dim
        self.backend, self.precision = backend.name, backend.precision
        self._backend = backend

    def encode_document(self, texts: Sequence[str], *, progress: Progress = False) -> NDArray[np.float32]:
        """Vectors of documents: float32 (n, dim)."""
        out = np.empty((len(texts), self.dim), np.float32)
        with track(f"encoding with {self.model}", len(texts), progress) as tracker:
            for start, vectors in self.chunks(texts):
                out[start : start + len(vectors)] = vectors
                tracker.advance(len(vectors))
        return out

    def chunks(self, texts: Sequence[str]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(position of the first text, vectors) of documents, some at a time, so that finished work can be kept."""
        for start in range(0, len(texts), CHUNK):
            yield (
                start,
                self._finish(self._backend.encode(texts[start : start + CHUNK], self.document_prompt), texts[start : start + CHUNK]),
            )

    def encode_query(self, queries: Sequence[str | Query]) -> NDArray[np.float32]:
        """Vectors of questions: float32 (n, dim). A question's own instruction takes the place of the query prompt."""
        given = [q if isinstance(q, Query) else Query("", q) for q in queries]
        prompts = [INSTRUCTION.format(instruction=q.instruction) if q.instruction else self.query_prompt for q in given]
        out = np.empty((len(given), self.dim), np.float32)
        for prompt in dict.fromkeys(prompts):
            at = [i for i, p in enumerate(prompts) if p == prompt]
            texts = [given[i].text for i in at]
            out[at] = self._finish(self._backend.encode(texts, prompt), texts)
        return out

    def _finish(self, vectors: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
        """Truncated and normalised; a vector of zeros stays one."""
        if not np.isfinite(vectors).all():
            bad = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise InputError(
                f"the model {self.model!r} gave no finite vector for the text {texts[bad][:60]!r}; use precision='float32' or another model"
            )
        return unit(vectors[:, : self.dim]) if self.similarity == "cosine" else np.ascontiguousarray(vectors[:, : self.dim])

    def __repr__(self) -> str:
        return f"TextEncoder({self.model!r}, dim={self.dim}, backend={self.backend!r}, precision={self.precision!r})"


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their lengths; a row of zeros stays one.

    >>> unit(np.array([[3, 4], [0, 0]], "f4")).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
