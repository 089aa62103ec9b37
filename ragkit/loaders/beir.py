"""Folders in the layout of BEIR: corpus.jsonl and queries.jsonl, either gzipped.

Benchmarks stand or fall with their data, so nothing is passed over here: a line that can't be used is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.errors import InputError, LoadError
from ragkit.loaders.lines import lines, unencodable
from ragkit.loaders.records import is_too_deep, shortened
from ragkit.types import Document


def _find(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz") if p.is_file()), None)


def _need(folder: Path, stem: str) -> Path:
    path = _find(folder, stem)
    if path is None:
        raise LoadError(f"{folder}: no {stem}.jsonl or {stem}.jsonl.gz in it; give a folder in the layout of BEIR")
    return path


def is_beir(folder: Path) -> bool:
    """Whether a folder holds both a corpus and queries."""
    return _find(folder, "corpus") is not None and _find(folder, "queries") is not None


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, record without it) of each line; ids are unique and texts are strings."""
    seen: set[str] = set()
    for line in lines(path):
        where = f"{path}, line {line.number}"
        if line.problem:
            raise LoadError(f"{where}: {line.problem}")
        try:
            record = json.loads(line.text)
        except (ValueError, RecursionError) as exc:
            raise LoadError(f"{where}: not valid JSON ({exc}); fetch the file again") from exc
        if not isinstance(record, dict) or not isinstance(record.get("_id"), (str, int)) or not isinstance(record.get("text"), str):
            raise LoadError(f"{where}: an object with '_id' and 'text' was wanted; see the layout of BEIR")
        id = str(record.pop("_id"))
        if id in seen:
            raise InputError(f"{where}: the id {shortened(id)!r} occurs a second time; ids must be unique")
        if problem := _problem(id, record, line.text):
            raise LoadError(f"{where}: {problem}")
        seen.add(id)
        yield id, record
    if not seen:
        raise LoadError(f"{path}: the file is empty; fetch it again")


def _problem(id: str, record: dict[str, Any], line: str) -> str:
    """Why a record can't be stored, "" if it can."""
    if is_too_deep(record):
        return "its objects are nested too deep for metadata"
    escaped = "\\ud" in line.lower()  # the only way to half a surrogate pair in a line that is valid
    return unencodable(id) or (unencodable(json.dumps(record, ensure_ascii=False)) if escaped else "")


def load_beir(folder: Path) -> Iterator[Document]:
    """The documents of corpus.jsonl, one after the other, whole: id, title, text, and the rest as metadata.

    Documents with an empty text are kept, as the judgments count them.
    raises InputError, naming id and line, for a second document of one id; LoadError for any other line that does not fit
    """
    for id, record in _records(_need(folder, "corpus")):
        text, title, nested = record.pop("text"), record.pop("title", None), record.pop("metadata", None)
        if isinstance(nested, dict):
            record = {**nested, **record}
        meta = {k: v for k, v in record.items() if v is not None}
        yield Document(text=text, id=id, title=title if isinstance(title, str) else "", meta=meta)


def beir_queries(folder: Path) -> dict[str, str]:
    """{query id: text} of queries.jsonl, in its order; raises as `load_beir` does."""
    return {id: record["text"] for id, record in _records(_need(folder, "queries"))}
