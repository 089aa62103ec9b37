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
    from ragkit.collection import Collection, Snapshot, SyncReport, estimate
    from ragkit.collection import open_folder as open
    from ragkit.encoders import encoder
    from ragkit.errors import RagkitError
    from ragkit.evaluation import Comparison, compare, evaluate
    from ragkit.evaluation.contamination import contamination
    from ragkit.filters import F
    from ragkit.generation import Message, llm
    from ragkit.generation.calling import CallableModel
    from ragkit.generation.speculative.report import Speculation
    from ragkit.hits import Hit, Hits
    from ragkit.indexes.bm25 import BM25
    from ragkit.indexes.dense import Dense
    from ragkit.indexes.ngram import SEAL, NGram, TokenNGram, WordNGram
    from ragkit.matches import Match, Matches
    from ragkit.pipelines.answering import LLMReader
    from ragkit.pipelines.feedback import RerankFeedback
    from ragkit.pipelines.fusion import interpolate, pool, rrf
    from ragkit.pipelines.hybrid import hybrid
    from ragkit.pipelines.iterative import IterativeRAG
    from ragkit.pipelines.phrases import Phrases
    from ragkit.pipelines.reorder import MMR, MinScore, PerDocument, Recency, TitleWeight
    from ragkit.pipelines.tuning import tune
    from ragkit.quotes import verify_quotes
    from ragkit.rerankers import (
        Consistent,
        CrossEncoder,
        Full,
        Listwise,
        Pairwise,
        Pointwise,
        QueryLikelihood,
        ResultCache,
        SetBased,
        Setwise,
        SingleToken,
        Sliding,
        TopDown,
    )
    from ragkit.run import Run
    from ragkit.stage import Identity, Retrieve, Stage
    from ragkit.text import Analyzer
    from ragkit.traces import Trace
    from ragkit.types import Answer, Citation, Document, Passage, Query, Span

__version__ = "0.1.0"

_LAZY = {
    "Analyzer": "ragkit.text:Analyzer",
    "Answer": "ragkit.types:Answer",
    "BM25": "ragkit.indexes.bm25:BM25",
    "CallableModel": "ragkit.generation.calling:CallableModel",
    "Citation": "ragkit.types:Citation",
    "Collection": "ragkit.collection:Collection",
    "Comparison": "ragkit.evaluation:Comparison",
    "Consistent": "ragkit.rerankers:Consistent",
    "CrossEncoder": "ragkit.rerankers:CrossEncoder",
    "Dense": "ragkit.indexes.dense:Dense",
    "Document": "ragkit.types:Document",
    "F": "ragkit.filters:F",
    "Full": "ragkit.rerankers:Full",
    "Headings": "ragkit.chunking:Headings",
    "Hit": "ragkit.hits:Hit",
    "Hits": "ragkit.hits:Hits",
    "Identity": "ragkit.stage:Identity",
    "IterativeRAG": "ragkit.pipelines.iterative:IterativeRAG",
    "LLMReader": "ragkit.pipelines.answering:LLMReader",
    "Listwise": "ragkit.rerankers:Listwise",
    "MMR": "ragkit.pipelines.reorder:MMR",
    "Match": "ragkit.matches:Match",
    "Matches": "ragkit.matches:Matches",
    "Message": "ragkit.generation:Message",
    "MinScore": "ragkit.pipelines.reorder:MinScore",
    "NGram": "ragkit.indexes.ngram:NGram",
    "Pairwise": "ragkit.rerankers:Pairwise",
    "Passage": "ragkit.types:Passage",
    "PerDocument": "ragkit.pipelines.reorder:PerDocument",
    "Phrases": "ragkit.pipelines.phrases:Phrases",
    "Pointwise": "ragkit.rerankers:Pointwise",
    "Query": "ragkit.types:Query",
    "QueryLikelihood": "ragkit.rerankers:QueryLikelihood",
    "RagkitError": "ragkit.errors:RagkitError",
    "Recency": "ragkit.pipelines.reorder:Recency",
    "Recursive": "ragkit.chunking:Recursive",
    "RerankFeedback": "ragkit.pipelines.feedback:RerankFeedback",
    "ResultCache": "ragkit.rerankers:ResultCache",
    "Retrieve": "ragkit.stage:Retrieve",
    "Run": "ragkit.run:Run",
    "SEAL": "ragkit.indexes.ngram:SEAL",
    "Sentences": "ragkit.chunking:Sentences",
    "SetBased": "ragkit.rerankers:SetBased",
    "Setwise": "ragkit.rerankers:Setwise",
    "SingleToken": "ragkit.rerankers:SingleToken",
    "Sliding": "ragkit.rerankers:Sliding",
    "Snapshot": "ragkit.collection:Snapshot",
    "Span": "ragkit.types:Span",
    "Speculation": "ragkit.generation.speculative.report:Speculation",
    "Stage": "ragkit.stage:Stage",
    "SyncReport": "ragkit.collection:SyncReport",
    "TitleWeight": "ragkit.pipelines.reorder:TitleWeight",
    "TokenNGram": "ragkit.indexes.ngram:TokenNGram",
    "Tokens": "ragkit.chunking:Tokens",
    "TopDown": "ragkit.rerankers:TopDown",
    "Trace": "ragkit.traces:Trace",
    "WordNGram": "ragkit.indexes.ngram:WordNGram",
    "compare": "ragkit.evaluation:compare",
    "contamination": "ragkit.evaluation.contamination:contamination",
    "encoder": "ragkit.encoders:encoder",
    "estimate": "ragkit.collection:estimate",
    "evaluate": "ragkit.evaluation:evaluate",
    "hybrid": "ragkit.pipelines.hybrid:hybrid",
    "interpolate": "ragkit.pipelines.fusion:interpolate",
    "llm": "ragkit.generation:llm",
    "open": "ragkit.collection:open_folder",
    "pool": "ragkit.pipelines.fusion:pool",
    "rrf": "ragkit.pipelines.fusion:rrf",
    "tune": "ragkit.pipelines.tuning:tune",
    "verify_quotes": "ragkit.quotes:verify_quotes",
}

__all__ = [
    "Analyzer",
    "Answer",
    "BM25",
    "CallableModel",
    "Citation",
    "Collection",
    "Comparison",
    "Consistent",
    "CrossEncoder",
    "Dense",
    "Document",
    "F",
    "Full",
    "Headings",
    "Hit",
    "Hits",
    "Identity",
    "IterativeRAG",
    "LLMReader",
    "Listwise",
    "MMR",
    "Match",
    "Matches",
    "Message",
    "MinScore",
    "NGram",
    "Pairwise",
    "Passage",
    "PerDocument",
    "Phrases",
    "Pointwise",
    "Query",
    "QueryLikelihood",
    "RagkitError",
    "Recency",
    "Recursive",
    "RerankFeedback",
    "ResultCache",
    "Retrieve",
    "Run",
    "SEAL",
    "Sentences",
    "SetBased",
    "Setwise",
    "SingleToken",
    "Sliding",
    "Snapshot",
    "Span",
    "Speculation",
    "Stage",
    "SyncReport",
    "TitleWeight",
    "TokenNGram",
    "Tokens",
    "TopDown",
    "Trace",
    "WordNGram",
    "compare",
    "contamination",
    "encoder",
    "estimate",
    "evaluate",
    "hybrid",
    "interpolate",
    "llm",
    "offline",
    "open",
    "pool",
    "rrf",
    "tune",
    "verify_quotes",
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
