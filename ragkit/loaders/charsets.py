"""The encodings that web pages name, read as browsers read them (the labels of the WHATWG encoding standard).

Pages say latin-1 and mean Windows-1252, say GB2312 and use characters of its successors; Python's codecs of those
names are narrower and would refuse the page or, worse, turn its dashes and quotation marks into control characters.
"""

from __future__ import annotations

import codecs
import re

from ragkit.errors import LoadError

_LABELS = {
    "cp1252": "latin1 latin-1 l1 iso-8859-1 iso8859-1 iso_8859-1 iso88591 cp819 ascii us-ascii ansi_x3.4-1968",
    "cp1254": "latin5 l5 iso-8859-9 iso8859-9 iso_8859-9 iso88599",
    "cp874": "tis-620 iso-8859-11 iso8859-11 dos-874 windows-874",
    "gb18030": "gb2312 gb_2312 gb_2312-80 gbk x-gbk chinese csgb2312 iso-ir-58",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis",
    "cp949": "euc-kr euckr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean windows-949 cseuckr iso-ir-149",
    "big5hkscs": "big5 big5-hkscs cn-big5 x-x-big5 csbig5",
    "iso8859-8": "iso-8859-8-i logical",
    "mac_roman": "macintosh x-mac-roman",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
_OF_PYTHON = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"))  # codecs that are no page's encoding
_WINDOWS = re.compile(r"(?:windows-|x-cp|cp)(125\d)")
_C1 = range(0x80, 0xA0)
ERRORS = "ragkit-c1"  # the error handler for pages: bytes that Windows encodings leave open are the controls of their number


def page_codec(label: str) -> str:
    """Python's codec for an encoding as a page names it; the label itself where both mean the same.

    raises LoadError for a label that only Python knows

    >>> page_codec("ISO-8859-1"), page_codec("gb2312"), page_codec("windows-1251"), page_codec("koi8-r")
    ('cp1252', 'gb18030', 'cp1251', 'koi8-r')
    """
    name = label.strip().lower()
    if name.replace("-", "_") in _OF_PYTHON:
        raise LoadError(f"the file names the encoding {label!r}, which is unknown; pass encoding= with the right one")
    windows = _WINDOWS.fullmatch(name)
    return f"cp{windows[1]}" if windows else _CODECS.get(name, label)


def _c1_controls(problem: UnicodeError) -> tuple[str, int]:
    if isinstance(problem, UnicodeDecodeError) and problem.encoding == "charmap":  # what the Windows codecs call themselves
        byte = problem.object[problem.start]
        if byte in _C1:
            return chr(byte), problem.start + 1
    raise problem


codecs.register_error(ERRORS, _c1_controls)
