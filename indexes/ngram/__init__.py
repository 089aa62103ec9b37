"""Exact n-gram search: any string of the documents, counted and found; what follows it; rankings by the n-grams of a question."""

if __name__ != "ragkit.indexes.ngram":
    raise ImportError("import ragkit.indexes.ngram, not indexes.ngram: the folder indexes/ is installed as ragkit.indexes")

from ragkit.indexes.ngram.seal import SEAL
from ragkit.indexes.ngram.spec import NGram
from ragkit.indexes.ngram.token_spec import TokenNGram
from ragkit.indexes.ngram.word_spec import WordNGram

__all__ = ["SEAL", "NGram", "TokenNGram", "WordNGram"]
