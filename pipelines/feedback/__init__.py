"""Feedback: stages that change a query by what it found, and retrieve again."""

from __future__ import annotations

from ragkit.pipelines.feedback.rerank_feedback import RerankFeedback

__all__ = ["RerankFeedback"]
