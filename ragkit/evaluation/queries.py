"""Reads files of queries: BEIR's JSON lines (``_id``, ``text``), or lines of ``id<TAB>text``; ``.gz`` too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from ragkit.errors import InputError, LoadError
from ragkit.evaluation.trec import AnyPath
from ragkit.loaders.lines import lines

_HEADERS = {"id", "_id", "qid", "query-id", "query_id"}


def read_queries(path: AnyPath) -> dict[str, str]:
    """Query id → text, in the order of the file.

    A file named .jsonl or .jsonl.gz holds one object a line; any other holds ``id<TAB>text``, and may begin with a
    header such as ``qid<TAB>query``.

    raises   InputError, naming file and line, for a line that does not fit or an id that occurs twice; LoadError for
             a file that can't be read
    """
    file = Path(path)
    as_json = file.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    queries: dict[str, str] = {}
    try:
        for line in lines(file):
            if line.problem:
                _refuse(file, line.number, line.problem)
            query, text = _object(file, line.number, line.text) if as_json else _columns(file, line.number, line.text)
            if not queries and not as_json and query.lower() in _HEADERS and text.lower() in ("query", "text", "title"):
                continue
            if query in queries:
                _refuse(file, line.number, f"holds the query id {query!r} a second time")
            queries[query] = text
    except (OSError, LoadError) as exc:
        raise LoadError(f"{file} can't be read ({exc}): check the path and that the file is whole") from exc
    return queries


def _object(file: Path, number: int, text: str) -> tuple[str, str]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as exc:
        _refuse(file, number, f"is not valid JSON ({exc})")
    if not isinstance(record, dict) or not isinstance(record.get("_id"), str | int) or not isinstance(record.get("text"), str):
        _refuse(file, number, "is not an object with '_id' and 'text'")
    return str(record["_id"]), record["text"]


def _columns(file: Path, number: int, text: str) -> tuple[str, str]:
    query, tab, words = text.partition("\t")
    if not tab or not query.strip():
        _refuse(file, number, "has no two tab-separated columns, where 'id<TAB>text' was wanted")
    return query.strip(), words.strip()


def _refuse(file: Path, number: int, what: str) -> NoReturn:
    raise InputError(f"{file}, line {number}, {what}")
