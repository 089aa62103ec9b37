"""Haystack: text converter, an own splitter, the sentence-transformers embedder, the in-memory document store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haystack import Document, component
from haystack.components.converters import TextFileToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

from benchmarks.peers import BATCH, Found, K, passages


@component
class Splitter:
    """Cuts documents where ragkit does."""

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]  # its types are not read
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Documents of one passage each, numbered, under the path of their file."""
        return {
            "documents": [
                Document(content=text, meta={"path": d.meta["path"], "number": n})
                for d in documents
                for n, text in enumerate(passages(d.content, Path(d.meta["path"]).stem))
            ]
        }


class Haystack:
    """A document store in memory with its retrievers; nothing is written to disk."""

    def __init__(self, folder: Path, model: Path | None) -> None:
        self._store = InMemoryDocumentStore(shared=False, return_embedding=False)
        self._bm25 = InMemoryBM25Retriever(self._store, top_k=K)
        self._dense = InMemoryEmbeddingRetriever(self._store, top_k=K)
        self._join = DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=K)
        files = sorted(folder.rglob("*.md"))
        meta = [{"path": f.relative_to(folder).as_posix()} for f in files]
        documents = Splitter().run(TextFileToDocument().run(sources=files, meta=meta)["documents"])["documents"]
        if model is not None:
            settings: dict[str, Any] = {"model": str(model), "device": ComponentDevice.from_str("cpu"), "local_files_only": True}
            settings |= {"batch_size": BATCH, "progress_bar": False}
            documents = SentenceTransformersDocumentEmbedder(**settings).run(documents)["documents"]
            self._encoder = SentenceTransformersTextEmbedder(**settings)
        DocumentWriter(self._store).run(documents)

    def search(self, question: str, using: str) -> list[Found]:
        legs: list[list[Document]] = []
        if using in ("bm25", "hybrid"):
            legs.append(self._bm25.run(query=question)["documents"])
        if using in ("dense", "hybrid"):
            legs.append(self._dense.run(query_embedding=self._encoder.run(question)["embedding"])["documents"])
        found = self._join.run(documents=legs)["documents"] if len(legs) > 1 else legs[0]
        return [Found(d.meta["path"], d.content) for d in found]

    def passages(self) -> list[str]:
        return [d.content for d in self._store.filter_documents()]


def index(folder: Path, model: Path | None) -> Haystack:
    """See `benchmarks.peers`."""
    return Haystack(folder, model)
