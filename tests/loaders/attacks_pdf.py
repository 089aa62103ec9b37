"""PDF files made to do harm: objects that refer to each other, streams that explode, pages without end."""

from __future__ import annotations

import zlib

from tests.loaders.attacks_text import SIZE, Attacks, Outside
from tests.loaders.fuzz_seeds import packed_pdf
from tests.loaders.makers import pdf

_X = b"/XObject << /X 10 0 R >>"
_TEXT = b"BT /F1 12 Tf 72 700 Td (On pumps) Tj ET\n"


def _stream(data: bytes, entries: bytes = b"", length: object = None) -> bytes:
    size = str(len(data) if length is None else length).encode()
    return b"<< %s /Length %s >>\nstream\n%s\nendstream" % (entries, size, data)


def _packed(data: bytes) -> bytes:
    return _stream(zlib.compress(data, 9), b"/Filter /FlateDecode")


def _file(objects: dict[int, bytes], trailer: bytes = b"", size: int | None = None) -> bytes:
    """A PDF of numbered objects whose first is the catalogue."""
    out, offsets = bytearray(b"%PDF-1.7\n"), {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start, last = len(out), max(objects)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (last + 1)
    out += b"".join(b"%010d 00000 n \n" % offsets.get(n, 0) for n in range(1, last + 1))
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (last + 1 if size is None else size, trailer, start)
    return bytes(out)


def _page(content: bytes = _stream(_TEXT), resources: bytes = b"", page: bytes = b"", font: bytes = b"", **more: bytes) -> bytes:
    """One page; `more` are further objects, from 10 on, by names such as n10."""
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> %s >> %s >>"
        % (resources, page),
        4: font or b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        5: content,
    }
    return _file(objects | {int(name[1:]): body for name, body in more.items()})


def _tree(*kids: bytes) -> bytes:
    """Page tree nodes from object 2 on; 90 is a page."""
    nodes = {n: b"<< /Type /Pages /Count 5 %s >>" % k for n, k in enumerate(kids, 2)}
    leaf = b"<< /Type /Page /Parent 2 0 R /Contents 91 0 R /Resources << /Font << /F1 92 0 R >> >> >>"
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    return _file({1: b"<< /Type /Catalog /Pages 2 0 R >>", **nodes, 90: leaf, 91: _stream(_TEXT), 92: font})


def _form(content: bytes, forms: bytes = b"") -> bytes:
    return _stream(
        content, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F1 4 0 R >> /XObject << %s >> >>" % forms
    )


def _type0(more: bytes, descendant: bytes = b"") -> bytes:
    inner = b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A %s >>" % descendant
    return b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /DescendantFonts [%s] %s >>" % (inner, more)


def _cmap(body: bytes) -> dict[str, bytes]:
    text = b"begincmap\n1 begincodespacerange <0000> <ffff> endcodespacerange\n" + body + b"\nendcmap"
    return {"font": _type0(b"/ToUnicode 10 0 R"), "n10": _packed(text), "content": _stream(_TEXT.replace(b"(On pumps)", b"<00010002>"))}


def pdf_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    made = _trees(n) | _streams(n) | _content(n) | _fonts(n) | _tables(outside, n)
    return {name: ("a.pdf", data) for name, data in made.items()}


def _trees(n: int) -> dict[str, bytes]:
    deep = [b"/Kids [%d 0 R]" % n for n in range(3, 90)]
    wide = b"/Kids [%s]" % (b"90 0 R " * (n * 9 // 10))
    doubled = [b"/Kids [%d 0 R %d 0 R]" % (n, n) for n in range(3, 60)] + [b"/Kids [90 0 R]"]
    doubled_less = [b"/Kids [%d 0 R %d 0 R]" % (n, n) for n in range(3, 17)] + [b"/Kids [90 0 R]"]
    far = {1: b"<< /Type /Catalog /Pages 2 0 R >>", **{n: b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (n + 1) for n in range(2, 5000)}}
    return {
        "page tree of itself": _tree(b"/Kids [2 0 R]"),
        "page trees in a circle": _tree(b"/Kids [3 0 R 90 0 R]", b"/Kids [2 0 R 90 0 R]"),
        "parents in a circle": _tree(b"/Kids [90 0 R] /Parent 3 0 R", b"/Kids [] /Parent 2 0 R"),
        "deep page tree": _tree(*deep, b"/Kids [90 0 R]"),
        "very deep page tree": _file(far),
        "one page, very often": _tree(wide),
        "tree of doubled branches": _tree(*doubled),
        "tree of 16,384 pages": _tree(*doubled_less),
        "kids that are no pages": _tree(b"/Kids [1 0 R 91 0 R 92 0 R 999 0 R null 5 (a) /N [90 0 R]]"),
        "kids that are no list": _tree(b"/Kids 90 0 R"),
        "huge count": _tree(b"/Kids [90 0 R] /Count 99999999999"),
        "resources of the parent in a circle": _tree(
            b"/Kids [3 0 R] /Parent 3 0 R", b"/Kids [4 0 R] /Parent 2 0 R", b"/Kids [90 0 R] /Parent 3 0 R"
        ),
        "catalogue of itself": _file({1: b"1 0 R"}),
        "catalogue in a circle": _file({1: b"2 0 R", 2: b"1 0 R"}),
        "pages of the catalogue": _file({1: b"<< /Type /Catalog /Pages 1 0 R >>"}),
        "objects in a circle": _page(page=b"/Contents 10 0 R", n10=b"11 0 R", n11=b"10 0 R"),
        "contents of itself": _page(content=b"[5 0 R 5 0 R]"),
        "no contents": _page(content=b"null"),
    }


def _streams(n: int) -> dict[str, bytes]:
    many = _TEXT * n * 20
    filters = b"/Filter [" + b"/FlateDecode " * 10 + b"]"
    nested = _TEXT * n * 2
    for _ in range(10):
        nested = zlib.compress(nested, 9)
    predictor = b"/Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 2000000000 /Colors 2000000000 >>"
    png = b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Columns 1 >>"
    return {
        "bomb of blanks": _page(content=_packed(b" " * n * 700)),
        "bomb above every limit": _page(content=_packed(b" " * n * 5000)),
        "bomb of text": _page(content=_packed(many)),
        "bomb of operators": _page(content=_packed(b"q Q " * n * 50 + _TEXT)),
        "bomb of numbers": _page(content=_packed(b"1 " * n * 100 + _TEXT)),
        "bomb of one string": _page(content=_packed(b"BT /F1 12 Tf (" + b"a" * n * 500 + b") Tj ET")),
        "bomb of bombs": _page(content=_stream(nested, filters)),
        "bomb in run lengths": _page(content=_stream(b"\x81a" * 2_000_000 + b"\x80", b"/Filter /RunLengthDecode")),
        "bomb in ASCII85": _page(content=_stream(b"z" * 2_000_000 + b"~>", b"/Filter /ASCII85Decode")),
        "bomb in LZW": _page(content=_stream(b"\x80\x0b\x60\x50\x22\x0c\x0c\x85\x01" * n, b"/Filter /LZWDecode")),
        "contents of many streams": _page(content=b"[" + b"10 0 R " * 50_000 + b"]", n10=_packed(_TEXT * 100)),
        "contents of many bombs": _page(content=b"[" + b"10 0 R " * 50_000 + b"]", n10=_packed(b" " * n * 100)),
        "many pages of one bomb": _tree(b"/Kids [%s]" % (b"90 0 R " * (n * 3 // 100))).replace(_stream(_TEXT), _packed(_TEXT * (n // 5))),
        "many pages of blanks": _tree(b"/Kids [%s]" % (b"90 0 R " * 3000)).replace(_stream(_TEXT), _packed(b" " * n * 200)),
        "filters": _page(content=_stream(_TEXT, b"/Filter [" + b"/ASCIIHexDecode " * n + b"]")),
        "unknown filter": _page(content=_stream(_TEXT, b"/Filter /Nonsense")),
        "huge predictor": _page(content=_stream(zlib.compress(_TEXT), predictor)),
        "predictor of rows of one": _page(content=_stream(zlib.compress(bytes(200 * n), 9), png)),
        "broken packing": _page(content=_stream(zlib.compress(_TEXT * n)[:-500], b"/Filter /FlateDecode")),
        "broken packing from the start": _page(content=_stream(b"x\x9c" + b"\xff" * n * 10, b"/Filter /FlateDecode")),
        "huge length": _page(content=_stream(_TEXT, length=99_999_999_999)),
        "length just inside": _page(content=_stream(_TEXT, length=70_000_000)),
        "length below nothing": _page(content=_stream(_TEXT, length=-1)),
        "length of a real number": _page(content=_stream(_TEXT, length=1e300)),
        "length of itself": _page(content=_stream(_TEXT, length="5 0 R")),
        "length in a circle": _page(content=_stream(_TEXT, length="10 0 R"), n10=b"11 0 R", n11=b"10 0 R"),
        "stream without an end": _page(content=b"<< /Length 5 >>\nstream\n" + _TEXT * n),
        "file that a stream names": _page(content=_stream(_TEXT, b"/F (/etc/passwd) /FFilter /FlateDecode")),
    }


def _content(n: int) -> dict[str, bytes]:
    chain = {f"n{k}": _form(b"/X Do " + _TEXT, b"/X %d 0 R" % (k + 1)) for k in range(10, 600)}
    fan = {f"n{k}": _form(b"/X Do " * 10 + _TEXT, b"/X %d 0 R" % (k + 1)) for k in range(10, 25)}
    bodies = {
        "arrays in arrays": b"[" * n + b"]" * n + b" TJ " + _TEXT,
        "dictionaries in dictionaries": b"/A " + b"<< /A " * n + b">>" * n + b" BDC " + _TEXT,
        "open strings": b"(" * n + _TEXT,
        "strings in strings": b"BT /F1 1 Tf (" + b"(" * n + b")" * n + b") Tj ET",
        "escapes": b"BT /F1 1 Tf (" + b"\\" * n + b"\\777" * n + b") Tj ET",
        "open hexadecimal string": b"BT <" + b"0" * n * 10,
        "names": b"/" + b"#41" * n + b" gs " + _TEXT,
        "huge numbers": b"9" * n + b" 0 0 1 0 0 cm 1e308 0 0 1e308 0 0 cm 1e308 0 0 1e308 0 0 cm " + _TEXT + b"BT 1e308 1e308 Td (a) Tj ET",
        "matrices": b"0 0 0 0 0 0 cm BT /F1 0 Tf 0 0 0 0 0 0 Tm (a) Tj ET" + b"-1 -1 -1 -1 -1 -1 cm " * 1000 + _TEXT,
        "saved states": b"q " * n + _TEXT + b"Q " * n * 2,
        "text objects": b"BT " * n + _TEXT + b"ET " * n,
        "moves": b"BT /F1 1 Tf " + b"1 1 Td (a) Tj " * n + b"ET",
        "pieces of a line": b"BT /F1 1 Tf [" + b"(a) -300 " * n + b"] TJ ET",
        "lines": b"BT /F1 1 Tf " + b"(a) ' " * n + b"ET",
        "inline image without an end": _TEXT + b"BI /W 9999999 /H 9999999 /BPC 8 /CS /RGB ID " + b"x" * n,
        "inline images": b"BI /W 1 /H 1 /BPC 8 /CS /G ID x EI " * (n // 5) + _TEXT,
        "inline image in a filter": b"BI /W 1 /H 1 /F [/A85 /LZW /Fl /RL /CCF /DCT] ID xxxx EI " + _TEXT,
        "operators without operands": b"Tj TJ ' \" Td TD Tm Tf cm Do T* Tc Tw Tz TL Tr Ts BI ID EI " + _TEXT,
        "operands of wrong kinds": b"BT (a) /F1 Tf /F1 (a) Tf [] Tj (a) (b) Td << >> TJ null Tj true false 1 2 (a) /b Tm (a) Do /X Do ET "
        + _TEXT,
        "comments": b"%" + b"a" * n + b"\n" + b"%\r" * n + _TEXT,
        "unknown operators": b"x" * n + b" " + b"zz " * n + _TEXT,
        "marked contents": b"/Span << /ActualText (b) >> BDC " * (n // 5) + _TEXT + b"EMC " * (n // 5),
        "fonts": b"BT " + b"/F1 12 Tf /F2 1 Tf " * (n // 5) + b"(a) Tj ET " + _TEXT,
    }
    made = {name: _page(content=_stream(body)) for name, body in bodies.items()}
    form_of_text = {"n10": _form(_TEXT * 5000)}
    return made | {
        "form of itself": _page(content=_stream(b"/X Do " + _TEXT), resources=_X, n10=_form(b"/X Do " + _TEXT, b"/X 10 0 R")),
        "chain of forms": _page(content=_stream(b"/X Do " + _TEXT), resources=_X, **chain),
        "forms that call ten forms each": _page(content=_stream(b"/X Do " + _TEXT), resources=_X, **fan),
        "a large form, often": _page(content=_stream(b"/X Do " * 5000 + _TEXT), resources=_X, **form_of_text),
        "blanks before a form": _page(content=_stream(b" " * n * 20 + b"Do " + _TEXT), resources=_X, n10=_form(_TEXT)),
        "forms by odd names": _page(content=_stream(b"/#58 Do /X% a\nDo /X/X Do Do (a)Do " + _TEXT), resources=_X, n10=_form(_TEXT)),
        "resources of itself": _page(page=b"/Resources 3 0 R"),
        "fonts of themselves": _page(resources=b"/Font 10 0 R", n10=b"<< /F1 10 0 R >>"),
    }  # fmt: skip


def _fonts(n: int) -> dict[str, bytes]:
    widths = {
        "a width for billions": b"/W [0 2000000000 500]",
        "widths below nothing": b"/W [-5 [1 2 3] 10 5 500 (a) /b]",
        "ranges of widths": b"/W [" + b"0 60000 500 " * 2000 + b"]",
        "widths of widths": b"/W [" + b"[" * 500 + b"]" * 500 + b"]",
        "widths in a circle": b"/W 10 0 R",
    }
    cmaps = {
        "a map of billions": b"1 beginbfrange <00000000> <ffffffff> <0041> endbfrange",
        "maps of all characters": b"1 beginbfrange <0000> <ffff> <0041> endbfrange\n" * 500,
        "a map to long texts": b"1 beginbfrange <0000> <ffff> <" + b"0041" * 5000 + b"> endbfrange",
        "a map to half surrogates": b"1 beginbfchar <0001> <d800> <0002> <dfff> endbfchar",
        "a map to nothing": b"1 beginbfchar <0001> <> <0002> endbfchar <",
        "an open map": b"1 beginbfrange <0000> <ffff> [" + b"<0041> " * n,
        "a map of blanks": b" " * n * 200,
        "a map of lines": b"\n" * n * 50,
        "many characters": b"100000 beginbfchar\n" + b"".join(b"<%04x> <0041>\n" % (k % 65536) for k in range(n)) + b"endbfchar",
        "a code of many bytes": b"1 beginbfrange <" + b"00" * n + b"> <" + b"ff" * n + b"> <0041> endbfrange",
    }
    differences = {
        "differences": b"/Differences [" + b"0 /A " * n + b"]",
        "huge difference": b"/Differences [99999999999 /A /B -5 /C (x) /uni /u110000 /uniD800 /g1]",
    }
    helvetica = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica %s >>"
    made = {name: _page(font=_type0(b"", w), n10=b"[0 10 0 R]") for name, w in widths.items()}
    made |= {name: _page(**_cmap(body)) for name, body in cmaps.items()}
    made |= {name: _page(font=helvetica % b"/Encoding << %s >>" % d) for name, d in differences.items()}
    return made | {
        "map of itself": _page(font=_type0(b"/ToUnicode 4 0 R")),
        "many fonts of one map": _page(
            resources=b"/Font << %s >>" % b"".join(b"/G%d 10 0 R " % k for k in range(5000)),
            n10=_type0(b"/ToUnicode 11 0 R"),
            n11=_packed(b"begincmap 1 beginbfrange <0000> <ffff> <0041> endbfrange\nendcmap"),
        ),
        "descendants of themselves": _page(font=b"<< /Type /Font /Subtype /Type0 /DescendantFonts [4 0 R] /Encoding 4 0 R >>"),
        "widths of characters": _page(font=helvetica % b"/FirstChar -1 /LastChar 99999999999 /Widths [" + b"1e308 " * 1000 + b"]"),
        "no kind of font": _page(font=b"<< >>"),
        "a font that is a number": _page(font=b"5"),
        "predefined map from a file": _page(font=_type0(b"").replace(b"/Identity-H", b"/..#2f..#2fetc#2fpasswd")),
    }  # fmt: skip


def _tables(outside: Outside, n: int) -> dict[str, bytes]:
    good, packed, url, file = pdf(["On pumps"]), packed_pdf(), outside.url.encode(), outside.text.encode()
    trailer, standard = b"/Size 6", b"/Encrypt << /Filter /Standard /V %d /R %d /Length %d /O (%s) /U (%s) /P -4 >> /ID [<00> <00>]"
    key = b"x" * 32
    extends = _file(
        {1: b"<< /Type /Catalog /Pages 2 0 R >>", 9: _stream(b"1 0 2 5 ", b"/Type /ObjStm /N 99999999 /First 8 /Extends 9 0 R")}
    )
    return {
        "tables in a circle": good.replace(trailer, b"/Size 6 /Prev %d" % good.rindex(b"xref\n0")),
        "table before the file": good.replace(trailer, b"/Size 6 /Prev -5"),
        "table beyond the file": good.replace(trailer, b"/Size 6 /Prev 99999999999"),
        "two tables in a circle": good.replace(trailer, b"/Size 6 /XRefStm %d" % good.rindex(b"xref\n0")),
        "huge table": good.replace(b"0 6\n", b"0 99999999999\n"),
        "table from far": good.replace(b"0 6\n", b"999999999 6\n"),
        "no table": good[: good.rindex(b"xref\n0")],
        "no end": good.replace(b"%%EOF", b"").replace(b"startxref", b""),
        "start of nothing": good.replace(b"startxref", b"startxref\n" + b"9" * 5000),
        "objects without an end": b"%PDF-1.4\n" + b"1 0 obj\n" * n,
        "objects of one number": b"%PDF-1.4\n" + b"1 0 obj\n<< >>\nendobj\n" * n,
        "object numbers": b"%PDF-1.4\n" + b"99999999999999999999 99999 obj\n<< >>\nendobj\n" * 1000,
        "starts": b"%PDF-1.4\n" + b"startxref\n0\n%%EOF\n" * n,
        "trailers": b"%PDF-1.4\n" + b"trailer\n<< /Root 1 0 R >>\n" * n,
        "trailers in trailers": b"%PDF-1.4\ntrailer\n" + b"<< /Root " * n,
        "header alone": b"%PDF-1.4\n%%EOF",
        "blanks after the end": good + b"\n" * n * 50,
        "NULs after the end": good + bytes(n * 50),
        "blanks before the start": b" " * n * 50 + good,
        "arrays in arrays in an object": _page(n10=b"[" * n, page=b"/A 10 0 R"),
        "a dictionary of arrays": _page(page=b"/A " + b"[" * 3000 + b"]" * 3000),
        "many entries": _page(page=b"".join(b"/A%d %d " % (k, k) for k in range(n))),
        "object stream of itself": extends,
        "object stream of huge count": packed.replace(b"/N 5", b"/N 999999999"),
        "object stream of no first": packed.replace(b"/First ", b"/First 99999999"),
        "entries of no width": packed.replace(b"/W [1 3 1]", b"/W [0 0 0]"),
        "entries of huge width": packed.replace(b"/W [1 3 1]", b"/W [1 99999999 1]"),
        "entries without an end": packed.replace(b"/Size 11", b"/Size 99999999 /Index [0 99999999 0 99999999]"),
        "encrypted by an unknown way": _file({1: b"<< >>"}, standard % (99, 99, 128, key, key)),
        "a key of no length": _file({1: b"<< >>"}, standard % (2, 3, 0, key, key)),
        "a key of huge length": _file({1: b"<< >>"}, standard % (2, 3, 99_999_999, key, key)),
        "a key of AES": _file({1: b"<< >>"}, standard % (5, 6, 256, key + b"x" * 16, key + b"x" * 16)),
        "an encryption of itself": _file({1: b"<< /Filter /Standard /V 1 0 R >>"}, b"/Encrypt 1 0 R"),
        "properties of themselves": _file({1: b"<< /Title 1 0 R /Pages 2 0 R >>", 2: b"<< /Kids [] >>"}, b"/Info 1 0 R"),
        "a title in a circle": pdf(["On pumps"], "a").replace(b"/Title (a)", b"/Title 6 0 R"),
        "a huge title": pdf(["On pumps"], "microsoft - " * 200_000),
        "a title of half a surrogate": pdf(["On pumps"], "a").replace(b"(a)", b"<FEFFD800>"),
        "forms of fields": _page(page=b"/AcroForm << /XFA [(template) 10 0 R] >>", n10=_packed(f'<!DOCTYPE a SYSTEM "file://{outside.dtd}">'.encode())),
        "actions": _page(page=b"/AA << /O << /S /URI /URI (%s) >> >> /OpenAction << /S /Launch /F (%s) >>" % (url, file)),
    }  # fmt: skip
