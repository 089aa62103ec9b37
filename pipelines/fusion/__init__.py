"""Fusion: several stages' runs made one, by ranks (`rrf`), by normalised scores (`interpolate`), or as a pool for a reranker."""

from __future__ import annotations

from ragkit.pipelines.fusion.interpolate import Interpolate, interpolate
from ragkit.pipelines.fusion.legs import Fusion
from ragkit.pipelines.fusion.pool import Pool, pool
from ragkit.pipelines.fusion.rrf import RRF, rrf

__all__ = ["Fusion", "Interpolate", "Pool", "RRF", "interpolate", "pool", "rrf"]
