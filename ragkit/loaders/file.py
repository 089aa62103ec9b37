"""Reading one file: pick its loader, give the documents their ids and sources, and name the file in every error."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from dataclasses import replace

from ragkit.errors import LoadError
from ragkit.loaders.folder import SourceFile
from ragkit.loaders.options import DEFAULT, LoadOptions, Report
from ragkit.loaders.records import shortened
from ragkit.loaders.suffixes import loader_for
from ragkit.registry import resolve
from ragkit.types import Document

_log = logging.getLogger(__name__)


def iter_file(file: SourceFile, options: LoadOptions = DEFAULT, report: Report | None = None) -> Iterator[Document]:
    """The documents of one file, one after the other; errors, problems and ids are those of `load_file`."""
    name = loader_for(file.path)
    if name is None:
        raise LoadError(
            f"{file.relative}: no loader reads {file.path.suffix!r} files; convert it to text, Markdown, HTML or PDF, "
            "or leave it out (ragkit.loaders.suffixes() lists what is read)"
        )
    problems: list[str] = []

    def tell(reason: str) -> None:
        problems.append(reason)
        if report is None:
            _log.warning("%s: %s", file.relative, reason)
        else:
            report(reason)

    seen: set[str] = set()
    try:
        if not stat.S_ISREG(file.path.stat().st_mode):
            raise LoadError("not a regular file; give a file or a folder of files")
        for document in resolve("loaders", name)(file.path, options, tell):
            id = _id(file, document.id)
            if id in seen:
                tell(f"the id {shortened(id)!r} occurs a second time; its first document is kept")
                continue
            seen.add(id)
            yield replace(document, id=id, source=file.relative)
    except LoadError as exc:
        raise LoadError(f"{file.relative}: {exc}") from exc.__cause__
    except OSError as exc:
        raise LoadError(
            f"{file.relative}: the file can't be read ({exc.strerror or exc}); check that it exists and that you may read it"
        ) from exc
    if not seen:
        if not problems:
            raise LoadError(f"{file.relative}: the file is empty; there is nothing to index in it")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LoadError(f"{file.relative}: no document in it could be used: {problems[0]}{more}")


def load_file(file: SourceFile, options: LoadOptions = DEFAULT, report: Report | None = None) -> list[Document]:
    """The documents of one file, each with its id and source.

    A file that is one document has its relative path as id. A record has ``path#record id`` or, where it has no id,
    ``path#line``; the records of a file given by itself (`SourceFile.alone`) keep their own ids. Parts that can't be
    used, such as a bad line, are told to `report`, or logged without one; of two equal ids the first is kept.

    raises LoadError, naming the relative path, for an unknown suffix; a file that can't be read, is empty, too large,
    binary, encrypted or broken; one that is not valid in its encoding; and one in which no record can be used
    raises MissingDependencyError if the format needs a package that is not installed
    """
    return list(iter_file(file, options, report))


def _id(file: SourceFile, own: str) -> str:
    if not own:
        return file.relative
    if own.startswith("#"):  # a place inside the file, not a name that somebody chose
        return file.relative + own
    return own if file.alone else f"{file.relative}#{own}"
