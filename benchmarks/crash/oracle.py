"""What a collection must be after a crash, decided without trusting what it says of itself.

The content is compared with states (see `crash_operations`), and searches with brute force over the state: BM25 by its formula
in plain loops, vectors by one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.crash.operations import SPEC, State, written
from ragkit import Collection, Query
from ragkit.collection.manifest import parse
from ragkit.errors import NotACollectionError


@dataclass(frozen=True)
class Finding:
    """What a collection turned out to be.

    state     place of the state that it holds among those that it may hold; None where it holds none of them
    problem   "" or one of "corrupt" (does not open, or its check fails), "lost" (another content), "wrong" (a search answers wrongly)
    detail    the error, or what differs
    """

    state: int | None = None
    problem: str = ""
    detail: str = ""


def examine(folder: Path, allowed: Sequence[State], rng: Random, *, searches: int = 2) -> Finding:
    """Open a collection, check it, compare its content with the states that it may hold, and its answers with brute force."""
    try:
        collection = Collection.open(folder)
        detail = _damage(collection)
        content = {d.id: (d.text, d.meta) for d in collection}
        stored = collection.version.n_documents
    except NotACollectionError as error:
        return Finding(problem="lost", detail=str(error))
    except Exception as error:  # whatever it raises, the collection can't be read
        return Finding(problem="corrupt", detail=f"{type(error).__name__}: {error}")
    if detail:
        return Finding(problem="corrupt", detail=detail)
    held = next((n for n, state in enumerate(allowed) if stored == len(content) and content == _content(state)), None)
    if held is None:
        return Finding(problem="lost", detail=_difference(content, stored, allowed))
    try:
        wrong = _wrong_vectors(collection, allowed[held]) or _wrong_answers(collection, allowed[held], rng, searches)
    except Exception as error:  # a search that raises is a wrong answer
        wrong = f"{type(error).__name__}: {error}"
    return Finding(held, "wrong" if wrong else "", wrong)


def _damage(collection: Collection) -> str:
    report = collection.check()
    return "" if report.ok else f"check names {report.damaged}"


def _content(state: State) -> dict[str, tuple[str, dict[str, Any]]]:
    return {i: (w.text, {"group": w.group}) for i, n in state.items() for w in (written(i, n),)}


def _difference(content: dict[str, tuple[str, dict[str, Any]]], stored: int, allowed: Sequence[State]) -> str:
    found = [f"{stored} documents, {len(content)} ids"]
    for state in allowed:
        expected = _content(state)
        lacking, extra = expected.keys() - content.keys(), content.keys() - expected.keys()
        other = [i for i in expected.keys() & content.keys() if expected[i] != content[i]]
        found.append(
            f"against one of {len(expected)}: {len(lacking)} lacking {sorted(lacking)[:3]}, "
            f"{len(extra)} too many {sorted(extra)[:3]}, {len(other)} other {sorted(other)[:3]}"
        )
    return "; ".join(found)


def _wrong_vectors(collection: Collection, state: State) -> str:
    """The vector of every live document, by its row."""
    snapshot, base = collection.version, 0
    for view in snapshot.views:
        rows = np.flatnonzero(view.live) if view.live is not None else np.arange(view.columns.n_documents)
        ids = [view.columns.document_id(r) for r in rows.tolist()]
        expected = np.array([written(i, state[i]).vector for i in ids], np.float32)
        if len(ids) and not np.array_equal(snapshot.vectors("dense", base + rows), expected):
            return f"vectors of segment {view.entry.id} are not those that were given"
        base += view.columns.n_passages
    return ""


def _wrong_answers(collection: Collection, state: State, rng: Random, searches: int) -> str:
    if not state:
        return "an empty collection has hits" if len(collection.search("anything", using="bm25")) else ""
    ids = list(state)
    texts = {i: written(i, n).text.split() for i, n in state.items()}
    for _ in range(searches):
        one = rng.choice(ids)
        question = [*rng.sample(texts[one], 2), *(w for w in texts[one] if w.startswith("id"))]
        expected = bm25(texts, question)
        found = {h.id: h.score for h in collection.search(" ".join(question), k=len(ids), using="bm25")}
        if found.keys() != expected.keys() or any(abs(found[i] - s) > 1e-4 * s for i, s in expected.items()):
            return f"bm25 finds {sorted(found.items())[:5]} … for {question}, brute force {sorted(expected.items())[:5]} …"
        near = np.array(written(rng.choice(ids), state[one] + 1).vector, np.float32)
        table = np.array([written(i, n).vector for i, n in state.items()], np.float32)
        scores = (table / np.linalg.norm(table, axis=1, keepdims=True)) @ (near / np.linalg.norm(near))
        best = [ids[n] for n in np.argsort(-scores)[:10]]
        hits = [h.id for h in collection.search(Query("q", "", vectors={"v": near}), k=10, using="dense")]
        if hits != best:
            return f"dense finds {hits}, brute force {best}"
    return ""


def bm25(texts: dict[str, list[str]], question: Sequence[str]) -> dict[str, float]:
    """Lucene's BM25 of every text with a word of the question."""
    n, mean = len(texts), sum(map(len, texts.values())) / len(texts)
    scores: dict[str, float] = {}
    for word in question:
        tfs = {i: t.count(word) for i, t in texts.items() if word in t}
        idf = log(1 + (n - len(tfs) + 0.5) / (len(tfs) + 0.5))
        for i, tf in tfs.items():
            scores[i] = scores.get(i, 0.0) + idf * tf / (tf + SPEC.k1 * (1 - SPEC.b + SPEC.b * len(texts[i]) / mean))
    return scores


def orphans(folder: Path) -> list[str]:
    """Names in a collection's folder, after a commit, that no version in it names: files, and folders that hold none of its files."""
    manifests = sorted(folder.glob("manifest-*.json"))
    named = {n for path in manifests for n in parse(path, path.read_bytes()).files}
    own = {"CURRENT", "PURGED", "writer.lock", "writer.json", "segments", "deletes", "models", "staging"}
    own |= {p.name for p in manifests} | {f"models/{p.name}" for p in folder.glob("models/*")}
    parents = {parent.as_posix() for n in named for parent in Path(n).parents}
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    return sorted(names - named - own - parents)
