"""Files made to be slow, deep or misleading: tables and JSON lines."""

from __future__ import annotations

import json

from tests.loaders.attacks_text import SIZE, Attacks, Outside
from tests.loaders.mutations import packed


def _deep(depth: int, kind: str) -> str:
    opening, closing = ('{"a":', "}") if kind == "objects" else ("[", "]")
    return opening * depth + '"x"' + closing * depth


def csv_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    collisions = ",".join(f"a {k}" for k in range(2, 30_000)) + ",a" * 30_000
    contents = {
        "huge cell": "text\n" + '"' + "word " * n * 10 + '"\n',
        "huge cells": "text,b\n" + ("x" * 1_000_000 + ",1\n") * 5,
        "huge quoted cell with line ends": 'text\n"' + "a\n" * n * 10 + '"\n',
        "open quote": 'text\nfirst\n"' + "a\n" * n * 10,
        "open quotes": "text\nfirst\n" + '"a\n' * n,
        "quotes": "text\nfirst\n" + '"' * 1_000_001 + "\n",
        "quotes after text": "text\nfirst\n" + 'a"b"c\n"a"b\n' * n,
        "extremely many columns": ",".join(f"c{k}" for k in range(10 * n)) + "\n1\n",
        "extremely many columns without names": "," * n * 30 + "\na\n",
        "many columns of short rows": "text" + ",a" * n + "\n" + "x\n" * n,
        "many columns of one name": "text" + ",a" * n + "\n" + "x" + ",1" * n + "\n",
        "columns of each other's names": collisions + "\n" + "x," * 20_000 + "\n",
        "a column with a huge name": "x" * 1_000_000 + ",b\n" + "1,2\n" * n,
        "columns with long names": ",".join(f"{k:0500d}" for k in range(2000)) + "\n" + (",".join("1" * 2000) + "\n") * 100,
        "rows that are too long": "text,b\nfirst,1\n" + ("a" + ",b" * 1000 + "\n") * 1000,
        "a row that is far too long": "text,b\nfirst,1\na" + ",b" * 1_000_000 + "\n",
        "delimiters": ",;\t|" * n * 5,
        "blank rows": "text,b\nfirst,1\n" + " ,\t\n" * n + "\n" * n,
        "line ends of all kinds": "text,b\r\r\n\ra,1\n\r" + "\r" * n,
        "huge numbers": "text,n\n" + ("a," + "9" * 10_000 + "\n") * 100 + "b,1e999\nc,-1e-999\n",
        "numbers of other scripts": "text,n\na,\u0663\nb,\u00b2\nc,\u2160\n",
        "separator lines": "sep=,\n" * 1000 + "a\n",
        "separator": "sep=" + ";" * n,
        "NUL characters": "text,b\na,\0\n" + "b,1\n" * 20_000 + "\0,\0\n",
        "half surrogates": "text,b\na,\ud800\n",
        "a header of one cell": "a" * 1_000_000,
        "formulas": "text,b\n=cmd|' /C calc'!A0,=HYPERLINK(\"" + outside.url + '")\n',
    }
    made: Attacks = {name: ("a.csv", text.encode("utf-8", "surrogatepass")) for name, text in contents.items()}
    made |= {
        f"{name}, tabs": ("a.tsv", text.encode("utf-8", "surrogatepass").replace(b",", b"\t")) for name, text in [*contents.items()][7:13]
    }
    made |= {name: ("a.csv.gz", data) for name, data in _gzips(n, b"text,b\n", b"a,1\n", b"text\n" + b"x" * 1000 * n).items()}
    return made


def jsonl_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    contents: dict[str, str] = {}
    for kind in ("objects", "lists"):
        for depth in (40, 90, 150, 240, 330, 480, 600, 800, 900, 960, 990, 5000, 0):
            named, deep = f"{depth or 'very many'} {kind} deep", _deep(depth or n, kind)
            contents[named] = f'{{"text": "t", "deep": {deep}}}\n{{"text": "u"}}\n'
            contents[f"{named} in the metadata"] = f'{{"text": "t", "metadata": {{"d": {deep}}}}}\n'
    contents |= {
        "open objects": '{"a":' * n,
        "open lists": '{"text": "t"}\n' + "[" * n,
        "open string": '{"text": "t"}\n{"text": "' + "a" * 1_000_000,
        "huge integers": '{"text": "t", "n": '
        + "9" * 4000
        + "}\n"
        + '{"text": "t", "n": '
        + "9" * 1_000_000
        + '}\n{"id": -1e400, "text": "x"}\n',
        "huge integers without a text": '{"n": ' + "9" * 4000 + ', "id": ' + "1" * 4299 + "}\n",
        "exponents": '{"text": "t", "a": 1e999999999, "b": -1e-999999999, "c": NaN, "d": Infinity, "e": 0e0}\n',
        "fields": json.dumps({"text": "t", **{f"f{k}": k for k in range(n)}}) + "\n",
        "fields that can't be kept": json.dumps({"text": "t", **{f"f{k}": [k] for k in range(20_000)}}) + "\n",
        "long names that can't be kept": json.dumps({"text": "t", **{f"{k:05000d}": [k] for k in range(100)}}) + "\n",
        "a huge name": json.dumps({"x" * 1_000_000: "t"}) + "\n" + json.dumps({"text": 1, "y" * 1_000_000: 1}) + "\n",
        "one name often": '{"text": "t"' + ', "a": 1' * n + "}\n",
        "dotted names": '{"text": "t", "a.b": 1, "a": {"b": "x", "": {"": 1}}, "": 2, ".": 3}\n',
        "names of half surrogates": '{"text": "t", "\\ud800": 1}\n{"text": "u", "a": {"\\udfff": "x"}}\n{"\\udc80": "v"}\n',
        "half surrogates": '{"text": "\\ud800"}\n{"text": "t", "a": "\\udfff"}\n{"id": "\\ud800", "text": "x"}\n'
        '{"text": "t", "a": ["\\ud800"]}\n',
        "NUL characters": '{"text": "\\u0000"}\n{"id": "\\u0000", "text": "t\\u0000"}\n{"text": "t", "\\u0000": "\\u0000"}\n',
        "other values": '1\n"a"\nnull\n[]\n{}\n[{}]\ntrue\n-\n{"text": {}}\n{"text": []}\n{"id": {}, "text": "x"}\n'
        '{"id": true, "text": "x"}\n',
        "odd messages": '{"messages": {"role": 1}}\n{"messages": [{"role": "u", "content": [1, null, {"type": "text", "text": 5}]}]}\n'
        '{"messages": [[]]}\n{"messages": []}\n{"messages": "x", "a": "b"}\n',
        "many messages": json.dumps({"messages": [{"role": "user", "content": "a"}] * n}) + "\n",
        "equal ids": '{"id": 1, "text": "t"}\n' * 20_000,
        "many bad lines": "{\n" * n,
        "line separators": '{"text": "a\u2028b\u0085c"}\x0b\x0c\n\x1c\n\u2028\n{"text": "d"}\n',
        "one value over lines": "[\n" + '{"text": "t"},\n' * n + '{"text": "u"}]\n',
        "one deep value over lines": "[\n" * n + "]\n" * n,
        "marks": "\ufeff" * 1000 + '{"text": "t"}\n',
        "blanks": " " * 1_000_000 + '{"text": "t"}' + " " * 1_000_000 + "\n" + "\t\n" * n,
        "paths": json.dumps({"id": "../../" + outside.text, "text": "t", "source": outside.text}) + "\n",
    }
    made: Attacks = {name: ("a.jsonl", text.encode("utf-8", "surrogatepass")) for name, text in contents.items()}
    whole = b'{"text": "' + b"x" * 1000 * n + b'"}\n'
    return made | {name: ("a.jsonl.gz", data) for name, data in _gzips(n, b"", b'{"text":"a"}\n', whole).items()}


def beir_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    made: Attacks = {}
    for name, (file, data) in jsonl_attacks(outside, n).items():
        as_beir = data if file.endswith(".gz") else data.replace(b'"id"', b'"_id"').replace(b'{"text"', b'{"_id": "1", "text"')
        made[name] = (file.replace("a.", "corpus.", 1), as_beir)
    return made


def _gzips(n: int, head: bytes, row: bytes, one_long_row: bytes) -> Attacks | dict[str, bytes]:
    """Packed files that unpack to far more than they are, or break on the way."""
    good = packed(head + row * 3)
    huge = packed(head + row * (30 * n // len(row)))
    return {
        "gzip bomb of rows": huge,
        "gzip bomb of one row": packed(one_long_row),
        "gzip bomb of blank lines": packed(head + row + b"\n" * 1000 * n),
        "gzip bomb of one blank line": packed(head + row + b" " * 1000 * n + b"\n" + row),
        "gzip bomb in parts": good + packed(row * (1_000_000 // len(row))) * 100,
        "gzip in gzip": packed(packed(good)),
        "empty parts": packed(b"") * n + good,
        "gzip with garbage": good + b"garbage",
        "gzip with zeros": good + bytes(10 * n),
        "cut gzip": good[:-4],
        "wrong checksum": good[:-8] + b"\0" * 8,
        "wrong length": good[:-4] + b"\xff\xff\xff\x7f",
        "gzip header alone": good[:10],
        "open name": b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 1_000_000,
        "extra field": b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + b"a" * 10,
        "no gzip": head + row,
    }
