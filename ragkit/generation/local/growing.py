"""A cache layer that writes keys and values in place: room is taken beforehand, so that a token costs no copy of all before it."""

from __future__ import annotations

from typing import Any

from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer for R rows, in a buffer that grows by half when it is full.

    start  keys and values (1, heads, P, dim) that all rows begin with; they are copied once into the buffer
    room   positions to take room for at first

    Rows may be of different lengths: `at` then says, (R,), where each row's next positions are written.
    """

    def __init__(self, room: int = 0, start: tuple[Any, Any] | None = None) -> None:
        super().__init__()
        self._room, self._start = room, start
        self._length = 0 if start is None else int(start[0].shape[-2])
        self._buffers: list[Any] = []
        self.at: Any = None

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        size = max(self._room, self._length + key_states.shape[-2])
        # zeros: what is masked is still multiplied by its weight of 0, and memory as it comes may hold NaN
        self._buffers = [s.new_zeros((s.shape[0], s.shape[1], size, s.shape[3])) for s in (key_states, value_states)]
        if self._start is not None:
            for buffer, shared in zip(self._buffers, self._start, strict=True):
                buffer[:, :, : self._length] = shared
            self._start = None
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self._length + key_states.shape[-2]
        size = self._buffers[0].shape[2]
        if end > size:
            self._buffers = [_larger(b, max(end, size + size // 2), self._length) for b in self._buffers]
        keys, values = self._buffers
        if self.at is None:
            keys[:, :, self._length : end] = key_states
            values[:, :, self._length : end] = value_states
        else:
            rows = self.at.new_tensor(range(len(self.at)))[:, None]
            places = self.at[:, None] + self.at.new_tensor(range(key_states.shape[-2]))
            keys[rows, :, places] = key_states.transpose(1, 2)
            values[rows, :, places] = value_states.transpose(1, 2)
        self._length = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last positions; as in the library, the number is negative or 0."""
        if tokens_to_remove > 0:
            raise ValueError(f"the positions to remove are given as a negative number, got {tokens_to_remove}")
        self._length += tokens_to_remove
        self.keys, self.values = (b[:, :, : self._length] for b in self._buffers)

    def move(self, rows: Any, source: Any, target: Any) -> None:
        """Copy positions of rows to other positions of theirs; rows, source, target (any,)."""
        for buffer in self._buffers:
            buffer[rows, :, target] = buffer[rows, :, source]

    def batch_select_indices(self, indices: Any) -> None:
        """Keep some rows."""
        self._buffers = [b.index_select(0, indices.to(b.device)) for b in self._buffers]
        self.keys, self.values = (b[:, :, : self._length] for b in self._buffers)

    def beginning(self, length: int) -> tuple[Any, Any]:
        """Keys and values of the first row's first positions, (1, heads, length, dim), as views: later writing leaves them alone."""
        keys, values = self._buffers
        return keys[:1, :, :length], values[:1, :, :length]


def _larger(buffer: Any, size: int, length: int) -> Any:
    grown = buffer.new_zeros((buffer.shape[0], buffer.shape[1], size, buffer.shape[3]))
    grown[:, :, :length] = buffer[:, :, :length]
    return grown
