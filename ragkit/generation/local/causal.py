"""Forward passes of a causal model of transformers: batches padded on the left, in front of which a shared prefix may stand.

Padding on the left keeps each row's last token at the end, so that one slice gives all logits that are wanted; positions are
given explicitly, so that it moves nothing. Models that can't be padded so are computed a row at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.local.prefix import Prefix
from ragkit.registry import need

_MOVING_ROPES = {"dynamic", "longrope"}
"""Rotary embeddings whose angles depend on the longest row of a pass."""


class CausalNet:
    """A causal model and what it can do; its forward passes run one at a time.

    width     entries of its logits
    hidden    width of its layers
    batches   rows of different lengths can share a pass
    reusable  keys and values of a prefix can stand in front of a batch: every layer attends to all that is before it
    """

    def __init__(self, model: Any) -> None:
        torch = need("torch", extra="models", why="running a language model")
        from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

        self.model, self.lock, self.torch = model, RLock(), torch
        model.eval()
        entries = model.get_input_embeddings().weight
        self.width, self.hidden, self.device = int(entries.shape[0]), int(entries.shape[1]), entries.device
        takes = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in takes
        kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
        fixed = "position_ids" in takes and not _moving_rope(model.config)
        self.reusable = fixed and kinds == {DynamicLayer}
        self.batches = fixed and kinds <= {DynamicLayer, DynamicSlidingWindowLayer}
        self._n_layers = len(DynamicCache(config=model.config).layers)

    @property
    def goes_back(self) -> bool:
        """Whether what was read last can be forgotten: recurrent layers keep no way back, and some embeddings move with the length."""
        return self.batches

    @property
    def unforgetting(self) -> str:
        """What stands in the way of `goes_back`, in words."""
        return "rotary embedding, which moves with the length," if _moving_rope(self.model.config) else "recurrent layers"

    @property
    def reads_blocks(self) -> bool:
        """Whether a mask of who sees whom can be given: fast attention takes padding alone."""
        return self.reusable and self.model.config._attn_implementation in ("eager", "sdpa")

    def cache(self, prefix: Prefix | None, room: int) -> Any:
        """An empty cache, or one that begins with a prefix, with room for so many positions."""
        from transformers.cache_utils import Cache, DynamicCache

        from ragkit.generation.local.growing import GrowingLayer

        if not self.reusable:
            return DynamicCache(config=self.model.config)
        starts = prefix.layers if prefix is not None else (None,) * self._n_layers
        return Cache(layers=[GrowingLayer(room, start) for start in starts])

    def forward(self, ids: Any, cache: Any, mask: Any, positions: Any, keep: int, see: Callable[[Any], None] | None = None) -> Any:
        """Logits of the last positions, float32 (R, keep, V). ids, positions (R, T); mask (R, all so far) or None

        see  is given the last hidden states (R, keep, hidden), of which the logits are made
        """
        given: dict[str, Any] = {"position_ids": positions} if self.batches or self.reusable else {}
        if self._keeps:
            given["logits_to_keep"] = keep
        with self.lock, self.torch.inference_mode(), self._watched(see, keep):
            out = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, return_dict=True, **given)
            return out.logits[:, -keep:].float()

    @contextmanager
    def _watched(self, see: Callable[[Any], None] | None, keep: int) -> Iterator[None]:
        """Tell what goes into the head."""
        if see is None:
            yield
            return
        hook = self.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: see(given[0][:, -keep:]))
        try:
            yield
        finally:
            hook.remove()

    def extend(self, prefix: Prefix | None, ids: NDArray[np.int64]) -> Prefix:
        """The prefix of these tokens, computed from where the given one, which they begin with, ends."""
        begun = 0 if prefix is None else len(prefix)
        batch = CausalBatch(self, [ids[begun:].tolist()], prefix, 0)
        batch.start(1)
        return batch.prefix_of(ids)


class CausalBatch:
    """Rows that are written side by side.

    rests    each row's tokens behind the prefix, none empty
    reserve  tokens that may be written, to take room for

    cache    keys and values of all that was read
    size     positions of each row, padding included
    mask     bool (R, size or more), False for padding; None where there is none
    next     (R, 1), the position of each row's next token
    """

    def __init__(self, net: CausalNet, rests: Sequence[Sequence[int]], prefix: Prefix | None, reserve: int) -> None:
        torch = net.torch
        self.net, self._torch = net, torch
        lengths = [len(r) for r in rests]
        self._begun = 0 if prefix is None else len(prefix)
        longest = max(lengths)
        ids = np.zeros((len(rests), longest), np.int64)
        mask = np.zeros((len(rests), longest), np.int64)
        for row, rest in enumerate(rests):
            ids[row, longest - len(rest) :] = rest
            mask[row, longest - len(rest) :] = 1
        positions = np.maximum(mask.cumsum(1) - 1, 0) + self._begun
        self._ids, self._positions = (torch.from_numpy(a).to(net.device) for a in (ids, positions))
        self.size = self._begun + longest
        self._room = self.size + reserve
        self.mask: Any = None
        if min(lengths) < longest:
            self.mask = torch.ones((len(rests), self._room), dtype=torch.bool, device=net.device)
            self.mask[:, self._begun : self.size] = torch.from_numpy(mask).to(net.device).bool()
        self.next = torch.tensor(lengths, device=net.device)[:, None] + self._begun
        self.cache = net.cache(prefix, self._room)
        self.passes = 0

    def start(self, keep: int = 1, see: Callable[[Any], None] | None = None) -> Any:
        """Read the rows; logits float32 (R, keep, V) of their last positions. see: of `CausalNet.forward`"""
        self.passes += 1
        mask = None if self.mask is None else self.mask[:, : self.size]
        return self.net.forward(self._ids, self.cache, mask, self._positions, keep, see)

    def step(self, tokens: Sequence[int]) -> Any:
        """Write one token a row; logits float32 (R, V) of what follows."""
        torch = self._torch
        ids = torch.tensor(tokens, device=self.net.device)[:, None]
        self.size += 1
        self.passes += 1
        mask = None
        if self.mask is not None:
            if self.size > self.mask.shape[1]:
                self.mask = torch.nn.functional.pad(self.mask, (0, self.size // 2), value=True)
            mask = self.mask[:, : self.size]
        logits = self.net.forward(ids, self.cache, mask, self.next, 1)
        self.next = self.next + 1
        return logits[:, 0]

    def read(self, tokens: Sequence[int]) -> Any:
        """Write several tokens to the only row; logits float32 (1, V) of what follows."""
        torch = self._torch
        self.size += len(tokens)
        self.passes += 1
        ids = torch.tensor([list(tokens)], device=self.net.device)
        positions = self.next + torch.arange(len(tokens), device=self.net.device)
        logits = self.net.forward(ids, self.cache, None, positions, 1)
        self.next = self.next + len(tokens)
        return logits[:, 0]

    def remember(self) -> None:
        """Keep what `cut` brings back where layers would let it go: before anything is read that may be forgotten."""
        if not self.net.reusable:
            self.cache.activate_past_recording()

    def cut(self, length: int) -> None:
        """Forget all but the first tokens of the only row; what is left is as it was.

        Only where `CausalNet.goes_back`, and behind `remember`, no further than to what was read when this was called last.
        """
        self.cache.crop(length - self.size)
        self.next = self.next + (length - self.size)
        self.size = length

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows alone."""
        chosen = self._torch.tensor(rows, device=self.net.device)
        self.cache.batch_select_indices(chosen)
        self.next = self.next[chosen]
        if self.mask is not None:
            self.mask = self.mask[chosen]

    def prefix_of(self, ids: NDArray[np.int64]) -> Prefix:
        """The first row's beginning as a prefix, without a copy; ids are its tokens. Only for a batch of one row, read already."""
        return Prefix(ids, tuple(layer.beginning(len(ids)) for layer in self.cache.layers))


def _moving_rope(config: Any) -> bool:
    def kinds(value: Any) -> set[str]:
        if not isinstance(value, dict):
            return set()
        return {str(value.get("rope_type", ""))}.union(*(kinds(v) for v in value.values()))

    return bool(kinds(getattr(config, "rope_parameters", None)) & _MOVING_ROPES)
