"""Parquet files made to do harm: footers, page headers and schemas that say what is not so."""

from __future__ import annotations

import io
import zlib

from tests.loaders.attacks_text import SIZE, Attacks, Outside

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_HUGE = 2**31 - 1
_NONE, _SNAPPY, _GZIP, _ZSTD = 0, 1, 2, 6
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_REQUIRED, _OPTIONAL, _REPEATED = 0, 1, 2


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes((*out, n))


def _int(n: int) -> bytes:
    return _varint(n << 1 if n >= 0 else (-n << 1) - 1)


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(len(data)) + data


def _list(kind: int, items: list[bytes], size: int | None = None) -> bytes:
    n = len(items) if size is None else size
    return (bytes((n << 4 | kind,)) if n < 15 else bytes((0xF0 | kind,)) + _varint(n)) + b"".join(items)


def _record(*fields: tuple[int, int, bytes]) -> bytes:
    """A struct in Thrift's compact protocol: (field id, type, value)."""
    out, last = b"", 0
    for id, kind, value in fields:
        out += bytes(((id - last) << 4 | kind,)) + value
        last = id
    return out + b"\0"


def _element(name: str | bytes, children: int | None = None, repetition: int = _REQUIRED, kind: int = 6) -> bytes:
    named = (4, _BINARY, _text(name))
    if children is None:
        return _record((1, _I32, _int(kind)), (3, _I32, _int(repetition)), named, (6, _I32, _int(0)))
    return _record((3, _I32, _int(repetition)), named, (5, _I32, _int(children)))


def _page(
    data: bytes, values: int, encoding: int = _PLAIN, unpacked: int | None = None, packed: int | None = None, dictionary: bool = False
) -> bytes:
    size = len(data) if unpacked is None else unpacked
    head = [(1, _I32, _int(2 if dictionary else 0)), (2, _I32, _int(size)), (3, _I32, _int(len(data) if packed is None else packed))]
    if dictionary:
        inner = (7, _STRUCT, _record((1, _I32, _int(values)), (2, _I32, _int(_PLAIN))))
    else:
        inner = (5, _STRUCT, _record((1, _I32, _int(values)), (2, _I32, _int(encoding)), (3, _I32, _int(_RLE)), (4, _I32, _int(_RLE))))
    return _record(*head, inner) + data


def _column(
    pages: bytes, values: int, path: list[str], codec: int = _NONE, offset: int = 4, data_at: int | None = None, sizes: int | None = None
) -> bytes:
    size = len(pages) if sizes is None else sizes
    fields = [
        (1, _I32, _int(6)),
        (2, _LIST, _list(_I32, [_int(_PLAIN), _int(_RLE), _int(_RLE_DICTIONARY)])),
        (3, _LIST, _list(_BINARY, [_text(p) for p in path])),
        (4, _I32, _int(codec)),
        (5, _I64, _int(values)),
        (6, _I64, _int(size)),
        (7, _I64, _int(size)),
        (9, _I64, _int(offset if data_at is None else data_at)),
    ]
    if data_at is not None:
        fields.append((11, _I64, _int(offset)))
    return _record((2, _I64, _int(offset)), (3, _STRUCT, _record(*fields)))


def _file(
    pages: bytes,
    schema: list[bytes],
    columns: list[bytes],
    rows: int,
    groups: int = 1,
    footer_size: int | None = None,
    total: int | None = None,
) -> bytes:
    group = _record((1, _LIST, _list(_STRUCT, columns)), (2, _I64, _int(len(pages))), (3, _I64, _int(rows)))
    fields = [
        (1, _I32, _int(1)),
        (2, _LIST, _list(_STRUCT, schema)),
        (3, _I64, _int(rows * groups if total is None else total)),
        (4, _LIST, _list(_STRUCT, [group] * groups)),
    ]
    footer = _record(*fields)
    size = len(footer) if footer_size is None else footer_size
    return b"PAR1" + pages + footer + size.to_bytes(4, "little") + b"PAR1"


def _one(
    pages: bytes, values: int, rows: int | None = None, codec: int = _NONE, name: str = "text", data_at: int | None = None, **more: int
) -> bytes:
    """A table of one required text column."""
    column = _column(pages, values, [name], codec, data_at=data_at, **more)
    return _file(pages, [_element("schema", 1), _element(name)], [column], values if rows is None else rows)


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "little") + value


def _run(count: int) -> bytes:
    """Indices into a dictionary: `count` times the first."""
    return b"\x01" + _varint(count << 1) + b"\0"


def _repeated(value: bytes, count: int, pages: int = 1, name: str = "text") -> bytes:
    """One value, named once in a dictionary and said `count` times by each of some pages."""
    first = _page(_string(value), 1, dictionary=True)
    return _one(first + _page(_run(count), count, _RLE_DICTIONARY) * pages, count * pages, name=name, data_at=4 + len(first))


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def parquet_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    row = _page(_string(b"first"), 1)
    good = _one(row, 1)
    bomb = _string(b"x" * 4000 * n)
    zeros = bytes(4000 * n)
    one, two, text = [_element("schema", 1), _element("text")], [_element("schema", 2), _element("text")], [_column(row, 1, ["text"])]
    dictionary, rows = _page(_gzip(bomb), 1, unpacked=len(bomb), dictionary=True), row * 50
    long_names = [f"{k:02000d}" for k in range(200)]
    made = {
        "good": good,
        "footer of no length": good[:-8] + bytes(4) + b"PAR1",
        "footer longer than the file": good[:-8] + b"\xff\xff\xff\x7f" + b"PAR1",
        "footer of more than 2 GB": good[:-8] + b"\xff\xff\xff\xff" + b"PAR1",
        "footer over the data": _file(row, one, text, 1, footer_size=len(good) - 12),
        "encrypted footer": good[:-4] + b"PARE",
        "marks alone": b"PAR1PAR1",
        "ends alone": b"PAR1" + bytes(4) + b"PAR1",
        "rows that are not there": _one(row, 1, rows=10**12),
        "values that are not there": _one(row, 10**12),
        "fewer rows than none": _one(row, -1, rows=-5),
        "a row of a dictionary, 2 billion times": _repeated(b"a", _HUGE - 1),
        "a row of a dictionary, 20 million times": _repeated(b"a", 20_000_000),
        "a number column of 20 million rows": _repeated(b"7", 20_000_000, name="n"),
        "a long row of a dictionary, often": _repeated(b"x" * 1_000_000, 10_000),
        "a very long row of a dictionary, often": _repeated(b"x" * 8_000_000, 200),
        "a long row of a dictionary on many pages": _repeated(b"x" * 100_000, 1000, pages=50),
        "a huge name": _repeated(b"1", 10_000, name="x" * 1_000_000),
        "dictionary that is not there": _one(_page(_run(5), 5, _RLE_DICTIONARY), 5, data_at=4),
        "index beyond the dictionary": _one(_page(b"\x20" + _varint(4 << 1) + b"\xff\xff\xff\x7f", 4, _RLE_DICTIONARY), 4),
        "page of 2 GB": _one(_page(_string(b"first"), 1, unpacked=_HUGE), 1),
        "page of 2 GB, packed": _one(_page(_gzip(_string(b"first")), 1, unpacked=_HUGE), 1, codec=_GZIP),
        "page of 2 GB, in snappy": _one(_page(b"\xff\xff\xff\xff\x07" + bytes(20), 1, unpacked=_HUGE), 1, codec=_SNAPPY),
        "page of 2 GB, in zstd": _one(_page(b"\x28\xb5\x2f\xfd" + bytes(20), 1, unpacked=_HUGE), 1, codec=_ZSTD),
        "packed page of 2 GB": _one(_page(_string(b"first"), 1, packed=_HUGE), 1),
        "page of less than nothing": _one(_page(_string(b"first"), 1, unpacked=-1, packed=-1), 1),
        "page of values that are not there": _one(_page(_string(b"first"), _HUGE), 1),
        "page of fewer values than none": _one(_page(_string(b"first"), -1), 1),
        "text longer than its page": _one(_page(b"\xff\xff\xff\x7fabc", 1), 1),
        "text shorter than nothing": _one(_page(b"\xff\xff\xff\xffabc", 1), 1),
        "bomb of one text": _one(_page(_gzip(bomb), 1, unpacked=len(bomb)), 1, codec=_GZIP),
        "bomb of empty texts": _one(_page(_gzip(zeros), len(zeros) // 4, unpacked=len(zeros)), len(zeros) // 4, codec=_GZIP),
        "bomb with a small size": _one(_page(_gzip(bomb), 1, unpacked=100), 1, codec=_GZIP),
        "bomb of dictionaries": _one(dictionary + _page(_run(5), 5, _RLE_DICTIONARY), 5, codec=_GZIP),
        "column larger than the file": _one(row, 1, sizes=2**40),
        "column before the file": _one(row, 1, offset=-100),
        "column beyond the file": _one(row, 1, offset=2**40),
        "column in the footer": _one(row, 1, offset=len(row) + 4),
        "column of another path": _file(row, [_element("schema", 1), _element("text")], [_column(row, 1, ["a", "b"])], 1),
        "more columns than the schema": _file(row, one, text * 3, 1),
        "fewer columns than the schema": _file(row, [*two, _element("b")], text, 1),
        "two columns of one name": _file(row, [*two, _element("text")], text * 2, 1),
        "extremely many columns": _file(row, [_element("schema", n), *[_element("c")] * n], [_column(row, 1, ["c"])] * n, 1),
        "columns with long names": _file(
            rows, [_element("schema", 200), *map(_element, long_names)], [_column(rows, 50, [k]) for k in long_names], 50, groups=n // 2500
        ),
        "many columns": _file(row * n, [_element("schema", n), *(_element(f"c{k}") for k in range(n))],
            [_column(row, 1, [f"c{k}"], offset=4 + k * len(row)) for k in range(n)], 1),
        "many row groups": _file(row, one, text, 1, groups=n // 2),
        "row groups over the same rows": _file(_page(_string(b"x" * 100_000), 1) , [_element("schema", 1), _element("text")],
            [_column(_page(_string(b"x" * 100_000), 1), 1, ["text"])], 1, groups=n // 5),
        "children that are not there": _file(row, [_element("schema", _HUGE), _element("text")], [_column(row, 1, ["text"])], 1),
        "fewer children than none": _file(row, [_element("schema", -1), _element("text")], [_column(row, 1, ["text"])], 1),
        "no columns": _file(b"", [_element("schema", 0)], [], 5),
        "no columns, many rows": _file(b"", [_element("schema", 0)], [], 10**10),
        "no schema": _file(row, [], [_column(row, 1, ["text"])], 1),
        "name of no encoding": _file(row, [_element("schema", 1), _element(b"\xff\xfe")], [_column(row, 1, ["text"])], 1),
        "text of no encoding": _one(_page(_string(b"\xff\xfe\xed\xa0\x80"), 1), 1),
        "unknown compression": _one(row, 1, codec=99),
        "list of 2 billion": b"PAR1" + _record((1, _I32, _int(1)), (2, _LIST, _list(_STRUCT, [], _HUGE)))[:-1] + b"\x10\0\0\0PAR1",
    }  # fmt: skip
    for depth in (50, 500, 5000, 50_000):
        for kind, repetition in (("groups", _OPTIONAL), ("lists", _REPEATED)):
            path = ["g"] * depth + ["text"]
            schema = [_element("schema", 1), *[_element("g", 1, repetition)] * depth, _element("text")]
            made[f"{depth} {kind} deep"] = _file(row, schema, [_column(row, 1, path)], 1)
    return {name: ("a.parquet", data) for name, data in made.items()} | _written(outside, n)


def _written(outside: Outside, n: int) -> Attacks:
    """What a writer of such files can be made to write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def file(table: pa.Table, **settings: object) -> bytes:
        out = io.BytesIO()
        pq.write_table(table, out, **settings)
        return out.getvalue()

    pickled = f"cos\nsystem\n(S'touch {outside.text}.new'\ntR.".encode()
    extension = pa.field(
        "text", pa.string(), metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickled}
    )
    plain = pa.table({"text": ["first"]})
    deep = "x"
    for _ in range(60):
        deep = [deep]  # type: ignore[assignment]
    long = pa.chunked_array([pa.array(["y" * 100_000] * 500)] * (n // 3000 + 1))  # more than 1 GB of text
    with_schema = file(plain)
    at = with_schema.find(b"ARROW:schema")
    made = {
        "a pickle as its type": file(pa.Table.from_arrays([pa.array(["first"])], schema=pa.schema([extension]))),
        "broken Arrow schema": with_schema[: at + 60] + b"A" * 40 + with_schema[at + 100 :],
        "a list in 60 lists": file(pa.table({"text": ["first"], "deep": pa.array([deep])})),
        "texts that share their beginning": file(
            pa.table({"text": long}), use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}, compression="none"
        ),
        "texts that are the same, in zstd": file(pa.table({"text": long[:6000]}), use_dictionary=False, compression="zstd"),
        "a list of one long text": file(pa.table({"text": ["first"], "tags": pa.array([["z" * 1_000_000] * (n // 70)])})),
        "dates beyond the calendar": file(
            pa.table({"text": ["first"], "when": pa.array([2**62], pa.timestamp("us")), "day": pa.array([2**31 - 1], pa.date32())})
        ),
        "nulls": file(pa.table({"text": pa.nulls(10 * n, pa.string()), "n": pa.nulls(10 * n)})),
    }
    return {name: ("b.parquet", data) for name, data in made.items()}
