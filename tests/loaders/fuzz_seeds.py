"""Good files of every format, the start of each mutation, and the words that its mutations scatter over them."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from functools import cache
from pathlib import Path

from tests.loaders.makers import pdf, repacked
from tests.loaders.mutations import packed

LOADERS = ("text", "code", "markdown", "rst", "html", "csv", "jsonl", "parquet", "docx", "pdf", "beir")

_MARKDOWN = """---
title: "On pumps"
tags: [a, b]
---
# Pumps *and* `valves` [of](x.md "t") &amp; <b>more</b> {#id}

Text with [a link][ref] and \u00fcml\u00e4uts.

Second
======

- item
  - nested
    # heading in an item

    ```python
    # no heading
    ```
  <div>
  html
  </div>

> quote
> ## in a quote

| a | b |
|---|---|
| 1 | 2 |

~~~
fence
~~~

1. one
2. two

<!-- a
comment -->

Third **one**
---

[ref]: http://example.org "title"
"""
_RST = """=====
Title
=====

Intro with ``code``, :ref:`a target <x>` and *emphasis*.

One
---

.. note:: A note
   that goes on

===== =====
a     b
===== =====
1     2
===== =====

:field: value

Two |sub| `role`_
~~~~~~~~~~~~~~~~~

* item
* item

::

   literal
   -------

\u6f22\u5b57
====
"""
_HTML = """<!DOCTYPE html [<!ENTITY a "b">]><html><head><meta charset="utf-8"><title>On pumps</title><style>x{}</style></head>
<body><nav>menu</nav><h1>Pumps<a class="headerlink" href="#p">\u00b6</a></h1><p>One <b>two</b>&nbsp;&eacute;&#8364;&#x1F600; three</p>
<ul><li>a<ul><li>b</li></ul></li></ul><table><tr><th>A</th><td>B<td>C</tr><tr><td><table><tr><td>in</table></tr></table>
<pre>
x = 1
<b>y</b></pre><div hidden>no</div><div style="display : none">no</div><script>var x = "<p>";</script><!-- c --><svg><title>t</title></svg>
<td class="gutter">1</td><p>end<br>line</body></html>
"""
_CODE = '"""Doc."""\n\nimport os\n\n\nclass A:\n    def f(self, x: int = 0) -> str:\n        return f"{x}\\n" + \'\u00e9\'  # comment\n' * 3
_TEXT = "Replace the gasket first.\r\nThen \u2014 with care \u2014 the valve.\f\tPage two\n\nna\u00efve \u6f22\u5b57 \U0001f600\n" * 4
_CSV = (
    'id,text,price,when,ok\nA1,"Outer ""gasket"", blue",4,2020-01-01,true\nB7,"two\nlines",5.5e3,,false\n,,,,\nC,x,-0,n/a,TRUE\n' * 2,
    "Name;Price;Note;Note\nBolt;1,50;a;b\nNut;0,10;c;d\nNut;0,20;;\n",
    "sep=|\na|b\n1|2\n3|4\n",
    "one column\nfirst\nsecond, with a comma\n",
    "a\tb\tc\n1\t2\t3\n4\t5\t6\n",
)
_JSONL = (
    '{"id": "n1", "text": "Valve checked.", "title": "V", "year": 2020, "tags": ["a", "b"], "metadata": {"x": {"y": 1.5, "z": null}}}\n'
    '{"text": "caf\\u00e9 \\ud83d\\ude00", "ok": true, "when": "2020-01-01T00:00:00Z", "list": [1, [2, {"a": 3}]]}\n',
    '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": [{"type": "text", "text": "So."}]}]}\n',
    '{"a": "x", "b": 3, "c": -1.5e10, "d": {"e": {"f": "g"}}}\n{"title": "only"}\n[1, 2]\n"s"\n\n{"text": 5}\n',
)
_BEIR = '{"_id": "d1", "title": "On pumps", "text": "A pump moves water.", "metadata": {"year": 2020}}\n{"_id": 2, "text": "", "x": null}\n'


@cache
def seeds(loader: str) -> dict[str, bytes]:
    """{file name: content}; the name says how the content is read."""
    made = _MAKERS[loader]() | _real(loader)
    assert made
    return made


def _texts() -> dict[str, bytes]:
    return {"a.txt": _TEXT.encode(), "b.log": _TEXT.encode("utf-16"), "README": _CODE.encode("utf-8-sig"), "c.json": _JSONL[0].encode()}


def _codes() -> dict[str, bytes]:
    return {"a.py": _CODE.encode(), "b.yaml": _MARKDOWN.encode(), "Makefile": _TEXT.encode("utf-32"), "c.xml": _HTML.encode()}


def _htmls() -> dict[str, bytes]:
    latin = _HTML.replace("utf-8", "iso-8859-1").encode("cp1252", "ignore")
    declared = '<?xml version="1.0" encoding="Shift_JIS"?><html><p>\u6f22\u5b57</p></html>'.encode("cp932")
    return {"a.html": _HTML.encode(), "b.htm": latin, "c.xhtml": declared, "d.html": _HTML.encode("utf-16")}


def _csvs() -> dict[str, bytes]:
    names = ("a.csv", "b.csv", "c.csv", "d.csv", "e.tsv")
    plain = {name: text.encode() for name, text in zip(names, _CSV, strict=True)}
    return {**plain, "f.csv": _CSV[0].encode("utf-16"), "g.csv.gz": packed(_CSV[0].encode()), "h.tsv.gz": packed(_CSV[4].encode())}


def _jsonls() -> dict[str, bytes]:
    plain = {f"{n}.jsonl": text.encode() for n, text in enumerate(_JSONL)}
    return {**plain, "a.ndjson": _JSONL[0].encode("utf-16"), "b.jsonl.gz": packed("".join(_JSONL).encode())}


def _parquets() -> dict[str, bytes]:
    from datetime import UTC, datetime
    from decimal import Decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": f"r{n}",
            "text": f"Row {n} on pumps.",
            "n": n,
            "x": n / 3,
            "ok": n % 2 == 0,
            "tags": ["a", f"t{n}"],
            "inner": {"a": n, "b": "z"},
        }
        for n in range(40)
    ]
    plain = pa.Table.from_pylist(rows)
    odd = pa.table(
        {
            "when": pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("ms", "UTC")),
            "price": pa.array([Decimal("1.50"), None, Decimal("7")], pa.decimal128(20, 2)),
            "raw": pa.array([b"\0\xff", b"", None]),
            "map": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
            "day": pa.array([1, 2, None], pa.date32()),
            "note": pa.array(["first", "second", "third"], pa.large_string()),
        }
    )
    files = {}
    settings = (("none", True, "1.0"), ("snappy", True, "2.0"), ("zstd", False, "1.0"), ("gzip", True, "2.0"))
    for compression, dictionary, version in settings:
        for name, table in (("plain", plain), ("odd", odd)):
            out = io.BytesIO()
            pq.write_table(table, out, compression=compression, use_dictionary=dictionary, data_page_version=version, row_group_size=30)
            files[f"{name}-{compression}.parquet"] = out.getvalue()
    out = io.BytesIO()
    encodings = {"id": "DELTA_BYTE_ARRAY", "text": "DELTA_LENGTH_BYTE_ARRAY", "n": "DELTA_BINARY_PACKED", "x": "BYTE_STREAM_SPLIT"}
    flat = plain.select(["id", "text", "n", "x"])
    pq.write_table(flat, out, compression="none", use_dictionary=False, column_encoding=encodings, store_schema=False)
    return {**files, "delta.pq": out.getvalue()}


def _docxs() -> dict[str, bytes]:
    import docx

    full = docx.Document()
    full.core_properties.title = "On pumps"
    full.add_paragraph("The title", style="Title")
    full.add_heading("First", level=1)
    full.add_paragraph("one", style="List Bullet")
    table = full.add_table(rows=2, cols=2)
    for n, cell in enumerate(c for row in table.rows for c in row.cells):
        cell.text = f"cell {n}"
    table.rows[0].cells[0].add_table(rows=1, cols=1).rows[0].cells[0].text = "inner"
    full.sections[0].header.paragraphs[0].text = "header"
    full.add_paragraph("end\nline\ttab")
    small = docx.Document()
    small.add_paragraph("One paragraph.")
    files = {}
    for name, word in (("full.docx", full), ("small.docm", small)):
        out = io.BytesIO()
        word.save(out)
        files[name] = repacked(out.getvalue(), "", b"")
    return files


def packed_pdf() -> bytes:
    """A PDF 1.5 with packed content, an object stream, a ToUnicode map, a form, an inline image and a cross-reference stream."""
    content = zlib.compress(b"q BT /F1 12 Tf 72 700 Td [(Pum) -20 (ps)] TJ T* <0001> Tj ET /X1 Do BI /W 1 /H 1 /BPC 8 /CS /G ID x EI Q")
    form = b"BT /F1 9 Tf 10 10 Td (in a form) Tj ET"
    cmap = b"begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfrange <0000> <0005> <0041> endbfrange endcmap"
    inner = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 6 0 R /Resources << /Font << /F1 4 0 R >> /XObject << /X1 7 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /DescendantFonts [5 0 R] /ToUnicode 8 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A /W [0 [500 600] 3 5 700] /DW 1000 >>",
    ]
    heads = b" ".join(b"%d %d" % (n, sum(len(o) + 1 for o in inner[: n - 1])) for n in range(1, 6)) + b" "
    inside = zlib.compress(heads + b"\n".join(inner))
    streams = {
        6: (b"/Filter /FlateDecode", content),
        7: (b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F1 4 0 R >> >>", form),
        8: (b"", cmap),
        9: (b"/Type /ObjStm /N 5 /First %d /Filter /FlateDecode" % len(heads), inside),
    }
    out = bytearray(b"%PDF-1.5\n")
    offsets = {}
    for number, (entries, data) in streams.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n<< %s /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (number, entries, len(data), data)
    rows = [(0, 0, 255), *((2, 9, n) for n in range(5)), *((1, offsets[n], 0) for n in range(6, 10)), (1, len(out), 0)]
    table = zlib.compress(b"".join(kind.to_bytes(1) + a.to_bytes(3) + b.to_bytes(1) for kind, a, b in rows))
    start = len(out)
    entries = b"/Type /XRef /Size 11 /W [1 3 1] /Root 1 0 R /Filter /FlateDecode"
    out += b"10 0 obj\n<< %s /Length %d >>\nstream\n%s\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % (entries, len(table), table, start)
    return bytes(out)


def _pdfs() -> dict[str, bytes]:
    import pypdf
    from pypdf.generic import ArrayObject, ByteStringObject

    encrypted = io.BytesIO()
    writer = pypdf.PdfWriter(io.BytesIO(pdf(["Secret words"])))
    writer._ID = ArrayObject([ByteStringObject(b"0" * 16)] * 2)  # else a random one
    writer.encrypt("", "owner", algorithm="RC4-128")
    writer.write(encrypted)
    return {
        "two.pdf": pdf(["On pumps", "and valves"], "A title"),
        "four.pdf": pdf([f"Header page {n}" for n in range(4)]),
        "packed.pdf": packed_pdf(),
        "encrypted.pdf": encrypted.getvalue(),
    }


def _beirs() -> dict[str, bytes]:
    return {"corpus.jsonl": _BEIR.encode(), "corpus.jsonl.gz": packed(_BEIR.encode())}


_MAKERS = {
    "text": _texts,
    "code": _codes,
    "markdown": lambda: {"a.md": _MARKDOWN.encode(), "b.mdx": _MARKDOWN.replace("\n", "\r\n").encode()},
    "rst": lambda: {"a.rst": _RST.encode(), "b.rest": _RST.encode("utf-8-sig")},
    "html": _htmls,
    "csv": _csvs,
    "jsonl": _jsonls,
    "parquet": _parquets,
    "docx": _docxs,
    "pdf": _pdfs,
    "beir": _beirs,
}


def _real(loader: str) -> dict[str, bytes]:
    """The beginnings of files of the test data, where that is present."""
    folder = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))
    if loader == "markdown":
        return {f"real-{p.name}": p.read_bytes()[:6000] for p in sorted(folder.glob("chunking-eval/corpora/*.md"))}
    if loader == "jsonl":
        return {f"real-{p.parent.name}.jsonl": _first_lines(p) for p in sorted(folder.glob("*/corpus.jsonl.gz"))[:4]}
    return {}


def _first_lines(path: Path) -> bytes:
    with gzip.open(path) as f:
        head = f.read(6000)
    return head[: head.rfind(b"\n") + 1] or head
