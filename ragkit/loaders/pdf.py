"""PDF files: the text layer, page after page. Images of text are not read."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.blocks import one_line
from ragkit.loaders.decode import read_bytes
from ragkit.loaders.foreign import parsing
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.pages import running_text
from ragkit.loaders.pdf_work import Budget
from ragkit.registry import need
from ragkit.types import Document

_NO_TITLE = re.compile(r"untitled.*|microsoft .* - .*|.*\.(?:docx?|tex|dvi|indd|pptx?|xlsx?|pdf|qxd|rtf)|\W*", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document: the pages' texts as a running text (`ragkit.loaders.pages`), `page_starts` with one offset a page.

    A file that opens with the empty password is read. A page that can't be parsed is reported and empty, and so are the
    pages from the one on that unpacks to far more than a document has (`ragkit.loaders.pdf_work`).
    The title is that of the file's properties unless a program put its own there, else the file's stem.
    raises LoadError for a broken or encrypted file, and for one without a text layer
    """
    data = read_bytes(path, options)
    reader = _open(data)
    budget = Budget(len(data))
    texts: list[str] = []
    with _pypdf("the PDF"):
        n_pages = len(reader.pages)
    problem: LoadError | None = None
    for n in range(n_pages):
        try:
            with _pypdf(f"page {n + 1} of the PDF"):
                page = reader.pages[n]
                if not budget.spend(page):
                    texts += [""] * (n_pages - n)
                    problem = LoadError(_too_much(n + 1, n_pages, budget.allowed, len(data)))
                    report(str(problem))
                    break
                text = str(page.extract_text())
        except _NoCryptography:
            raise
        except LoadError as exc:
            problem = exc
            report(str(exc))
            text = ""
        texts.append(_UNSTORABLE.sub("\ufffd", text).strip())
    if not any(texts):
        if problem is not None:
            raise problem
        raise LoadError("the PDF has no text layer; it is probably scanned: run OCR first")
    text, starts = running_text(texts)
    yield Document(text=text, title=_title(reader) or path.stem, page_starts=starts)


def _too_much(page: int, n_pages: int, allowed: int, size: int) -> str:
    pages = f"page {page} of the PDF is" if page == n_pages else f"pages {page} to {n_pages} of the PDF are"
    return (
        f"{pages} left out: the {size:,} bytes of the file unpack to more than {allowed:,}, far more than a document; print it to a new PDF"
    )


class _NoCryptography(LoadError):
    """The file is encrypted in a way that pypdf leaves to another package."""


@contextmanager
def _pypdf(what: str) -> Iterator[None]:
    try:
        with parsing(what):
            yield
    except LoadError as exc:
        if type(exc.__cause__).__name__ != "DependencyError":
            raise
        raise _NoCryptography("the PDF is encrypted with AES; install the package 'cryptography' to read it") from exc.__cause__


def _open(data: bytes) -> Any:
    pypdf = need("pypdf", extra="files", why="reading a PDF")
    log = logging.getLogger("pypdf")
    if not log.handlers:  # what it repairs is for who configures logging; without a handler it would go to stderr
        log.addHandler(logging.NullHandler())
    if not data:
        raise LoadError("the file is empty; there is nothing to index in it")
    with _pypdf("the PDF"):
        reader = pypdf.PdfReader(io.BytesIO(data))
        encrypted = reader.is_encrypted
    if encrypted:
        with _pypdf("the encryption of the PDF"):
            opened = bool(reader.decrypt(""))
        if not opened:
            raise LoadError("the PDF is encrypted; save it without its password and try again")
    return reader


def _title(reader: Any) -> str:
    try:
        with _pypdf("the properties of the PDF"):
            properties = reader.metadata
            title = None if properties is None else properties.title
    except LoadError:
        return ""  # a title is a nicety: the text has been read
    title = one_line(_UNSTORABLE.sub("", title)) if isinstance(title, str) else ""
    return "" if _NO_TITLE.fullmatch(title) or len(title) > 300 else title
