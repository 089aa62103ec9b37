"""From bytes to text without losing a position: byte-order marks, UTF-8 by default, no newline translation.

``read_text(path)`` equals ``open(path, newline="", encoding="utf-8").read()``, a UTF-8 byte-order mark
included, so that character offsets into a document are offsets into the file.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from ragkit.errors import LoadError
from ragkit.loaders.options import DEFAULT, LoadOptions

# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(b for b in range(32) if b not in b"\b\t\n\v\f\r\x1b")  # text has tabs, page breaks and terminal colours
_SAMPLE = 65_536  # bytes looked at for control characters
_MOST_CONTROL = 0.05  # share of them above which a file is binary


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte-order mark announces, None without one.

    >>> marked_encoding("é".encode("utf-16")), marked_encoding(b"plain")
    ('utf-16', None)
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8"
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def refuse_binary(data: bytes) -> None:
    """Raise LoadError if data, in an encoding that contains ASCII, holds NUL bytes or many control characters."""
    nul = data.find(0)
    if nul >= 0:
        raise LoadError(f"the file is binary (a NUL byte at offset {nul}); leave it out, or pass encoding= if it is text")
    sample = data[:_SAMPLE]
    control = len(sample) - len(sample.translate(None, _CONTROL))
    if control > _MOST_CONTROL * len(sample):
        raise LoadError(
            f"the file is binary ({control} control characters in its first {len(sample)} bytes); "
            "leave it out, or pass encoding= if it is text"
        )


def decode(data: bytes, encoding: str | None = None, errors: str = "strict") -> str:
    """The text of a file's bytes; a byte-order mark wins over `encoding`, and both over UTF-8.

    errors  the codecs' name of what to do about bytes that are not valid
    A UTF-8 mark stays as U+FEFF; those of UTF-16 and UTF-32 are dropped by Python's codecs.
    raises LoadError for binary content, for bytes that are not valid and for an unknown encoding

    >>> decode(b"caf\\xe9", "latin-1")
    'café'
    >>> decode(b"caf\\xe9")
    Traceback (most recent call last):
    ...
    ragkit.errors.LoadError: the file is not valid utf-8 (byte 0xE9 at offset 3); convert it to UTF-8, or pass encoding= with its own
    """
    marked = marked_encoding(data)
    codec = marked or encoding or "utf-8"
    if marked is None and encoding is None:
        refuse_binary(data)
    try:
        text = data.decode(codec, errors)
        if codec not in ("utf-8", "utf-16", "utf-32"):
            text.encode("utf-8")  # a few codecs make half surrogates, which nothing downstream can store
    except UnicodeDecodeError as exc:
        raise LoadError(
            f"the file is not valid {codec} (byte 0x{data[exc.start]:02X} at offset {exc.start}); "
            "convert it to UTF-8, or pass encoding= with its own"
        ) from exc
    except UnicodeEncodeError as exc:
        raise LoadError(f"read as {codec}, the file holds half of a surrogate pair at character {exc.start}; check its encoding") from exc
    except UnicodeError as exc:  # a few codecs say no more than that
        raise LoadError(f"the file can't be read as {codec} ({exc}); convert it to UTF-8, or pass encoding= with its own") from exc
    except LookupError as exc:
        raise LoadError(f"the file names the encoding {codec!r}, which is unknown; pass encoding= with the right one") from exc
    nul = text.find("\0")
    if nul >= 0:
        raise LoadError(f"the file is binary (read as {codec}, a NUL character at offset {nul}); leave it out, or pass another encoding=")
    return text


def read_bytes(path: Path, options: LoadOptions = DEFAULT) -> bytes:
    """All bytes of a file of at most `options.max_bytes`; never reads more than one byte beyond that.

    raises LoadError if the file can't be read or is larger
    """
    try:
        with path.open("rb") as f:
            data = f.read(options.max_bytes + 1)
    except OSError as exc:
        raise LoadError(f"the file can't be read ({exc.strerror or exc}); check that it exists and that you may read it") from exc
    if len(data) > options.max_bytes:
        raise LoadError(f"the file is larger than {options.max_bytes:,} bytes; split it, or raise max_bytes")
    return data


def is_blank(text: str) -> bool:
    """Whether a text has nothing but white space and byte-order marks."""
    return not text or text.isspace() or (text[0] == "\ufeff" and not text.strip("\ufeff \t\r\n\f\v"))


def read_text(path: Path, options: LoadOptions = DEFAULT) -> str:
    """The decoded file, character for character; raises LoadError as `read_bytes` and `decode` do, and if it is empty."""
    text = decode(read_bytes(path, options), options.encoding)
    if is_blank(text):
        raise LoadError("the file is empty; there is nothing to index in it")
    return text
