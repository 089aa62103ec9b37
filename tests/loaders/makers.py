"""Small files of every format, made by hand so that each test says what is in them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ragkit.errors import LoadError
from ragkit.loaders import LoadOptions, SourceFile, load_file, walk
from ragkit.types import Document


def source(path: Path, root: Path | None = None) -> SourceFile:
    """The walk's record of one file below a folder, by default its own."""
    root = path.parent if root is None else root
    status = path.stat()
    return SourceFile(path, path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)


def write(folder: Path, name: str, content: str | bytes) -> SourceFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return source(path, folder)


def load(folder: Path, name: str, content: str | bytes, options: LoadOptions | None = None) -> tuple[list[Document], list[str]]:
    """The documents of a file written for the purpose, and what was reported."""
    reasons: list[str] = []
    documents = load_file(write(folder, name, content), options or LoadOptions(), reasons.append)
    return documents, reasons


def outcome(file: SourceFile) -> Document | str:
    """The one document of a file, or why it was refused."""
    try:
        [document] = load_file(file, LoadOptions(), lambda reason: None)
    except LoadError as exc:
        return str(exc)
    return document


def load_alone(folder: Path, name: str, content: str | bytes) -> list[Document]:
    write(folder, name, content)
    [file] = walk(folder / name)
    return load_file(file)


def pdf(pages: list[str], info: str = "") -> bytes:
    """A PDF with one line of Helvetica text a page; an empty string makes a page without text."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode("latin-1") if text else b""
        resources = "<< /Font << /F1 3 0 R >> >>"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R /Resources {resources} >>"
        objects += [page.encode(), b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)]
    trailer = f"/Size {len(objects) + 1} /Root 1 0 R"
    if info:
        objects.append(f"<< /Title ({info}) >>".encode("latin-1"))
        trailer = f"/Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R"
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer\n<< %s >>\nstartxref\n%d\n%%%%EOF\n" % (trailer.encode(), start))
    return out.getvalue()


def repacked(docx: bytes, part: str, content: bytes) -> bytes:
    """A Word file with one part of its package replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            info = zipfile.ZipInfo(entry.filename)  # without the time of day, so that the bytes are the same every time
            new.writestr(info, content if entry.filename == part else old.read(entry), zipfile.ZIP_DEFLATED)
    return out.getvalue()
