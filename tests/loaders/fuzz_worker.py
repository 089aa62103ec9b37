"""The process that loads damaged files: reads jobs, one a line of JSON, and answers with a line for each file.

python -m tests.loaders.fuzz_worker --write pdf 1234 folder/    # writes one input, to look at it
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.errors import InputError, LoadError
from ragkit.loaders import LoadOptions, beir_queries, load_beir, load_file
from ragkit.registry import BUILT_IN
from ragkit.types import Document
from tests.loaders.fuzz_cases import Case, attacks, mutated
from tests.loaders.fuzz_guard import MARK, Guard
from tests.loaders.fuzz_seeds import LOADERS, seeds
from tests.loaders.makers import source, write

_LONGEST_REASON = 2_000  # characters of what is reported about a file


def _read(folder: Path, loader: str, case: Case) -> tuple[list[Document], list[str]]:
    """The documents of a file that lies in the folder, and what was reported."""
    if loader == "beir":
        beir_queries(folder)
        return list(load_beir(folder)), []
    reasons: list[str] = []
    return load_file(source(folder / case.file_name), case.options, reasons.append), reasons


def _strings(value: object) -> Iterator[str]:
    """The strings in a value, those of its keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)


def _fault(documents: list[Document], reasons: list[str]) -> str:
    """What is wrong with the result of a load, "" if nothing is."""
    if not documents:
        return "no document and no error"
    seen: set[int] = set()  # strings that many documents share are looked at once
    for d in documents:
        if not isinstance(d, Document) or not isinstance(d.text, str) or not d.id:
            return f"no document: {d!r:.200}"
        for text in _strings([d.text, d.id, d.title, d.source, d.meta, list(d.headings)]):
            if id(text) in seen:
                continue
            seen.add(id(text))
            if MARK in text:
                return "its text holds a file beside the folder"
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                return f"a string that is not Unicode: {text!r:.200}"
    return _bad_reason(reasons)


def _bad_reason(reasons: list[str]) -> str:
    for reason in reasons:
        if len(reason) > _LONGEST_REASON or MARK in reason:
            return f"a reason of {len(reason):,} characters: {reason[:200]}"
        try:
            reason.encode("utf-8")
        except UnicodeEncodeError:
            return f"a reason that is not Unicode: {reason!r:.200}"
    return ""


def judge(guard: Guard, loader: str, case: Case) -> dict[str, Any]:
    """How one input ended: as "text", "reported", or "wrong" with what happened."""
    names = [case.file_name] if loader != "beir" else [case.file_name, case.file_name.replace("corpus", "queries")]
    for name in names:
        write(guard.folder, name, case.data)
    outcome, detail, found = "text", "", None
    with warnings.catch_warnings(record=True) as warned, guard.watching() as violations:
        warnings.simplefilter("always")
        start = time.process_time()
        try:
            found = _read(guard.folder, loader, case)
        except LoadError as exc:
            outcome, detail = "reported", _bad_reason([str(exc)])
        except InputError as exc:
            outcome, detail = "reported", _bad_reason([str(exc)]) if loader == "beir" else traceback.format_exc(limit=-6)
        except BaseException:
            detail = traceback.format_exc(limit=-6)
        seconds = time.process_time() - start
    if found is not None:
        detail = _fault(*found)
    detail = "; ".join([*filter(None, [detail]), *violations, *(f"warned: {w.message}" for w in warned)])
    for name in names:
        (guard.folder / name).unlink()
    return {"outcome": "wrong" if detail else outcome, "detail": detail, "seconds": seconds}


def main(root: Path, limits: dict[str, float]) -> None:
    """Answer the jobs of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    guard = Guard(root, int(limits["memory"]), limits["cpu"], limits["wall"], sys.stderr.buffer)
    for loader in LOADERS:  # imports are not part of any load
        for name, data in sorted(seeds(loader).items()):
            result = judge(guard, loader, Case(name, data, LoadOptions(), name))
            assert loader == "beir" or result["outcome"] == "text", (name, result)
    made: dict[str, dict[str, Case]] = {}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        loader = job["loader"]
        if job.get("stand_in"):
            BUILT_IN["loaders"][loader] = job["stand_in"]
        for key in job["cases"]:
            if isinstance(key, str) and loader not in made:
                made = {loader: attacks(loader, guard.outside, int(limits["size"]))}
            case = made[loader][key] if isinstance(key, str) else mutated(loader, key)
            result = judge(guard, loader, case)
            print(json.dumps({"how": case.how, **result}), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        case = mutated(sys.argv[2], int(sys.argv[3]))
        Path(sys.argv[4], case.file_name).write_bytes(case.data)
        print(case.how)
    else:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
