"""kNN-LM: a language model mixed with what followed the nearest contexts of a datastore, and its speculative form."""

from ragkit.pipelines.knn_lm.approximate import IVFPQ
from ragkit.pipelines.knn_lm.datastore import TokenDatastore
from ragkit.pipelines.knn_lm.knn_lm import KNNLanguageModel
from ragkit.pipelines.knn_lm.result import KNNText

__all__ = ["IVFPQ", "KNNLanguageModel", "KNNText", "TokenDatastore"]
