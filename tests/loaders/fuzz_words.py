"""The words of each format that mutations scatter over its files."""

from __future__ import annotations

WORDS: dict[str, list[bytes]] = {
    "text": [b"\f", b"\x1b[31m", "\u0301".encode(), "\u202e".encode()],
    "code": [b"\n", b"\t", b'"""'],
    "markdown": b"# ## \n``` \n~~~ ` * ** _ [ ]( ][ ]: <!-- --> <div> <a < > \n> \n- \n1. \n=== \n--- | --- \\ &amp; &# {#".split(b" "),
    "rst": b"\n=== \n--- \n~~~~ \n.. : :: `` ` ** * __ _ | \n+-- >>> \n==\x20== \t".split(b" "),
    "html": b"<div> </div> <table> <tr> <td> </table> <pre> <h1> </h1> <title> <svg> <a < > <!-- --> <![CDATA[ <!DOCTYPE [ ]> &amp; &# &x; "
    b'charset= class=" hidden <template> <p> <li> <ul> <br> <select> <frameset> <math> <body> <html> <script> </script> <?xml ?>'.split(),
    "csv": [b",", b";", b"\t", b"|", b'"', b'""', b"\r\n", b"\r", b"sep=", b"id", b"text", b"true", b"-1e5"],
    "jsonl": b'{ } [ ] " : , \\ \\u \\ud800 \\u0000 null true NaN Infinity 1e400 {"": "messages" "role" "content" "id": "text": '.split(),
    "parquet": [
        b"PAR1",
        b"\0\0\0\0",
        b"\xff\xff\xff\x7f",
        b"\x19\x1c",
        b"\x15\xfe\xff\xff\xff\x0f",
        b"\x15",
        b"\x4c",
        b"\x80" * 9 + b"\x01",
    ],
    "docx": b"<w:p> </w:p> <w:tbl> <w:tr> <w:tc> <w:r> <w:t> </w:t> <w:style <w:basedOn w:val= \" ' &lol; <!-- --> <!DOCTYPE <![CDATA[ Id= "
    b'Target= TargetMode="External" ../ / rId1 PK\x03\x04 PK\x01\x02 PK\x05\x06'.split(),
    "pdf": b"<< >> [ ] ( ) < > /Kids /Parent /Length /Filter /FlateDecode /LZWDecode /RunLengthDecode /ASCII85Decode /Contents "
    b"/Font /XObject /ToUnicode /W /Prev /Extends /Encrypt obj endobj stream endstream xref trailer startxref BT ET Tj TJ "
    b"Do BI ID EI R null true % 1_0_R 2_0_R 3_0_R 4_0_R 5_0_R".split(),
    "beir": b'{ } [ ] " : , "_id" "text" \\ud800 null 1e400 NaN'.split(),
}
WORDS["pdf"] = [w.replace(b"_", b" ") for w in WORDS["pdf"]]
