"""Stages that thin out or reorder the hits of a run: ``pipeline >> PerDocument(2) >> MinScore(0.3)``."""

from __future__ import annotations

from ragkit.pipelines.reorder.min_score import MinScore
from ragkit.pipelines.reorder.mmr import MMR
from ragkit.pipelines.reorder.per_document import PerDocument
from ragkit.pipelines.reorder.recency import Recency
from ragkit.pipelines.reorder.title_weight import TitleWeight

__all__ = ["MMR", "MinScore", "PerDocument", "Recency", "TitleWeight"]
