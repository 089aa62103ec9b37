"""LoadOptions: what a caller may choose about reading files, and the two small types that loaders share with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ragkit.errors import InputError

Report = Callable[[str], None]
"""Takes one sentence about a part of a file that was left out, such as ``line 7: not valid JSON``."""


@dataclass(frozen=True)
class LoadOptions:
    """How files are read. Frozen, comparable, plain JSON.

    encoding     of files without a byte-order mark; None means UTF-8, and for HTML what the page declares
    max_bytes    largest file that is one document, and largest single record of a record file, in bytes
    text_fields  names of a record's text field, tried in order; () means the usual synonyms
    id_fields    names of a record's id field, tried in order; () means the usual synonyms
    typed_csv    read a CSV column of whole numbers, decimals or true/false as such; False keeps every value a string

    raises InputError for an unknown encoding or a max_bytes below 1

    >>> LoadOptions(encoding="iso-8859-15").max_bytes
    100000000
    """

    encoding: str | None = None
    max_bytes: int = 100_000_000
    text_fields: tuple[str, ...] = ()
    id_fields: tuple[str, ...] = ()
    typed_csv: bool = True

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise InputError(f"max_bytes must be at least 1, got {self.max_bytes}")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)  # refuses codecs that are no text encoding, too, such as base64
            except (LookupError, ValueError) as exc:
                raise InputError(f"encoding must name a text encoding such as 'utf-8' or 'cp1252', got {self.encoding!r}") from exc


DEFAULT = LoadOptions()
