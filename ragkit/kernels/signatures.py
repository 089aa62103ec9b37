"""Array types of the kernels' signatures.

Kernels are compiled for one signature when their module is first imported, and cached on disk: no
question ever waits for a compiler, and a wrong dtype is refused instead of compiled for. Inputs are
declared read-only, as mapped files are; a writable array passes for a read-only one.
"""

from __future__ import annotations

from typing import Any

import numba as nb


def _read(kind: nb.types.Type, dimensions: int = 1) -> nb.types.Array:
    return nb.types.Array(kind, dimensions, "C", readonly=True)


def tuple_of(names: type[Any], *kinds: nb.types.Type) -> nb.types.Type:
    """Type of a named tuple of these; arrays in one must be read-only, for numba makes none of them so."""
    return nb.types.NamedTuple(kinds, names)  # type: ignore[no-untyped-call]


def _write(kind: nb.types.Type, dimensions: int = 1) -> nb.types.Array:
    return nb.types.Array(kind, dimensions, "C")


READ_BOOL, READ_I32, READ_I64, READ_F32, READ_F64 = map(_read, (nb.bool_, nb.int32, nb.int64, nb.float32, nb.float64))
BOOL, I32, I64, F32, F64 = map(_write, (nb.bool_, nb.int32, nb.int64, nb.float32, nb.float64))
READ_U8, READ_U16, READ_U32 = _read(nb.uint8), _read(nb.uint16), _read(nb.uint32)
U8, U16, U32 = _write(nb.uint8), _write(nb.uint16), _write(nb.uint32)
READ_U8_2D, READ_F32_2D, READ_U32_3D = _read(nb.uint8, 2), _read(nb.float32, 2), _read(nb.uint32, 3)
READ_I16_2D, READ_I64_2D = _read(nb.int16, 2), _read(nb.int64, 2)
READ_I32_2D, READ_F64_2D = _read(nb.int32, 2), _read(nb.float64, 2)
F32_2D, I64_2D, U8_2D, U64_2D, U32_3D = (
    _write(nb.float32, 2),
    _write(nb.int64, 2),
    _write(nb.uint8, 2),
    _write(nb.uint64, 2),
    _write(nb.uint32, 3),
)
READ_U64_3D = _read(nb.uint64, 3)
BOOL_2D, I32_2D, F64_2D = _write(nb.bool_, 2), _write(nb.int32, 2), _write(nb.float64, 2)
PAIR = nb.types.UniTuple(nb.int64, 2)  # type: ignore[no-untyped-call]
