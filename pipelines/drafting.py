"""What a model that speculates drafts an answer from, and where in the documents the text of its drafts stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ragkit.collection.snapshot import Snapshot
from ragkit.generation.speculative.report import AcceptedRun, Speculation
from ragkit.generation.types import Sources
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.indexes.ngram.token_spec import TokenNGram
from ragkit.pipelines.context import Block
from ragkit.protocols import SpeculatingModel
from ragkit.run import Run


def sources_of(model: SpeculatingModel, blocks: Sequence[Block], run: Run) -> Sources:
    """The passages that are shown, and the collection that they are from, if it has an index of the model's tokens."""
    return Sources(tuple(b.passage.text for b in blocks), _corpus(run.source, model.tokenizer))


def _corpus(source: Any, tokenizer: str) -> TokenNGramSearcher | None:
    if isinstance(source, Snapshot):
        for name in source.manifest.indexes:
            spec = source.spec(name)
            if isinstance(spec, TokenNGram) and spec.fingerprint == tokenizer and spec.structure == "suffix-array":
                searcher = source.searcher(name)
                return searcher if isinstance(searcher, TokenNGramSearcher) else None
    return None


def traced(report: Speculation, blocks: Sequence[Block]) -> dict[str, Any]:
    """A report as plain JSON; runs that stand in a passage name its document and the characters there."""
    return replace(report, runs=tuple(_in_document(run, blocks) for run in report.runs)).to_dict()


def _in_document(run: AcceptedRun, blocks: Sequence[Block]) -> AcceptedRun:
    if run.passage is None or run.at is None:
        return run
    passage = blocks[run.passage].passage
    return replace(run, document=passage.document, begin=passage.start + run.at)
