"""Dense retrieval: vectors in faiss indexes or scanned exactly."""

from ragkit.indexes.dense.spec import Dense

__all__ = ["Dense"]
