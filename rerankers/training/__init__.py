"""Training rerankers on one's own judgements or a teacher's orders; the weights stay on this machine."""

from __future__ import annotations

from ragkit.rerankers.training.cross_encoder import train_cross_encoder
from ragkit.rerankers.training.examples import Example, mine
from ragkit.rerankers.training.listwise import OrderedExample, examples_from, teacher_order, train_listwise
from ragkit.rerankers.training.sentences import sentence_queries

__all__ = [
    "Example",
    "OrderedExample",
    "examples_from",
    "mine",
    "sentence_queries",
    "teacher_order",
    "train_cross_encoder",
    "train_listwise",
]
