"""faiss indexes: checking a factory string, training, building, reading, and the search parameters of each kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import NewFile
from ragkit.errors import CorruptCollectionError, InputError

_TRAIN_ROWS = 256
"""Training points for each centroid, more are not read: what faiss itself would sample."""


def make(factory: str, dim: int) -> Any:
    """An empty index by inner product."""
    import faiss

    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as exc:
        raise InputError(f"faiss refuses the factory string {factory!r} for {dim} dimensions ({_reason(exc)})") from exc


def check(factory: str, dim: int | None) -> None:
    """Raise InputError for a string that faiss takes for no usual dimension, or that ragkit can't read rows of."""
    if "IDMap" in factory:
        raise InputError(f"the factory string {factory!r} renumbers vectors; leave IDMap out, ragkit numbers them itself")
    refused: InputError | None = None
    for d in (dim,) if dim else (384, 768, 1024, 480, 1000):
        try:
            make(factory, d)
        except InputError as exc:
            refused = refused or exc
        else:
            return
    if refused is not None:
        raise refused


def train(factory: str, vectors: NDArray[np.float32], path: Path) -> bool:
    """Write a trained, empty index; False if there are too few vectors to train it."""
    import faiss

    index = make(factory, vectors.shape[1])
    index.verbose = False
    sample = vectors
    cells = getattr(faiss.try_extract_index_ivf(index), "nlist", 0)
    if cells and len(vectors) > _TRAIN_ROWS * cells:
        chosen = np.random.default_rng(7).choice(len(vectors), _TRAIN_ROWS * cells, replace=False)
        sample = vectors[np.sort(chosen)]
    try:
        index.train(np.ascontiguousarray(sample))
    except RuntimeError as exc:
        if "training points" in str(exc) or "nx >= k" in str(exc):
            return False
        raise InputError(f"faiss can't train {factory!r} on {len(vectors)} vectors ({_reason(exc)}); choose another factory") from exc
    _write(index, path)
    return True


def build(trained: Path, vectors: NDArray[np.float32], path: Path) -> None:
    """Write an index of these vectors."""
    index = _read(trained)
    index.add(np.ascontiguousarray(vectors))
    _write(index, path)


def _write(index: Any, path: Path) -> None:
    import faiss

    with NewFile(path) as f:
        faiss.write_index(index, faiss.PyCallbackIOWriter(f.write, 1 << 20))


def read(path: Path, nprobe: int, ef_search: int) -> Any:
    """An index with its search parameters set, for searches without a filter."""
    index = _read(path)
    _set(index, nprobe, ef_search)
    return index


def _read(path: Path) -> Any:
    import faiss

    try:
        return faiss.read_index(str(path))
    except RuntimeError as exc:
        raise CorruptCollectionError(
            f"{path} is no index that faiss can read ({_reason(exc)}); restore it from a backup, or index again"
        ) from exc


def _set(index: Any, nprobe: int, ef_search: int) -> None:
    import faiss

    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = min(nprobe, ivf.nlist)
    inner = _innermost(index)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = ef_search


def _innermost(index: Any) -> Any:
    import faiss

    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        index = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index)
    return index


def parameters(index: Any, selector: Any, refine: int, *, k: int) -> Any:
    """Search parameters for an index: a selector of rows (or None) and the refinement factor, at every level of wrapping."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=parameters(index.index, selector, refine, k=k))
    if isinstance(index, faiss.IndexRefine):
        inner = parameters(index.base_index, selector, refine, k=k * refine)
        return faiss.IndexRefineSearchParameters(k_factor=float(refine), base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=max(index.hnsw.efSearch, k))
    return faiss.SearchParameters(sel=selector)


def search(index: Any, vectors: NDArray[np.float32], k: int, parameters: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(scores, rows), both (Q, k), padded with -1: what ``index.search`` gives, less its checks, which count when one query is asked."""
    import faiss

    at = faiss.swig_ptr
    scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
    index.search_c(len(vectors), at(vectors), k, at(scores), at(rows), parameters)
    return scores, rows


def _reason(exc: RuntimeError) -> str:
    """faiss's own words, without the place in its source."""
    return re.sub(r"^.*?\.(cpp|h):\d+: (Error: )?", "", str(exc).strip(), flags=re.DOTALL).partition("\n")[0][:120]
