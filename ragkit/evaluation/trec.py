"""Reads and writes judgements and runs in the formats of trec_eval, and BEIR's judgements; ``.gz`` too.

Judgements (qrels) are lines of four columns, ``query iteration document grade``, or BEIR's tab-separated
``query document grade`` under the header ``query-id corpus-id score``. A run is lines of six columns,
``query Q0 document rank score tag``; as in trec_eval the rank column is not read, the scores decide.
"""

from __future__ import annotations

import codecs
import gzip
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from ragkit.errors import InputError, LoadError
from ragkit.evaluation.order import ranking
from ragkit.run import Run, TextTable, order
from ragkit.types import Query

AnyPath = str | os.PathLike[str]
Number = TypeVar("Number", int, float)

_BEIR_HEADER = ["query-id", "corpus-id", "score"]


def read_qrels(path: AnyPath) -> dict[str, dict[str, int]]:
    """Query id → document id → grade, in the order of the file; grades may be negative.

    raises   InputError, naming file and line, for a line that does not fit or a document judged twice; LoadError
             for a file that can't be read
    """
    file = Path(path)
    qrels: dict[str, dict[str, int]] = {}
    beir: bool | None = None
    for number, line in _lines(file):
        fields = line.split(b"\t")
        if beir is None:
            beir = [field.strip().lower() for field in fields] == [name.encode() for name in _BEIR_HEADER]
            if beir:
                continue
        if beir:
            if len(fields) != 3:
                _refuse(file, number, f"has {len(fields)} tab-separated columns where query-id, corpus-id, score were wanted")
            query, document, grade = _text(file, number, fields)
        else:
            fields = line.split()
            if len(fields) != 4:
                _refuse(file, number, f"has {len(fields)} columns where 'query iteration document grade' or the BEIR header was wanted")
            query, _, document, grade = _text(file, number, fields)
        try:
            value = int(grade)
        except ValueError:
            _refuse(file, number, f"has the grade {grade!r} where a whole number was wanted")
        _insert(qrels, query, document, value, file, number)
    return qrels


def read_run(path: AnyPath) -> dict[str, dict[str, float]]:
    """Query id → document id → score, in the order of the file.

    raises   InputError, naming file and line, for a line that does not fit, a NaN score or a document ranked twice
             for a query; LoadError for a file that can't be read
    """
    file = Path(path)
    run: dict[str, dict[str, float]] = {}
    for number, line in _lines(file):
        fields = line.split()
        if len(fields) != 6:
            _refuse(file, number, f"has {len(fields)} columns where 'query Q0 document rank score tag' was wanted")
        query, _, document, _, score, _ = _text(file, number, fields)
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            _refuse(file, number, f"has the score {score!r} where a number was wanted")
        _insert(run, query, document, value, file, number)
    return run


def load_run(path: AnyPath, queries: Mapping[str, str], texts: Mapping[str, str]) -> Run:
    """A run file as a Run; see `Run.from_trec`."""
    table = read_run(path)
    # larger ids first, so that the law of order (ties by row) is the order of trec_eval (ties by the larger id)
    ids = sorted({document for hits in table.values() for document in hits}, reverse=True)
    row_of = {id: row for row, id in enumerate(ids)}
    names = list(dict.fromkeys((*queries, *table)))
    rows, scores, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [0]
    for name in names:
        hits = table.get(name, {})
        mine = np.fromiter((row_of[d] for d in hits), np.int64, len(hits))
        with np.errstate(over="ignore"):  # beyond the range of 32 bits scores tie at infinity, in trec_eval too
            values = np.fromiter(hits.values(), np.float64, len(hits)).astype(np.float32)
        best = order(values, mine)
        rows.append(mine[best])
        scores.append(values[best])
        counts.append(len(hits))
    source = TextTable(tuple(ids), tuple(texts.get(id, "") for id in ids))
    start = Run.of([Query(name, queries.get(name, "")) for name in names], source)
    return start.fill(np.cumsum(counts, dtype=np.int64), np.concatenate(rows), np.concatenate(scores), scale="rank")


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: AnyPath) -> None:
    """Write judgements: BEIR's format if the name ends in .tsv or .tsv.gz, else trec_eval's four columns.

    raises   InputError, before anything is written, for an id that would not be read back as it is
    """
    file = Path(path)
    beir = ".tsv" in file.suffixes[-2:]
    separators = "\t\r\n" if beir else " \t\r\n\v\f"
    lines = ["\t".join(_BEIR_HEADER)] if beir else []
    for query, judgements in qrels.items():
        _check("query id", query, separators)
        for document, grade in judgements.items():
            _check("document id", document, separators)
            lines.append(f"{query}\t{document}\t{grade:d}" if beir else f"{query} 0 {document} {grade:d}")
    _write(file, lines)


def write_run(run: Mapping[str, Mapping[str, float]], path: AnyPath, *, tag: str = "ragkit") -> None:
    """Write a run in six columns; scores in full precision, ranks from 1 in the order that trec_eval will see.

    raises   InputError, before anything is written, for an id or tag with white space, or a NaN score
    """
    separators = " \t\r\n\v\f"
    _check("tag", tag, separators)
    lines = []
    for query, hits in run.items():
        _check("query id", query, separators)
        for rank, document in enumerate(ranking(query, hits, "trec"), 1):
            _check("document id", document, separators)
            lines.append(f"{query} Q0 {document} {rank} {float(hits[document])!r} {tag}")
    _write(Path(path), lines)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1, without line end and byte order mark.

    Bytes, because str.split() would also split at the white space of other scripts, which may be part of an id.
    """
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error) as exc:
        raise LoadError(f"{file} can't be read ({exc}): check the path and that the file is whole") from exc


def _text(file: Path, number: int, fields: list[bytes]) -> list[str]:
    try:
        return [field.decode() for field in fields]
    except UnicodeDecodeError:
        _refuse(file, number, "is not UTF-8")


def _insert(table: dict[str, dict[str, Number]], query: str, document: str, value: Number, file: Path, number: int) -> None:
    if not query or not document:
        _refuse(file, number, "has an empty id")
    row = table.setdefault(query, {})
    if document in row:
        _refuse(file, number, f"names document {document!r} of query {query!r} a second time")
    row[document] = value


def _refuse(file: Path, number: int, what: str) -> NoReturn:
    raise InputError(f"{file}, line {number}, {what}")


def _check(what: str, text: str, separators: str) -> None:
    if not isinstance(text, str) or not text or text.startswith("\ufeff") or any(c in text for c in separators):
        raise InputError(
            f"the {what} {text!r} can't be written: it must be a string, not empty, without the white space that parts columns"
        )
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"the {what} {text!r} can't be written: it holds half of a surrogate pair, which UTF-8 can't express")


def _write(file: Path, lines: Iterable[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    file.write_bytes(gzip.compress(data, mtime=0) if file.suffix == ".gz" else data)  # no time stamp: equal runs, equal bytes
