"""Retrieval every few tokens, and its speculative form, which writes the same in less time."""

from ragkit.pipelines.iterative.iterative import IterativeRAG
from ragkit.pipelines.iterative.result import Iterated, Writing

__all__ = ["Iterated", "IterativeRAG", "Writing"]
