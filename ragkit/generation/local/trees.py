"""Trees of tokens read in one pass behind rows that were read before: each node sees the path that leads to it.

source: Miao et al., SpecInfer, ASPLOS 2024 (tree attention); Cai et al., Medusa, ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.local.causal import CausalBatch


class TreeBatch:
    """Goes on from a batch that has been started, by trees in place of tokens: `verify` reads one a row, `accept` keeps a path of it.

    Models whose layers see only some of what was before (sliding windows) and those with attention that takes no mask of ours are
    given chains, a row at a time.
    """

    def __init__(self, batch: CausalBatch) -> None:
        net = batch.net
        self._batch, self._net = batch, net
        self._base: NDArray[np.bool_] | None = None if batch.mask is None else batch.mask[:, : batch.size].cpu().numpy()
        self._filled = np.full(len(batch.next), batch.size, np.int64)
        self._next = batch.next[:, 0].cpu().numpy()
        batch.remember()

    @property
    def n_rows(self) -> int:
        """Rows that are being written."""
        return len(self._filled)

    def verify(
        self, tokens: NDArray[np.int64], depths: NDArray[np.int64], sees: NDArray[np.bool_], see: Callable[[Any], None] | None = None
    ) -> Any:
        """Logits float32 (R, T, V) of what follows each token of a tree a row.

        tokens  (R, T)     the token behind all that was read, then what may follow it
        depths  (R, T)     of each token below the first
        sees    (R, T, T)  which tokens of its tree each one follows, itself included; what fills a row up sees itself alone
        see     is given the last hidden states (R, T, hidden)
        """
        net, torch = self._net, self._net.torch
        self._batch.passes += 1
        ragged = self.n_rows > 1 and bool((self._filled != self._filled[0]).any())
        if net.reusable:
            at = torch.from_numpy(self._filled).to(net.device) if ragged else None
            for layer in self._batch.cache.layers:
                layer.at = at
        positions = torch.from_numpy(self._next[:, None] + depths).to(net.device)
        single = tokens.shape[1] == 1 and self._base is None and not ragged
        mask = None if single or not net.reads_blocks else self._mask(tokens.shape[1], sees)
        return net.forward(torch.from_numpy(tokens).to(net.device), self._batch.cache, mask, positions, tokens.shape[1], see)

    def accept(self, paths: Sequence[Sequence[int]], width: int) -> None:
        """Keep of each row's tree of `width` tokens, which was read last, one path: its nodes, from the first on."""
        cache = self._batch.cache
        if width == 1 and self._net.reusable:  # nothing was drafted
            self._filled, self._next = self._filled + 1, self._next + 1
            return
        before, lengths = self._filled, np.array([len(p) for p in paths])
        moved = [(r, i, node) for r, path in enumerate(paths) for i, node in enumerate(path) if i != node]
        if moved:
            rows, to, source = np.array(moved).T
            places = [self._net.torch.from_numpy(a).to(self._net.device) for a in (rows, before[rows] + source, before[rows] + to)]
            with self._net.torch.inference_mode():
                for layer in cache.layers:
                    layer.move(*places)
        self._filled, self._next = before + lengths, self._next + lengths
        spare = int(before.max() + width - self._filled.max())
        if spare or not self._net.reusable:
            cache.crop(-spare)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows alone."""
        self._batch.keep(rows)
        longest = int(self._filled.max())
        self._filled, self._next = self._filled[list(rows)], self._next[list(rows)]
        if self._base is not None:
            self._base = self._base[list(rows)]
        if spare := longest - int(self._filled.max()):
            self._batch.cache.crop(-spare)

    def _mask(self, width: int, sees: NDArray[np.bool_]) -> Any:
        """What each token sees, added to the scores: booleans would be added as 0 and 1 by eager attention."""
        torch = self._net.torch
        size = int(self._filled.max()) + width
        lowest = torch.finfo(self._net.model.dtype).min
        out = np.full((self.n_rows, 1, width, size), lowest, np.float32)
        for r, filled in enumerate(self._filled.tolist()):
            if self._base is None:
                out[r, 0, :, :filled] = 0
            else:
                begun = self._base.shape[1]
                out[r, 0, :, :begun][:, self._base[r]] = 0
                out[r, 0, :, begun:filled] = 0
            out[r, 0, :, filled : filled + width][sees[r]] = 0
        return torch.from_numpy(out).to(self._net.device, self._net.model.dtype)
