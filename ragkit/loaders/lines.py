"""Streaming text files, gzipped or not: record files may be larger than memory, so they are never read whole."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ragkit.errors import LoadError
from ragkit.loaders.decode import marked_encoding, refuse_binary
from ragkit.loaders.options import DEFAULT, LoadOptions

_HEAD = 65_536
_RATIO, _SMALL = 100, 2_000_000  # more than 100-fold compression of more than 2 MB unpacked is no text


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


@contextmanager
def open_text(path: Path, options: LoadOptions = DEFAULT, *, newline: str = "\n") -> Iterator[io.TextIOWrapper]:
    """A text stream over a file, unpacked if it ends in .gz; without byte-order mark and newline translation.

    Bytes that are not valid stay in the text as half surrogates (surrogateescape), so that one bad line spoils no other.
    raises LoadError if the file can't be read, is binary, or its gzip data are broken or unpack to far more than a text has
    """
    codec = ""
    try:
        with _open(path) as raw:
            if isinstance(raw, gzip.GzipFile):
                _refuse_bomb(raw, path.stat().st_size)
            head = raw.read(_HEAD)
            raw.seek(0)
            marked = marked_encoding(head)
            if marked is None and options.encoding is None:
                refuse_binary(head)
            codec = "utf-8-sig" if marked == "utf-8" else marked or options.encoding or "utf-8"
            with io.TextIOWrapper(raw, encoding=codec, errors="surrogateescape", newline=newline) as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise LoadError(f"its gzip data are broken ({exc}); fetch or pack the file again") from exc
    except UnicodeDecodeError as exc:  # only codecs of several bytes a unit get here: a cut or wrongly marked UTF-16
        raise LoadError(
            f"the file is not valid {exc.encoding} ({exc.reason}); convert it to UTF-8, or pass encoding= with its own"
        ) from exc
    except UnicodeError as exc:  # a few codecs say no more than that
        raise LoadError(f"the file can't be read as {codec} ({exc}); convert it to UTF-8, or pass encoding= with its own") from exc


def _refuse_bomb(raw: gzip.GzipFile, packed: int) -> None:
    """Unpack once before anything is made of it; the lengths that gzip writes down are of its last part alone."""
    limit = max(_SMALL, _RATIO * packed)
    while raw.read1(1 << 20):
        if raw.tell() > limit:
            raise LoadError(f"it unpacks from {packed:,} to more than {limit:,} bytes, far more than a text has; it is left alone")
    raw.seek(0)


class Line(NamedTuple):
    """A line of a file: its number from 1, its text without the line end, or why it can't be used."""

    number: int
    text: str
    problem: str = ""


def lines(path: Path, options: LoadOptions = DEFAULT) -> Iterator[Line]:
    """The lines of a file that are not blank; one that is too long or not valid in its encoding comes with a problem.

    No more than `options.max_bytes` characters of a line are held in memory.
    """
    limit = options.max_bytes
    with open_text(path, options) as stream:
        number = 0
        while text := stream.readline(limit + 1):
            number += 1
            if len(text) > limit and text[-1] != "\n":
                while (rest := stream.readline(1 << 20)) and rest[-1] != "\n":
                    pass
                yield Line(number, "", f"longer than {limit:,} characters; split it, or raise max_bytes")
            elif not text.isspace():
                yield Line(number, text.rstrip("\r\n"), unencodable(text))


def unencodable(text: str) -> str:
    """Why a text can't be stored as UTF-8, "" if it can."""
    if text.isascii():
        return ""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        code = ord(text[exc.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02X} is not valid in the file's encoding; convert it to UTF-8, or pass encoding="
        return "holds half of a surrogate pair, which is no character"
    return ""
