"""What a Parquet file says it unpacks to, added up before anything is unpacked.

A few hundred bytes can say that they hold billions of rows, or one long text millions of times. The footer tells the number of rows
and where the columns are, the header in front of each page its sizes, its encoding and its number of values. Both are read here
and not through Arrow, which ends the process at some of the footers that are damaged.
Source: the Parquet format's parquet.thrift (FileMetaData, PageHeader); the numbers of the fields are those there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from ragkit.errors import LoadError
from ragkit.loaders.records import refuse_many_columns
from ragkit.loaders.thrift import CutError, Struct, ThriftError, read_struct

_MOST_COLUMNS = 20_000
_RATIO, _SMALL = 200, 50_000_000  # more than 200-fold compression of more than 50 MB unpacked is no table of documents
_FEW_VALUES, _VALUES_A_BYTE = 100_000, 8  # a value of less than a bit is no text of its own
_HEADER, _LONGEST_HEADER = 256, 1 << 24  # bytes; a header may hold the smallest and largest value of its page
_TAIL = 8  # bytes: the footer's length and a magic number
_DICTIONARY_PAGE, _DELTA_BYTE_ARRAY = 2, 7  # kind of page and encoding whose values others are made of


class Totals(NamedTuple):
    """Of all pages of a file: bytes unpacked, values, and the bytes of the largest page whose values may be repeated."""

    unpacked: int
    values: int
    largest_shared: int


class _Page(NamedTuple):
    unpacked: int
    packed: int
    values: int
    shared: bool


def refuse_bombs(f: BinaryIO, n_columns: int, size: int) -> Totals:
    """The totals of a file; raises LoadError if it unpacks to far more than a table of documents has.

    f          the file, read from wherever is needed
    n_columns  of its schema
    size       of the file in bytes
    raises ThriftError for a footer or a page header that is damaged
    """
    refuse_many_columns(n_columns, _MOST_COLUMNS)
    most_values, most_bytes = max(_FEW_VALUES, _VALUES_A_BYTE * size), max(_SMALL, _RATIO * size)
    groups = _structs(_footer(f, size), 4)
    rows = sum(_number(group, 3) for group in groups)
    if rows > most_values:
        raise LoadError(f"it says that it has {rows:,} rows in {size:,} bytes, far more than a table of documents; it is left alone")
    packed = unpacked = values = shared = 0
    for group in groups:
        columns = _structs(group, 1)
        if len(columns) != n_columns:
            raise ThriftError("a row group has other columns than the schema")
        for column in columns if _number(group, 3) else ():  # without rows the offsets may be of nothing
            start, length = _place(column)
            packed += length
            if packed > size:
                raise ThriftError(f"its columns take more than its {size:,} bytes")
            for page in _pages(f, start, start + length):
                unpacked += page.unpacked
                values += page.values
                shared = max(shared, page.unpacked if page.shared else 0)
                if unpacked > most_bytes or values > most_values:
                    what = f"{values:,} values" if values > most_values else f"{unpacked:,} bytes"
                    raise LoadError(
                        f"it unpacks from {size:,} bytes to {what} or more, far more than a table of documents; it is left alone"
                    )
    return Totals(unpacked, values, shared)


def _number(struct: Struct, id: int) -> int:
    value = struct.get(id, 0)
    if not isinstance(value, int) or value < 0:
        raise ThriftError(f"a size or a number is {'negative' if isinstance(value, int) else 'none'}")
    return value


def _structs(struct: Struct, id: int) -> list[Struct]:
    values = struct.get(id, [])
    if not isinstance(values, list):
        raise ThriftError("no list where one was wanted")
    return values


def _footer(f: BinaryIO, size: int) -> Struct:
    f.seek(size - _TAIL)
    length = int.from_bytes(f.read(4), "little")
    if length > size - _TAIL:
        raise ThriftError(f"a footer of {length:,} bytes")
    f.seek(size - _TAIL - length)
    return read_struct(f.read(length))[0]


def _place(column: Struct) -> tuple[int, int]:
    """Offset and length of a column chunk; its dictionary, if it has one, comes first."""
    described: Any = column.get(3)
    if not isinstance(described, dict):
        raise ThriftError("a column without a description")
    start, dictionary = _number(described, 9), _number(described, 11)
    return (dictionary if 0 < dictionary < start else start), _number(described, 7)


def _pages(f: BinaryIO, position: int, end: int) -> Iterator[_Page]:
    while position < end:
        page, length = _page(f, position)
        yield page
        position += length + page.packed


def _page(f: BinaryIO, position: int) -> tuple[_Page, int]:
    """The page whose header stands at a position, and the header's length."""
    wanted = _HEADER
    while True:
        f.seek(position)
        data = f.read(wanted)
        try:
            header, length = read_struct(data)
            break
        except CutError:
            if len(data) < wanted or wanted >= _LONGEST_HEADER:
                raise
            wanted *= 16
    details = next(
        (d for id in (5, 7, 8) if isinstance(d := header.get(id), dict)), {}
    )  # of a data page, a dictionary, a data page of version 2
    encoding = details.get(4 if 8 in header else 2)
    shared = header.get(1) == _DICTIONARY_PAGE or encoding == _DELTA_BYTE_ARRAY
    return _Page(_number(header, 2), _number(header, 3), _number(details, 1), shared), length
