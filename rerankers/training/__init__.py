"""Training rerankers on one's own judgements: negatives from any pipeline's run, then a cross-encoder; the weights stay on this machine."""

from __future__ import annotations

from ragkit.rerankers.training.cross_encoder import train_cross_encoder
from ragkit.rerankers.training.examples import Example, mine
from ragkit.rerankers.training.sentences import sentence_queries

__all__ = ["Example", "mine", "sentence_queries", "train_cross_encoder"]
