"""TokenDatastore: of each context of some texts its key and the token that followed, in a folder, mapped into memory.

source  Khandelwal et al., Generalization through Memorization: Nearest Neighbor Language Models, ICLR 2020
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array, save_rows
from ragkit.errors import CorruptCollectionError, InputError, ShapeError
from ragkit.generation.load import llm
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.pipelines.knn_lm import approximate, storage
from ragkit.pipelines.knn_lm.approximate import IVFPQ
from ragkit.pipelines.knn_lm.keys import STRIDE, WINDOW, ContextKeys, check_tokens, check_window
from ragkit.pipelines.knn_lm.neighbours import Neighbours, nearest
from ragkit.progress import Progress, Tracker, track
from ragkit.protocols import LanguageModel

_LARGEST = float(np.finfo(np.float16).max)
_log = logging.getLogger(__name__)


class TokenDatastore:
    """Entries (key, next token) in the order of the texts, so that the entry behind another is what came next.

    halves     int16 (N, D)  the bits of the keys, which are float16
    values     int32 (N,)    the tokens
    unit       by how much squared distances of unrelated keys scatter, about: their mean squared distance to their mean, divided by √D
    exact      whether a search reads all keys; else an `IVFPQ` index finds candidates
    facts      what is known of the texts and the model: fingerprints, width, windows

    Made by `build` and `open`; nobody writes into it, and it is safe to share between threads.
    """

    def __init__(
        self, halves: NDArray[np.int16], values: NDArray[np.int32], facts: dict[str, Any], index: tuple[IVFPQ, Any] | None
    ) -> None:
        self.halves, self.values, self.facts = halves, values, facts
        self.unit = float(facts["unit"])
        self.exact = index is None
        self._index = index

    @classmethod
    def build(
        cls,
        folder: str | Path,
        model: str | LanguageModel,
        texts: Sequence[Sequence[int]],
        *,
        window: int = WINDOW,
        stride: int = STRIDE,
        ivfpq: IVFPQ | None = None,
        batch_tokens: int = 4096,
        progress: Progress = False,
    ) -> Self:
        """Read texts and keep their contexts, in place of what the folder held.

        folder        of its own; a build that fails or is killed leaves what was there before
        model         a causal model on this machine, or its name as `ragkit.llm` takes it
        texts         as tokens of the model, without the one that texts begin with; with the one that ends them, if that is to be foretold
        window        positions that are read at once; stride: tokens that each window but a text's first adds
        ivfpq         an approximate index too, for searches in millions of entries; None: every search reads all keys
        batch_tokens  of a forward pass
        raises        InputError for a model without a feed-forward to be found, tokens that it does not have, or no context at all;
                      Cancelled, LockedError
        cost          one pass of the model over all windows; 2 D bytes an entry
        """
        start, folder = perf_counter(), Path(folder)
        made = ContextKeys(causal(model))
        check_window(made.model, window, stride)
        check_tokens(texts, made.model.net.width)
        skipped = int(made.begin is None)  # tokens of a text in front of which there is nothing
        values = np.concatenate([np.zeros(0, np.int32), *(np.asarray(t[skipped:], np.int32) for t in texts)])
        if not len(values):
            raise InputError("the texts hold no token that has something before it; give at least one")
        with storage.replacing(folder) as (written, facts):
            with track("reading", len(values), progress) as tracker:
                spread = _Spread(made.width)
                read = made.read(texts, window=window, stride=stride, batch_tokens=batch_tokens)
                keys = (_narrow(k, made.model.name, tracker, spread) for _, _, k in read)
                save_rows(written / storage.KEYS, keys, (len(values), made.width), np.float16)
            save_array(written / storage.VALUES, values)
            if ivfpq is not None:
                with track("indexing", len(values), progress) as tracker:
                    for n in approximate.write(ivfpq, open_array(written / storage.KEYS), written / storage.INDEX):
                        tracker.advance(n)
            facts |= {
                "model": made.model.name, "fingerprint": made.model.fingerprint, "tokenizer": made.model.tokenizer,
                "vocabulary": made.model.net.width, "entries": len(values), "width": made.width, "texts": len(texts),
                "window": window, "stride": stride, "unit": spread.unit, "ivfpq": None if ivfpq is None else asdict(ivfpq),
            }  # fmt: skip
        _log.info("datastore of %d entries, %d bytes of keys, in %.1f s", len(values), 2 * len(values) * made.width, perf_counter() - start)
        return cls.open(folder, check=False)

    @classmethod
    def open(cls, folder: str | Path, *, check: bool = True) -> Self:
        """A datastore that was built, its keys mapped from disk.

        check   compare all files with their digests, which reads them once; else their sizes alone
        raises  InputError where there is none, CorruptCollectionError where it is damaged, UnsupportedVersionError
        """
        inner, facts = storage.stored(Path(folder), check=check)
        keys, values = open_array(inner / storage.KEYS), open_array(inner / storage.VALUES)
        shape = (facts["entries"], facts["width"])
        if keys.dtype != np.float16 or keys.shape != shape or not keys.flags.c_contiguous:
            raise CorruptCollectionError(f"{inner / storage.KEYS} holds {keys.dtype} {keys.shape}, not float16 {shape}; build it again")
        if values.dtype != np.int32 or values.shape != shape[:1] or values.min() < 0 or values.max() >= facts["vocabulary"]:
            raise CorruptCollectionError(f"{inner / storage.VALUES} holds no {shape[0]} tokens below {facts['vocabulary']}; build it again")
        index = None
        if facts["ivfpq"] is not None:
            spec = IVFPQ(**facts["ivfpq"])
            index = spec, approximate.read(spec, inner / storage.INDEX)
            if (index[1].ntotal, index[1].d) != shape:
                raise CorruptCollectionError(f"{inner / storage.INDEX} is an index of other keys; build it again")
        return cls(keys.view(np.int16), values, facts, index)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        kind = "exact" if self._index is None else repr(self._index[0])
        return f"TokenDatastore({len(self):,} entries of {self.facts['model']!r}, {kind})"

    def search(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """The k nearest entries (all, where there are fewer), by distance and then by number; the same whatever is asked beside.

        queries  float32 (Q, D), of `ContextKeys`
        raises   ShapeError for another width, InputError for numbers that are not finite
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.halves.shape[1]:
            raise ShapeError(f"the datastore has keys of {self.halves.shape[1]} numbers, got queries of the shape {queries.shape}")
        if not np.isfinite(queries).all():
            raise InputError("a query holds NaN or infinity; give finite numbers")
        k = min(k, len(self))
        if not k:
            return Neighbours(np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64))
        if self._index is None:
            return nearest(queries, self.halves, k)
        return approximate.search(*self._index, queries, self.halves, k)

    def check_made_with(self, model: TransformersModel) -> None:
        """Raise InputError unless the keys are this model's."""
        if model.fingerprint != self.facts["fingerprint"] or model.tokenizer != self.facts["tokenizer"]:
            raise InputError(
                f"the datastore was built with {self.facts['model']!r} (fingerprint {self.facts['fingerprint']}), and {model.name!r} "
                f"({model.fingerprint}) is another model, or loaded in another way; its keys would lie elsewhere: build one with it"
            )


def causal(model: str | LanguageModel) -> TransformersModel:
    """The model; raises InputError where it is none whose hidden states can be seen."""
    found = llm(model)
    if not isinstance(found, TransformersModel):
        raise InputError(f"kNN-LM needs a causal model on this machine, whose hidden states it sees; {found.name!r} is none")
    return found


class _Spread:
    """Counts keys for `TokenDatastore.unit`."""

    def __init__(self, width: int) -> None:
        self._n, self._sum, self._squares = 0, np.zeros(width), 0.0

    def add(self, keys: NDArray[np.float16]) -> None:
        wide = keys.astype(np.float64)
        self._n, self._sum, self._squares = self._n + len(wide), self._sum + wide.sum(0), self._squares + float((wide**2).sum())

    @property
    def unit(self) -> float:
        """1 where all keys are the same."""
        mean = self._sum / self._n
        variance = self._squares / self._n - float(mean @ mean)
        return variance / float(np.sqrt(len(mean))) if variance > 1e-9 * self._squares / self._n else 1.0


def _narrow(keys: NDArray[np.float32], model: str, tracker: Tracker, spread: _Spread) -> NDArray[np.float16]:
    if len(keys) and float(np.abs(keys).max()) > _LARGEST:
        raise InputError(f"a hidden state of {model!r} reaches {np.abs(keys).max():g}, and float16 ends at {_LARGEST:g}; it can't be a key")
    narrow = keys.astype(np.float16)
    spread.add(narrow)
    tracker.advance(len(keys))
    return narrow
