"""faiss factory strings: the presets by name, sized for a number of vectors and dimensions."""

from __future__ import annotations

PRESETS = ("exact", "graph", "balanced", "fast", "compact", "bit")
EXACT_BELOW = 10_000
"""Presets scan fewer vectors than this exactly: that is quick, and nothing has to be trained."""

_POINTS_A_CENTROID = 39
"""What faiss asks for to train a centroid."""


def factory_string(factory: str, n: int, dim: int) -> str | None:
    """The factory string of a preset for n vectors, or a string of the caller's as it is; None for an exact scan.

    >>> factory_string("balanced", 100_000, 384), factory_string("balanced", 500, 384)
    ('IVF1024,SQ8', None)
    >>> factory_string("compact", 1_000_000, 384), factory_string("HNSW32,SQ8", 500, 384)
    ('OPQ48,IVF4096,PQ48x8np', 'HNSW32,SQ8')
    """
    if factory == "exact":
        return None
    if factory not in PRESETS:
        return factory
    if n < EXACT_BELOW:
        return None
    cells, parts = n_cells(n), _divisor(dim, dim // 2)
    return {
        "graph": "HNSW32",
        "balanced": f"IVF{cells},SQ8",
        "fast": f"IVF{cells},PQ{parts}x4fs,RFlat",
        "compact": f"OPQ{_divisor(dim, dim // 8)},IVF{cells},PQ{_divisor(dim, dim // 8)}x8np",
        "bit": f"IVF{cells},RaBitQ,Refine(SQ8)",
    }[factory]


def n_cells(n: int) -> int:
    """Cells of an inverted file over n vectors: a power of two near 4 √n, with enough training points for each.

    >>> n_cells(10_000), n_cells(100_000), n_cells(1_000_000)
    (256, 1024, 4096)
    """
    cells = 1 << round(4 * n**0.5).bit_length() - 1
    while cells > 1 and n / cells < _POINTS_A_CENTROID:
        cells //= 2
    return int(cells)


def _divisor(dim: int, at_most: int) -> int:
    """The largest divisor of dim up to a bound, at least 1."""
    return next(m for m in range(max(at_most, 1), 0, -1) if dim % m == 0)
