"""Reports: what one text's drafts did, and where each run stands in the text and in the passage that it was copied from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.speculative.report import AcceptedRun, Speculation
from ragkit.generation.speculative.speculator import Speculating

_BROKEN = "�"


@dataclass(frozen=True)
class Passages:
    """Texts that may be quoted, and their tokens."""

    texts: Sequence[str]
    tokens: Sequence[Sequence[int]]
    tokenizer: Any


@dataclass(frozen=True)
class Written:
    """A text as it came to be.

    tokens   behind the prompt, without one that ended the text
    text     that was told of them: their own, or its beginning where a stop string cut it
    passes   after the prompt was read
    seconds  of these, drafting included
    """

    prompt: Sequence[int]
    tokens: Sequence[int]
    text: str
    passes: int
    seconds: float


def report_of(drafts: Speculating, written: Written, passages: Passages, plain: float | None) -> Speculation:
    """What drafts did for a text. plain: seconds of a pass without drafts, None where that can't be told"""
    seconds = {"passes": written.seconds - sum(drafts.seconds_by_source.values()), **drafts.seconds_by_source}
    saved = None if plain is None else plain * max(0, drafts.tokens - 1) - written.seconds
    runs = _placed(drafts.runs(len(written.tokens)), written, passages)
    return Speculation(
        len(written.tokens), written.passes, drafts.drafted, drafts.accepted, tuple(drafts.depths), runs, seconds, saved, text=written.text
    )  # fmt: skip


def _placed(runs: Sequence[AcceptedRun], written: Written, passages: Passages) -> tuple[AcceptedRun, ...]:
    """Runs of tokens with their text and places; a passage is named only where the text of a run stands in it word for word."""
    if not runs:
        return ()
    tokens, text = written.tokens, written.text
    writer = Detokeniser(passages.tokenizer, written.prompt)
    told = [writer.add(t) for t in tokens]
    told[-1] += writer.end()
    whole = "".join(told)
    ends = [min(e, len(text)) for e in accumulate(map(len, told), initial=0)] if whole.startswith(text) else None
    out = []
    for run in _joined(runs, tokens, passages.tokens):
        if ends is None:  # a constraint knows the text better than its tokens do
            said, offset = "".join(told[run.start : run.end]), None
        else:
            said, offset = text[ends[run.start] : ends[run.end]], ends[run.start]
        out.append(_found(replace(run, text=said, offset=offset), passages))
    return tuple(out)


def _joined(runs: Sequence[AcceptedRun], tokens: Sequence[int], passages: Sequence[Sequence[int]]) -> list[AcceptedRun]:
    """Runs of one passage with a token between them that stands between them in the passage too: each pass adds one of its own."""
    out: list[AcceptedRun] = []
    for run in runs:
        last = out[-1] if out else None
        if (
            last is not None
            and last.first is not None
            and last.passage is not None
            and (last.passage, last.end + 1) == (run.passage, run.start)
        ):
            place = last.first + last.end - last.start
            if run.first == place + 1 and passages[last.passage][place] == tokens[last.end]:
                out[-1] = replace(last, end=run.end)
                continue
        out.append(run)
    return out


def _found(run: AcceptedRun, passages: Passages) -> AcceptedRun:
    if run.passage is None or run.first is None:
        return run
    passage = passages.texts[run.passage]
    before = len(_decoded(passages.tokenizer, passages.tokens[run.passage][: run.first]))
    near = [at for at in (passage.find(run.text, max(0, before - 2)), passage.find(run.text)) if at >= 0]
    if not run.text or not near:
        return replace(run, passage=None, first=None)
    return replace(run, at=near[0])


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of tokens, less a character that is not whole at the end."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.rstrip(_BROKEN)
