"""BM25 in its variants, exact, over segments of postings."""

from ragkit.indexes.bm25.spec import BM25

__all__ = ["BM25"]
