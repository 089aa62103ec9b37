"""What all commands share: how they open a collection, and how they speak."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragkit.errors import InputError, RagkitError

if TYPE_CHECKING:
    from ragkit.collection import Collection, SyncReport

_SHOWN = 10
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # what a terminal would obey


def emit(data: Any, text: str, as_json: bool) -> None:
    """One JSON document, or a text for people."""
    click.echo(_UNSAFE.sub(_escaped, json.dumps(_finite(data), ensure_ascii=False, allow_nan=False)) if as_json else shown(text))


def shown(text: str) -> str:
    """A text as people see it on a terminal: without what would steer that, for it may quote a document."""
    return _UNSAFE.sub("", text)


def _escaped(m: re.Match[str]) -> str:
    """The same character in JSON's own words, which leave some of them as they are."""
    return f"\\u{ord(m[0]):04x}"


def _finite(data: Any) -> Any:
    """The data with null for NaN and infinities, which JSON has no words for."""
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def notice(text: str) -> None:
    click.echo(shown(text), err=True)


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what goes wrong into one sentence on stderr and exit code 1; adds --json, --quiet and --debug."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("--quiet", is_flag=True, help="No progress and no notices.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def run(*args: Any, debug: bool, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (RagkitError, OSError) as exc:
            if debug:
                raise
            notice(f"ragkit: {' '.join(str(exc).split())}")
            sys.exit(1)

    return run


def report_sync(report: SyncReport, quiet: bool, *, files: bool = True) -> None:
    """Say on stderr what a sync did, if it did anything; with files, what it skipped and why."""
    if quiet or not (report.added or report.changed or report.removed or report.unchanged or report.skipped):
        return
    notice(str(report) + ("" if files or not report.skipped else " (ragkit index or sync say why)"))
    if not files:
        return
    for s in report.skipped[:_SHOWN]:
        notice(f"  skipped {s.path}: {s.reason}")
    if len(report.skipped) > _SHOWN:
        notice(f"  … and {len(report.skipped) - _SHOWN} more (--json lists all)")


def open_collection(path: Path, quiet: bool, *, allow_empty: bool = False) -> Collection:
    """A collection, or the synced collection of a documents folder; refuses one with nothing in it."""
    from ragkit.collection import open_folder

    collection = open_folder(path, progress=show_progress(quiet))
    done = collection.last_sync
    if done is not None and (done.skipped or done.added or done.changed or done.removed):
        report_sync(done, quiet, files=False)
    if not allow_empty:
        need_documents(collection, [path])
    return collection


def show_progress(quiet: bool) -> bool:
    """Bars are for people who watch."""
    return not quiet and sys.stderr.isatty()


def need_documents(collection: Collection, paths: Sequence[Path]) -> None:
    if not len(collection):
        skipped = len(collection.last_sync.skipped) if collection.last_sync else 0
        raise InputError(
            f"{', '.join(map(str, paths))} holds no readable documents ({skipped} files skipped); "
            "give a folder with text, Markdown, HTML, PDF, docx, JSONL or CSV files"
        )
