"""Dense: the spec that a collection stores, and what it trains, builds and opens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ragkit.collection.vectors import GIVEN
from ragkit.encoders.settings import DEFAULT_MODEL, EncoderSettings
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.indexes.dense import files
from ragkit.indexes.dense.presets import PRESETS, factory_string
from ragkit.indexes.dense.searcher import DenseSearcher, VectorPart
from ragkit.progress import Progress
from ragkit.protocols import Encoder, Part
from ragkit.spec import validated

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns

_FILE = "index.faiss"
_TRAINED = "trained.faiss"


@validated
class Dense:
    """Search by the similarity of vectors.

    model        encoder: folder of a sentence-transformers model, hub id, or "static"; the default is never downloaded
    vectors      name of vectors that the caller gives, in place of a model: ``add(docs, vectors={name: array})``
    factory      "exact" (scan), "graph" (HNSW), "balanced" (IVF, 8 bits), "fast" (4-bit PQ, refined), "compact" (OPQ),
                 "bit" (RaBitQ, refined), or a faiss factory string; presets scan fewer than 10,000 passages exactly
    dim          first dimensions to keep (Matryoshka); None: all
    query_prompt, document_prompt, max_length, device, backend, precision   see `ragkit.encoders.EncoderSettings`
    similarity   of given vectors: "cosine" (they are normalised) or "dot"; a model says its own
    nprobe       cells of an inverted file that are searched
    ef_search    breadth of a graph search
    refine       candidates for each wanted hit, where the index refines its scores or `rescore` does
    rescore      score candidates anew from the stored vectors, on disk; None: with "compact" alone
    fingerprint  the encoder's, filled in at the first add; a collection opens its vectors with no other

    source  Johnson et al., Billion-scale similarity search with GPUs, 2017 (faiss); Malkov & Yashunin, HNSW, TPAMI 2020;
            Jégou et al., Product quantization, TPAMI 2011; Gao & Long, RaBitQ, SIGMOD 2024
    """

    model: str = DEFAULT_MODEL
    vectors: str = ""
    factory: str = "exact"
    dim: Annotated[int, Field(ge=1)] | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    device: str = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    similarity: Literal["cosine", "dot"] = "cosine"
    nprobe: Annotated[int, Field(ge=1)] = 32
    ef_search: Annotated[int, Field(ge=1)] = 64
    refine: Annotated[int, Field(ge=1)] = 10
    rescore: bool | None = None
    fingerprint: str = ""
    name: ClassVar[str] = "dense"
    unit: ClassVar[str] = "passage"

    def __post_init__(self) -> None:
        if self.vectors and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.vectors):
            raise InputError(f"a name of vectors has letters, digits, dots, dashes and underscores, got {self.vectors!r}")
        if self.factory not in PRESETS:
            files.check(self.factory, self.dim)

    @property
    def column(self) -> str:
        """Name of the vector column: the encoder's fingerprint, or the name of given vectors."""
        if self.vectors:
            return f"{GIVEN}{self.vectors}"
        return self.fingerprint or self._loaded().fingerprint

    @property
    def rescores(self) -> bool:
        """Whether candidates are scored anew from the vector column."""
        return self.factory == "compact" if self.rescore is None else self.rescore

    def encoder(self) -> Encoder | None:
        """The encoder, loaded; None for given vectors. Raises InputError if it is not the one that the column was made with."""
        if self.vectors:
            return None
        made = self._loaded()
        if self.fingerprint and made.fingerprint != self.fingerprint:
            raise InputError(
                f"the vectors were made by a model with the fingerprint {self.fingerprint}, and {self.model!r} now has "
                f"{made.fingerprint}: put that model back, or index again with this one"
            )
        return made

    def _loaded(self) -> Encoder:
        from ragkit.encoders.load import load_encoder

        names = ("model", "dim", "query_prompt", "document_prompt", "max_length", "device", "backend", "precision")
        return load_encoder(EncoderSettings(**{n: getattr(self, n) for n in names}))

    def fit(self, columns: SegmentColumns) -> Dense:
        """This spec with its encoder's fingerprint and similarity."""
        if self.vectors or self.fingerprint:
            return self
        encoder = self._loaded()
        similarity: Literal["cosine", "dot"] = "dot" if encoder.similarity == "dot" else "cosine"
        return replace(self, fingerprint=encoder.fingerprint, similarity=similarity)

    def train(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> bool:
        """Train centroids and rotations on one segment's vectors, for all segments after it."""
        vectors = columns.vectors(self.column)
        string = factory_string(self.factory, *vectors.shape)
        return string is not None and files.train(string, self._usable(vectors), folder / _TRAINED)

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write one segment's faiss index, if it is to have one."""
        vectors = columns.vectors(self.column)
        trained = columns.models.get(self.name)
        if trained is not None and factory_string(self.factory, *vectors.shape) is not None:
            files.build(trained / _TRAINED, self._usable(vectors), folder / _FILE)

    def _usable(self, vectors: Any) -> Any:
        """Vectors as faiss compares them: given ones normalised if they are compared by cosine."""
        from ragkit.encoders.encoder import unit

        return unit(vectors) if self.vectors and self.similarity == "cosine" else vectors

    def open(self, parts: Sequence[Part]) -> DenseSearcher:
        """A searcher over the parts; one without a faiss index is scanned."""
        return DenseSearcher(self, [self._part(p) for p in parts])

    def _part(self, part: Part) -> VectorPart:
        columns = part.columns
        vectors = columns.vectors(self.column)
        if self.vectors and self.similarity == "cosine":
            vectors = columns.memo(("unit vectors", self.column), lambda: self._usable(columns.vectors(self.column)))
        path = part.folder / _FILE if part.folder is not None else None
        if path is None or not path.is_file():
            return VectorPart(vectors, None)
        index = columns.memo(("dense", self), lambda: files.read(path, self.nprobe, self.ef_search))
        if (index.ntotal, index.d) != vectors.shape:
            raise CorruptCollectionError(f"{path} holds {index.ntotal} vectors where the segment has {len(vectors)}; index again")
        return VectorPart(vectors, index)
