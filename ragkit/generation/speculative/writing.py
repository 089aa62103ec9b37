"""One call's texts, written by drafts: what each row may quote as tokens, and a report for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from ragkit.generation.local.causal import CausalBatch
from ragkit.generation.local.decoding import Row, decode
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.speculative.decoding import speculate
from ragkit.generation.speculative.draft import Request
from ragkit.generation.speculative.presets import lossy_of
from ragkit.generation.speculative.report import OWN_LAW, Speculation
from ragkit.generation.speculative.reporting import Passages, Written, report_of
from ragkit.generation.speculative.speculator import Speculating, Speculator
from ragkit.generation.types import Sources

if TYPE_CHECKING:
    from ragkit.generation.local.model import LocalModel

SIDE_BY_SIDE = "several prompts at once are written without drafts: this model reads trees of tokens only a prompt at a time"
NOT_CITED = "not for cited answers: some of its words are a draft model's"


@dataclass
class _Text:
    """One prompt's passages as tokens, its drafts, and what they cost."""

    passages: list[list[int]]
    drafts: Speculating
    seconds: float = 0.0
    passes: int = 0
    note: str = ""


class SpeculativeWriting:
    """Writes the rows of one call; see `ragkit.generation.local.model.Writing`."""

    def __init__(
        self, speculator: Speculator, model: LocalModel, sequences: Sequence[Sequence[int]], sources: Sequence[Sources], sampling: Sampling
    ) -> None:
        self._speculator, self._tokens, self._name, self._sampling = speculator, model.tokens, model.name, sampling
        self._sequences, self._sources, self._rows = sequences, sources, dict[int, Row]()
        self._texts: list[_Text] = []
        for sequence, given in zip(sequences, sources, strict=True):
            passages = [model.tokens.continuing(p) for p in given.passages]
            short = None if given.short is None else model.encode(given.short)
            request = Request(
                sequence, passages, speculator.width, given.corpus, sampling, model.tokenizer, short, model.fingerprint, given.learn
            )  # fmt: skip
            self._texts.append(_Text(passages, speculator.begin(request)))

    def write(self, batch: CausalBatch, rows: Sequence[Row], numbers: Sequence[int], logprobs: bool) -> Iterator[None]:
        """Write rows to their ends; yields after every pass."""
        texts = [self._texts[i] for i in numbers]
        self._rows.update(zip(numbers, rows, strict=True))
        if len(rows) > 1 and not batch.net.reads_blocks:
            for text in texts:
                text.note = SIDE_BY_SIDE
            yield from decode(batch, rows, self._sampling, model=self._name, logprobs=logprobs)
            return
        began, before = perf_counter(), batch.passes
        steps = speculate(
            batch, rows, self._sampling, self._speculator, [t.drafts for t in texts], model=self._name, logprobs=logprobs
        )  # fmt: skip
        for first, _ in enumerate(steps):
            if not first:
                began, before = perf_counter(), batch.passes  # the prompt was read
            yield
        for text in texts:
            text.seconds, text.passes = perf_counter() - began, batch.passes - before

    def report(self, number: int) -> Speculation | None:
        """What came of a prompt's drafts."""
        text, row = self._texts[number], self._rows[number]
        if text.note:
            return Speculation(len(row.tokens), 0, 0, {}, (), (), {}, None, (text.note,), text=row.text)
        plain = self._speculator.costs(1).plain if len(self._texts) == 1 else None
        written = Written(self._sequences[number], row.tokens, row.text, text.passes, text.seconds)
        passages = Passages(self._sources[number].passages, text.passages, self._tokens.tokenizer)
        notes, lossless, law = self._law(row, text.drafts)
        return replace(report_of(text.drafts, written, passages, plain), notes=notes, lossless=lossless, law=law)

    def _law(self, row: Row, drafts: Speculating) -> tuple[tuple[str, ...], bool, str]:
        """(notes, whether the text is what would be written without drafts, what it follows)."""
        lossy = lossy_of(self._speculator.drafters)
        if lossy is None or row.guide is not None:  # what a constraint lets through is chosen by the model alone
            return (), True, OWN_LAW
        notes = [] if lossy.cited else [NOT_CITED]
        if drafts.alone:
            notes.append(f"{drafts.alone} of {drafts.tokens} tokens follow the model alone: the draft model reads no more")
        return tuple(notes), False, lossy.law
