"""One call's texts, written by drafts: what each row may quote as tokens, and a report for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ragkit.generation.local.causal import CausalBatch
from ragkit.generation.local.decoding import Row, decode
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.speculative.decoding import speculate
from ragkit.generation.speculative.draft import Request
from ragkit.generation.speculative.presets import lossy_of
from ragkit.generation.speculative.report import OWN_LAW, AcceptedRun, Speculation
from ragkit.generation.speculative.speculator import Speculating, Speculator
from ragkit.generation.types import Sources

if TYPE_CHECKING:
    from ragkit.generation.local.model import LocalModel

SIDE_BY_SIDE = "several prompts at once are written without drafts: this model reads trees of tokens only a prompt at a time"
NOT_CITED = "not for cited answers: some of its words are a draft model's"
_BROKEN = "�"


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
        self._sources, self._rows = sources, dict[int, Row]()
        self._texts: list[_Text] = []
        for sequence, given in zip(sequences, sources, strict=True):
            passages = [model.tokens.continuing(p) for p in given.passages]
            short = None if given.short is None else model.encode(given.short)
            request = Request(sequence, passages, speculator.width, given.corpus, sampling, model.tokenizer, short, model.fingerprint)
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
            return Speculation(len(row.tokens), 0, 0, {}, (), (), {}, None, (text.note,))
        drafts = text.drafts
        plain = self._speculator.costs(1).plain if len(self._texts) == 1 else None
        seconds = {"passes": text.seconds - float(drafts.seconds.sum())}
        seconds |= {d.name: float(s) for d, s in zip(self._speculator.drafters, drafts.seconds, strict=True)}
        saved = None if plain is None else plain * max(0, drafts.tokens - 1) - text.seconds
        return Speculation(
            len(row.tokens), text.passes, drafts.drafted, drafts.accepted, tuple(drafts.depths),
            tuple(self._shown(run, row, number) for run in self._joined(drafts.runs(len(row.tokens)), row, number)), seconds, saved,
            *self._law(row, drafts),
        )  # fmt: skip

    def _law(self, row: Row, drafts: Speculating) -> tuple[tuple[str, ...], bool, str]:
        """(notes, whether the text is what would be written without drafts, what it follows)."""
        lossy = lossy_of(self._speculator.drafters)
        if lossy is None or row.guide is not None:  # what a constraint lets through is chosen by the model alone
            return (), True, OWN_LAW
        notes = [] if lossy.cited else [NOT_CITED]
        if drafts.alone:
            notes.append(f"{drafts.alone} of {drafts.tokens} tokens follow the model alone: the draft model reads no more")
        return tuple(notes), False, lossy.law

    def _joined(self, runs: Sequence[AcceptedRun], row: Row, number: int) -> list[AcceptedRun]:
        """Runs of one passage with a token between them that stands between them in the passage too: each pass adds one of its own."""
        out: list[AcceptedRun] = []
        for run in runs:
            last = out[-1] if out else None
            if last is not None and last.first is not None and last.passage == run.passage and run.start == last.end + 1:
                place = last.first + last.end - last.start
                passage = self._texts[number].passages[last.passage or 0]
                if run.first == place + 1 and passage[place] == row.tokens[last.end]:
                    out[-1] = replace(last, end=run.end)
                    continue
            out.append(run)
        return out

    def _shown(self, run: AcceptedRun, row: Row, number: int) -> AcceptedRun:
        """A run with its text, and where that stands in its passage; without one unless it stands there word for word."""
        tokenizer = self._tokens.tokenizer
        text = self._text(row.tokens[: run.end])[len(self._text(row.tokens[: run.start])) :]
        if run.passage is None or run.first is None:
            return replace(run, text=text)
        ids, passage = self._texts[number].passages[run.passage], self._sources[number].passages[run.passage]
        before = len(_decoded(tokenizer, ids[: run.first]))
        near = [at for at in (passage.find(text, max(0, before - 2)), passage.find(text)) if at >= 0]
        if not text or not near:
            return replace(run, text=text, passage=None, first=None)
        return replace(run, text=text, at=near[0])

    def _text(self, ids: Sequence[int]) -> str:
        return _decoded(self._tokens.tokenizer, ids)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of tokens, less a character that is not whole at the end."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.rstrip(_BROKEN)
