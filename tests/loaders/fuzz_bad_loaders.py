"""Loaders that do what none may do, to see that the fuzzing notices."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from ragkit.loaders import LoadOptions, Report
from ragkit.types import Document

_GOOD = Document(text="good")
_kept: list[bytes] = []


def computes_forever(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    while True:
        pass


def waits_forever(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    time.sleep(1000)
    yield _GOOD


def takes_too_much(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    for _ in range(200):
        _kept.append(bytes(10_000_000))
    _kept.clear()
    yield _GOOD


def dies(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    os.abort()
    yield _GOOD


def raises_a_key_error(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    yield Document(text={"a": "b"}["c"])


def recurses(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    yield from recurses(path, options, report)


def makes_no_unicode(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    yield Document(text="a\ud800")


def reports_a_book(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    report("x" * 10_000)
    yield _GOOD


def warns(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    warnings.warn("a warning", stacklevel=1)
    yield _GOOD


def writes_inside(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    path.with_suffix(".new").write_text("x")
    path.with_suffix(".new").unlink()
    yield _GOOD


def writes_outside(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    Path("new").write_text("x")
    yield _GOOD


def reads_outside(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    Path("beside.txt").read_text()
    yield _GOOD


def reads_outside_in_c(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """As a library in C does it: nothing that Python's audit hooks see."""
    from lxml import etree

    parser = etree.XMLParser(load_dtd=True, resolve_entities=True, no_network=False)
    dtd = Path("beside.dtd").absolute()
    yield Document(text=etree.fromstring(f'<!DOCTYPE a SYSTEM "file://{dtd}"><a>&canary;</a>'.encode(), parser).text or "none")


def uses_the_network(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    socket.socket().close()
    yield _GOOD


def runs_a_program(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    os.system("true")
    yield _GOOD
