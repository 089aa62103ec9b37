"""Retrieval test sets in the layout of BEIR: documents, queries and the judgements of one split.

A folder holds ``corpus.jsonl``, ``queries.jsonl`` (either may be .gz) and ``qrels/<split>.tsv``. The
documents stay on disk and stream; queries and judgements are small and loaded. A file ``dataset.json`` may declare
``{"drop_self": true}``: the queries are documents themselves, and must not be counted as their own best hit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragkit.errors import InputError, LoadError
from ragkit.evaluation.trec import AnyPath, read_qrels
from ragkit.loaders.beir import beir_queries, load_beir
from ragkit.types import Document

DROP_SELF = frozenset({"arguana", "quora"})
"""Names of folders that hold BEIR sets whose queries are documents of the set (BEIR's protocol leaves them out)."""


@dataclass(frozen=True, repr=False)
class Dataset:
    """One split of a retrieval test set.

    name      the folder's name
    folder    where it lies
    queries   query id → text, all of the set, also those that this split does not judge
    qrels     query id → document id → grade
    split     the judgements' name: "test", "dev", "train"
    drop_self  whether a hit whose id is the query's id is to be left out, as the set declares: in its dataset.json, or
               by being one of BEIR's sets whose protocol asks for it, `DROP_SELF`
    """

    name: str
    folder: Path
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    split: str
    drop_self: bool = False

    def documents(self) -> Iterator[Document]:
        """The documents, streamed from disk: id, title, text, meta."""
        return load_beir(self.folder)

    def judged(self) -> dict[str, str]:
        """The queries to run: query id → text of those that this split judges, in the order of the judgements."""
        return {query: self.queries[query] for query in self.qrels}

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, split={self.split!r}, {len(self.qrels)} of {len(self.queries)} queries judged)"


def load_dataset(folder: AnyPath, split: str = "test") -> Dataset:
    """Open a folder in BEIR's layout.

    raises   InputError for a split that does not exist (naming those that do), a judged query without text, or a
             malformed judgement or dataset.json; LoadError for a file that can't be read
    """
    root = Path(folder)
    files = _splits(root)
    if split not in files:
        known = ", ".join(sorted(files)) or "none"
        raise InputError(f"{root} has no split {split!r} (no file qrels/{split}.tsv); it has: {known}")
    queries, qrels = beir_queries(root), read_qrels(files[split])
    for query in qrels:
        if query not in queries:
            raise InputError(f"{files[split]} judges query {query!r}, which the queries file of {root} does not hold")
    name = root.resolve().name
    return Dataset(name, root, queries, qrels, split, _declares_drop_self(root, name))


def _declares_drop_self(root: Path, name: str) -> bool:
    file = root / "dataset.json"
    if not file.is_file():
        return name.lower() in DROP_SELF
    try:
        declared = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise LoadError(f'{file} is no readable JSON ({exc}): write for example {{"drop_self": true}}') from exc
    drop_self = declared.get("drop_self", name.lower() in DROP_SELF) if isinstance(declared, dict) else None
    if not isinstance(drop_self, bool):
        raise InputError(f"{file} must hold an object whose drop_self is true or false, got {declared!r}")
    return drop_self


def _splits(root: Path) -> dict[str, Path]:
    """Name of each split and its file."""
    files = [*(root / "qrels").glob("*.tsv.gz"), *(root / "qrels").glob("*.tsv")]
    return {file.name.removesuffix(".gz").removesuffix(".tsv"): file for file in files}
