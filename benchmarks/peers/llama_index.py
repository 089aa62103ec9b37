"""LlamaIndex: directory reader, an own node parser, HuggingFaceEmbedding in a VectorStoreIndex, and the BM25 retriever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.node_parser.node_utils import build_nodes_from_splits
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import BaseNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.retrievers.bm25 import BM25Retriever

from benchmarks.peers import BATCH, Found, K, passages


class Parser(NodeParser):  # type: ignore[misc]  # its types are not read
    """Cuts documents where ragkit does."""

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> list[BaseNode]:
        made: list[BaseNode] = []
        for node in nodes:
            texts = list(passages(node.get_content(), Path(node.metadata["path"]).stem))
            made += build_nodes_from_splits(texts, node, id_func=self.id_func)
        return made


class LlamaIndex:
    """Retrievers over nodes in memory; nothing is written to disk."""

    def __init__(self, folder: Path, model: Path | None) -> None:
        def path_of(file: str) -> dict[str, str]:
            return {"path": Path(file).relative_to(folder).as_posix()}

        documents = SimpleDirectoryReader(str(folder), recursive=True, required_exts=[".md"], file_metadata=path_of).load_data()
        for document in documents:
            document.excluded_embed_metadata_keys = ["path"]  # encoded is what the others encode
        self._nodes = Parser().get_nodes_from_documents(documents)
        self._retrievers: dict[str, Any] = {}
        if model is not None:
            embedding = HuggingFaceEmbedding(str(model), device="cpu", embed_batch_size=BATCH, local_files_only=True)
            self._retrievers["dense"] = VectorStoreIndex(self._nodes, embed_model=embedding).as_retriever(similarity_top_k=K)
        self._retrievers["bm25"] = BM25Retriever.from_defaults(nodes=self._nodes, similarity_top_k=K)
        if model is not None:
            self._retrievers["hybrid"] = QueryFusionRetriever(
                [self._retrievers["dense"], self._retrievers["bm25"]],
                llm=MockLLM(),
                mode="reciprocal_rerank",
                similarity_top_k=K,
                num_queries=1,
                use_async=False,
            )

    def search(self, question: str, using: str) -> list[Found]:
        return [Found(n.node.metadata["path"], n.node.get_content()) for n in self._retrievers[using].retrieve(question)]

    def passages(self) -> list[str]:
        return [n.get_content() for n in self._nodes]


def index(folder: Path, model: Path | None) -> LlamaIndex:
    """See `benchmarks.peers`."""
    return LlamaIndex(folder, model)
