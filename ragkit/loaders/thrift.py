"""Structs in the compact protocol of Thrift, which is how Parquet files describe themselves.

Integers, structs and lists of structs are kept; texts and all else are passed over.
Source: Apache Thrift, "Thrift Compact protocol encoding".
"""

from __future__ import annotations

from typing import Any

Struct = dict[int, Any]
"""The fields of a struct by their ids."""

_TRUE, _FALSE, _BYTE, _I16, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 6, 7, 8, 9, 10, 12
_DEEPEST = 20


class ThriftError(ValueError):
    """The bytes are no such struct."""


class CutError(ThriftError):
    """The bytes end before the struct does."""


def read_struct(data: bytes) -> tuple[Struct, int]:
    """The struct at the beginning of some bytes, and its length; raises ThriftError if there is none.

    >>> read_struct(bytes([0x15, 0x02, 0x18, 0x01, 0x61, 0x00]))  # field 1 is the integer 1, field 2 the text "a"
    ({1: 1, 2: None}, 6)
    """
    reader = _Reader(data)
    try:
        return reader.struct(0), reader.at
    except IndexError as exc:
        raise CutError(f"cut after {len(data):,} bytes") from exc


class _Reader:
    """IndexError where the data end."""

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ThriftError("a number of more than 64 bits")
        return value | byte << shift

    def _int(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _skip(self, n_bytes: int) -> None:
        self.at += n_bytes
        if self.at > len(self._data):
            raise IndexError

    def struct(self, depth: int) -> Struct:
        if depth > _DEEPEST:
            raise ThriftError(f"structs nested more than {_DEEPEST} deep")
        fields: Struct = {}
        id = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            id = id + delta if delta else self._int()
            fields[id] = bool(kind == _TRUE) if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if _I16 <= kind <= _I64:
            return self._int()
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind in (_TRUE, _FALSE, _BYTE, _DOUBLE):
            return self._skip(8 if kind == _DOUBLE else 1)
        raise ThriftError(f"a field of type {kind}")  # maps too, which Parquet has none of

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self._varint()
        values = (self._value(kind, depth) for _ in range(size))
        if kind == _STRUCT:
            return list(values)
        for _ in values:
            pass
        return []
