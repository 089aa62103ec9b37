"""What a model that speculates drafts an answer from, and where in the documents the text of its drafts stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.generation.speculative.report import Speculation
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


def traced(report: Speculation, blocks: Sequence[Block]) -> dict[str, Any]:
    """A report as plain JSON; runs that stand in a passage name its document and the characters there."""
    out = report.to_dict()
    for run, shown in zip(report.runs, out["runs"], strict=True):
        if run.passage is not None and run.at is not None:
            passage = blocks[run.passage].passage
            begin = passage.start + run.at
            shown |= {"document": passage.document, "from": begin, "to": begin + len(run.text)}
    return out
