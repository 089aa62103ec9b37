"""How much work the pages of a PDF make, estimated before their text is extracted.

A few kilobytes can unpack to a page of many megabytes, draw one form thousands of times, or hold one page a hundred thousand times.
The parser reads about a megabyte of content a second, and reads forms and the maps of fonts again wherever they are used. So their
bytes are added up, as often as they are used, and what goes far beyond a document of the file's size is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.foreign import parsing
from ragkit.registry import need

_RATIO, _SMALL = 50, 2_000_000  # bytes of work allowed: 50 for each byte of the file, and 2 MB in any case
_PAGE, _CALL = 3_000, 200  # what a page, and a form or a font, costs besides its bytes
_DRAWN = re.compile(rb"(?:/([^\s/<>\[\](){}%#]++)|(?<=\S))\s++Do(?![^\s/<>\[\](){}%])")


class Budget:
    """The work that the pages of one file may make."""

    def __init__(self, size: int) -> None:
        self.allowed = max(_SMALL, _RATIO * size)
        self._left = self.allowed
        self._generic: Any = need("pypdf.generic", extra="files", why="reading a PDF")
        self._known: dict[int, tuple[Any, int]] = {}  # by identity: a form or a font, which lives on here, and its work

    def spend(self, page: Any) -> bool:
        """Whether there is work left for a page; takes it."""
        page = self._dict(page)
        resources = self._dict(page.get("/Resources"))
        work = _PAGE + self._fonts(resources)
        content = page.get("/Contents")
        for data in self._contents(content):
            work += len(data) + self._forms(data, resources)
            if work > self._left:
                return False
        self._left -= work
        return self._left >= 0

    def _resolved(self, value: Any) -> Any:
        """An object that may be referred to; None if it is broken, which the extraction of the page will find and report."""
        try:
            with parsing("an object"):
                return value.get_object() if hasattr(value, "get_object") else value
        except LoadError:
            return None

    def _dict(self, value: Any) -> Any:
        value = self._resolved(value)
        return value if isinstance(value, self._generic.DictionaryObject) else {}

    def _data(self, stream: Any) -> bytes:
        """The unpacked bytes of a stream, which keeps them for the extraction; b"" for one that is none or broken."""
        if not isinstance(stream, self._generic.StreamObject):
            return b""
        try:
            with parsing("a stream"):
                data = stream.get_data()
        except LoadError:
            return b""
        return data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data)

    def _contents(self, content: Any) -> Iterator[bytes]:
        content = self._resolved(content)
        for part in content if isinstance(content, self._generic.ArrayObject) else [content]:
            yield self._data(self._resolved(part))

    def _forms(self, data: bytes, resources: Any) -> int:
        """The work of the forms that a content draws, and of those that they draw."""
        calls = Counter(_DRAWN.findall(data)) if b"Do" in data else {}
        if not calls:
            return 0
        forms = self._dict(resources.get("/XObject"))
        work = 0
        for name, count in calls.items():
            # a name that is spelled in another way may be any of them
            drawn = ["/" + name.decode("latin-1")] if name else list(forms)
            work += count * max((self._form(forms.raw_get(n)) for n in drawn if n in forms), default=0)
        return work

    def _form(self, reference: Any) -> int:
        form = self._dict(reference)
        if not isinstance(form, self._generic.StreamObject) or form.get("/Subtype") != "/Form":
            return 0
        if id(form) in self._known:
            return self._known[id(form)][1]
        self._known[id(form)] = (form, 0)  # should it draw itself, which the parser leaves out
        data, resources = self._data(form), self._dict(form.get("/Resources"))
        try:
            work = _CALL + len(data) + self._fonts(resources) + self._forms(data, resources)
        except RecursionError:  # forms in forms, hundreds deep
            work = self.allowed + 1
        self._known[id(form)] = (form, work)
        return work

    def _fonts(self, resources: Any) -> int:
        fonts = self._dict(resources.get("/Font"))
        return sum(self._font(fonts.raw_get(name)) for name in fonts)

    def _font(self, reference: Any) -> int:
        font = self._dict(reference)
        if id(font) not in self._known:
            descendants = self._resolved(font.get("/DescendantFonts"))
            first = descendants[:1] if isinstance(descendants, self._generic.ArrayObject) else []
            work = _CALL
            for part in (font, self._dict(font.get("/Encoding")), *map(self._dict, first)):
                for key in ("/ToUnicode", "/Widths", "/W", "/Differences"):
                    value = self._resolved(part.get(key))
                    work += len(value) if isinstance(value, self._generic.ArrayObject) else len(self._data(value))
            self._known[id(font)] = (font, work)
        return self._known[id(font)][1]
