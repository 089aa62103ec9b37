"""Exact n-gram search: an FM-index over the bytes of documents, and the plain suffix array that it is measured against."""

if __name__ != "ragkit.indexes.ngram":
    raise ImportError("import ragkit.indexes.ngram, not indexes.ngram: the folder indexes/ is installed as ragkit.indexes")
