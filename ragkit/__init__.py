"""ragkit: retrieval-augmented generation in one process.

>>> import ragkit
>>> print(ragkit.open("docs/").ask("How does ragkit survive a crash?"))  # doctest: +SKIP

Names load when they are first used, so that ``import ragkit`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ragkit.offline import obey_environment, offline

if TYPE_CHECKING:
    from ragkit.chunking import Headings, Recursive, Sentences, Tokens
    from ragkit.collection import Collection, Snapshot, SyncReport
    from ragkit.collection import open_folder as open
    from ragkit.errors import RagkitError
    from ragkit.evaluation import evaluate
    from ragkit.hits import Hit, Hits
    from ragkit.indexes.bm25 import BM25
    from ragkit.run import Run
    from ragkit.stage import Identity, Retrieve, Stage
    from ragkit.text import Analyzer
    from ragkit.types import Answer, Citation, Document, Passage, Query, Span

__version__ = "0.1.0"

_LAZY = {
    "Analyzer": "ragkit.text:Analyzer",
    "Answer": "ragkit.types:Answer",
    "BM25": "ragkit.indexes.bm25:BM25",
    "Citation": "ragkit.types:Citation",
    "Collection": "ragkit.collection:Collection",
    "Document": "ragkit.types:Document",
    "Headings": "ragkit.chunking:Headings",
    "Hit": "ragkit.hits:Hit",
    "Hits": "ragkit.hits:Hits",
    "Identity": "ragkit.stage:Identity",
    "Passage": "ragkit.types:Passage",
    "Query": "ragkit.types:Query",
    "RagkitError": "ragkit.errors:RagkitError",
    "Recursive": "ragkit.chunking:Recursive",
    "Retrieve": "ragkit.stage:Retrieve",
    "Run": "ragkit.run:Run",
    "Sentences": "ragkit.chunking:Sentences",
    "Snapshot": "ragkit.collection:Snapshot",
    "Span": "ragkit.types:Span",
    "Stage": "ragkit.stage:Stage",
    "SyncReport": "ragkit.collection:SyncReport",
    "Tokens": "ragkit.chunking:Tokens",
    "evaluate": "ragkit.evaluation:evaluate",
    "open": "ragkit.collection:open_folder",
}

__all__ = [
    "Analyzer",
    "Answer",
    "BM25",
    "Citation",
    "Collection",
    "Document",
    "Headings",
    "Hit",
    "Hits",
    "Identity",
    "Passage",
    "Query",
    "RagkitError",
    "Recursive",
    "Retrieve",
    "Run",
    "Sentences",
    "Snapshot",
    "Span",
    "Stage",
    "SyncReport",
    "Tokens",
    "evaluate",
    "offline",
    "open",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        value = globals()[name] = getattr(import_module(module), attribute)
        return value
    raise AttributeError(f"module 'ragkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


obey_environment()
