"""IVF-PQ over the keys of a large datastore: candidates are found by product codes in some cells, and ranked by their true distances.

source  Jégou et al., Product Quantization for Nearest Neighbor Search, TPAMI 2011; Khandelwal et al., Generalization through
        Memorization, ICLR 2020, which asks such an index for a kNN-LM
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import NewFile
from ragkit.errors import InputError
from ragkit.indexes.dense import files
from ragkit.indexes.dense.presets import n_cells
from ragkit.pipelines.knn_lm.neighbours import Neighbours, nearest, ranked
from ragkit.stage import check_k

_CENTROIDS = 256
_TRAIN_ROWS = 64
"""Keys for each cell, and for each centroid of a code, that are read to train."""
_BLOCK = 65536


@dataclass(frozen=True)
class IVFPQ:
    """An approximate index of a datastore's keys.

    cells   that keys are grouped in; None: a power of two near four times the root of their number
    parts   that a key is cut into, each a byte; None: one for eight numbers
    probes  cells that are looked into
    refine  as many candidates as neighbours, this many times, are ranked by their true distances

    >>> IVFPQ(probes=0)
    Traceback (most recent call last):
    ragkit.errors.InputError: probes must be a whole number of at least 1, got 0
    """

    cells: int | None = None
    parts: int | None = None
    probes: int = 32
    refine: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                check_k(value, name)

    def factory(self, n: int, dim: int) -> str:
        """faiss's name for it, over n keys; np: codes are not put into an order, which takes long, and is of use to filters alone.

        >>> IVFPQ().factory(100_000, 256)
        'IVF1024,PQ32x8np'
        """
        parts = self.parts or next(m for m in range(max(1, dim // 8), 0, -1) if dim % m == 0)
        if dim % parts:
            raise InputError(f"keys of {dim} numbers can't be cut into {parts} equal parts; give a divisor")
        return f"IVF{self.cells or n_cells(n)},PQ{parts}x8np"


def write(spec: IVFPQ, keys: NDArray[np.float16], path: Path) -> Iterator[int]:
    """Train an index and write it; yields how many keys more are in it.

    raises  InputError where there are too few keys to train it
    """
    import faiss

    index = faiss.index_factory(keys.shape[1], spec.factory(*keys.shape), faiss.METRIC_L2)
    least = max(index.nlist, _CENTROIDS)
    if len(keys) < least:
        raise InputError(f"{len(keys)} entries are too few for {index.nlist} cells and codes of {_CENTROIDS} centroids; search exactly")
    # fewer points a centroid than faiss likes are no error: it says so on the standard error itself, unless it is told
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    n = min(len(keys), _TRAIN_ROWS * least)
    chosen = np.sort(np.random.default_rng(7).choice(len(keys), n, replace=False))
    index.train(keys[chosen].astype(np.float32))
    for start in range(0, len(keys), _BLOCK):
        index.add(keys[start : start + _BLOCK].astype(np.float32))
        yield min(_BLOCK, len(keys) - start)
    with NewFile(path) as f:
        faiss.write_index(index, faiss.PyCallbackIOWriter(f.write, 1 << 20))


def read(spec: IVFPQ, path: Path) -> Any:
    """The index of a file; raises CorruptCollectionError where it is none."""
    return files.read(path, spec.probes, 1)


def search(spec: IVFPQ, index: Any, queries: NDArray[np.float32], halves: NDArray[np.int16], k: int) -> Neighbours:
    """The k nearest rows of those that the index finds; where it finds fewer, all rows are read."""
    wanted = min(len(halves), spec.refine * k)
    rows = np.empty((len(queries), wanted), np.int64)
    for q in range(len(queries)):  # one by one: many at once would be computed in another way, and rounded in another
        rows[q] = files.search(index, queries[q : q + 1], wanted, None)[1][0]
    found = ranked(queries, halves, rows, k)
    short = np.flatnonzero(found.entries[:, -1] < 0)
    if len(short):
        exact = nearest(np.ascontiguousarray(queries[short]), halves, k)
        for part, new in zip(found, exact, strict=True):
            part[short] = new
    return found
