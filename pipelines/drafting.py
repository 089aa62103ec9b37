"""What a model that speculates drafts an answer from, and where in the documents the text of its drafts stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.generation.speculative.report import AcceptedRun, Speculation
from ragkit.generation.types import Prompt, Sources
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.indexes.ngram.token_spec import TokenNGram
from ragkit.pipelines.context import Block
from ragkit.protocols import LanguageModel, SpeculatingModel
from ragkit.run import Run


def sources_of(model: SpeculatingModel, blocks: Sequence[Block], run: Run, short: Prompt | None = None) -> Sources:
    """The passages that are shown, and the collection that they are from, if it has an index of the model's tokens.

    short  the prompt with few of them
    """
    return Sources(tuple(b.passage.text for b in blocks), _corpus(run.source, model.tokenizer), short)


def check_citable(model: LanguageModel) -> None:
    """Raise InputError where a drafter changes what the model writes so that it may not be cited."""
    lossy = cast(SpeculatingModel, model).lossy if "speculation" in model.features else None
    if lossy is not None and not lossy.cited:
        raise InputError(
            f"the answers of {model.name!r} can't be cited, for its drafter, {lossy.name}, changes what is written; "
            "take the model without it to answer questions"
        )


def _corpus(source: Any, tokenizer: str) -> TokenNGramSearcher | None:
    if isinstance(source, Snapshot):
        for name in source.manifest.indexes:
            spec = source.spec(name)
            if isinstance(spec, TokenNGram) and spec.fingerprint == tokenizer and spec.structure == "suffix-array":
                searcher = source.searcher(name)
                return searcher if isinstance(searcher, TokenNGramSearcher) else None
    return None


def traced(report: Speculation, model: SpeculatingModel, blocks: Sequence[Block], run: Run) -> dict[str, Any]:
    """A report as plain JSON; runs that stand in a passage, of those shown or of the corpus, name its document and the characters there."""
    corpus = _corpus(run.source, model.tokenizer)

    def placed(copied: AcceptedRun) -> AcceptedRun:
        passage, at = None, None
        if copied.passage is not None:
            passage, at = blocks[copied.passage].passage, copied.at
        elif copied.first is not None and corpus is not None and (row := corpus.row_at(copied.first)) is not None:
            (passage,) = cast(Snapshot, run.source).passages(np.array([row]))
            at = passage.text.find(copied.text) if copied.text else -1
        if passage is None or at is None or at < 0:  # what goes on behind the end of its passage stands in none
            return copied
        return replace(copied, document=passage.document, begin=passage.start + at)

    return replace(report, runs=tuple(map(placed, report.runs))).to_dict()
