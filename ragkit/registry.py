"""Names of parts: a built-in table of import strings, then entry points.

`resolve("indexes", "bm25")` gives the class; listing names imports nothing. A plug-in registers
under the entry-point group ``ragkit.<family>``: it adds names and never replaces one.
``RAGKIT_PLUGINS=0`` turns third parties off.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from ragkit.errors import MissingDependencyError, UnknownNameError

_SINGULAR = {"indexes": "index"}

BUILT_IN: dict[str, dict[str, str]] = {
    "indexes": {
        "bm25": "ragkit.indexes.bm25:BM25",
        "rank_bm25": "ragkit.indexes.rank_bm25:RankBM25",
        "dense": "ragkit.indexes.dense:Dense",
        "ngram": "ragkit.indexes.ngram:NGram",
        "token_ngram": "ragkit.indexes.ngram:TokenNGram",
        "word_ngram": "ragkit.indexes.ngram:WordNGram",
    },
    "chunkers": {
        "tokens": "ragkit.chunking:Tokens",
        "sentences": "ragkit.chunking:Sentences",
        "recursive": "ragkit.chunking:Recursive",
        "headings": "ragkit.chunking:Headings",
    },
    "loaders": {
        "text": "ragkit.loaders.text:load",
        "code": "ragkit.loaders.code:load",
        "markdown": "ragkit.loaders.markdown:load",
        "rst": "ragkit.loaders.rst:load",
        "html": "ragkit.loaders.html:load",
        "pdf": "ragkit.loaders.pdf:load",
        "docx": "ragkit.loaders.docx:load",
        "jsonl": "ragkit.loaders.jsonl:load",
        "csv": "ragkit.loaders.csv:load",
        "parquet": "ragkit.loaders.parquet:load",
    },
    "pipelines": {
        "hybrid": "ragkit.pipelines.hybrid:hybrid",
    },
    "readers": {
        "extractive": "ragkit.pipelines.extractive:Extractive",
        "llm": "ragkit.pipelines.answering:LLMReader",
    },
    "rerankers": {
        "cross_encoder": "ragkit.rerankers.cross_encoder:CrossEncoder",
        "listwise": "ragkit.rerankers.listwise:Listwise",
        "pairwise": "ragkit.rerankers.pairwise:Pairwise",
        "pointwise": "ragkit.rerankers.pointwise:Pointwise",
        "query_likelihood": "ragkit.rerankers.query_likelihood:QueryLikelihood",
        "set_based": "ragkit.rerankers.set_based:SetBased",
        "setwise": "ragkit.rerankers.setwise:Setwise",
        "single_token": "ragkit.rerankers.single_token:SingleToken",
    },
}


def _plugins(family: str) -> dict[str, EntryPoint]:
    if os.environ.get("RAGKIT_PLUGINS") == "0":
        return {}
    built_in = BUILT_IN.get(family, {})
    return {e.name: e for e in _entry_points(f"ragkit.{family}", tuple(sys.path)) if e.name not in built_in}


@lru_cache(maxsize=32)
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group; looked up once a search path, for a look-up reads the metadata of every package."""
    return tuple(entry_points(group=group))


def names(family: str) -> list[str]:
    """Sorted names of a family, plug-ins included; imports none of them."""
    return sorted({*BUILT_IN.get(family, {}), *_plugins(family)})


def resolve(family: str, name: str) -> Any:
    """The class or function registered under a name; raises UnknownNameError with near matches."""
    target = BUILT_IN.get(family, {}).get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    plugins = _plugins(family)
    if name in plugins:
        return plugins[name].load()
    raise UnknownNameError.near(_SINGULAR.get(family, family.removesuffix("s")), name, names(family))


def need(module: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional package at first use.

    Only absence of the package itself is translated: a broken one keeps its own traceback.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingDependencyError(f"{why} needs the package {module.partition('.')[0]!r}: pip install 'ragkit[{extra}]'") from exc
