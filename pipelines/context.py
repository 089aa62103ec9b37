"""The context builder: from ranked passages to what a reader reads; order, budget and fences.

Overlapping passages of one section are joined, so that nothing is read twice and no sentence is cut where
two chunks overlap. Retrieved text is untrusted: the fenced form puts each passage between marks that hold
a random word, which no document can know, and labels it with its source.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from ragkit.chunking import count_tokens
from ragkit.errors import ShapeError
from ragkit.spec import validated
from ragkit.text import sentence_spans
from ragkit.types import Passage


@dataclass(frozen=True)
class Block:
    """One piece of a context: an exact span of a document with the score of the best passage in it."""

    passage: Passage
    score: float
    tokens: int


@dataclass(frozen=True)
class Context:
    """What a reader reads, in reading order."""

    blocks: tuple[Block, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all blocks, fences not counted."""
        return sum(b.tokens for b in self.blocks)

    def fenced(self, marker: str | None = None, *, best: int | None = None) -> str:
        """All blocks between marks, numbered from 1 and labelled with their sources.

        marker  the secret word of the marks; default a new random one, different from all text
        best    only so many, those with the best scores, under the numbers that they have among all
        """
        texts = [b.passage.text for b in self.blocks]
        secret = marker or secrets.token_hex(8)
        while marker is None and any(secret in text for text in texts):
            secret = secrets.token_hex(8)
        kept = sorted(sorted(range(len(self.blocks)), key=lambda n: -self.blocks[n].score)[:best])
        return "\n\n".join(_fence(n + 1, self.blocks[n].passage, secret) for n in kept)


@validated
class ContextBuilder:
    """Joins, orders and cuts the passages of one question.

    budget  at most this many tokens (words and marks, as the chunkers count them); None for all
    order   "rank": best first; "document": as they stand in their documents, best document first; "edges": best
            at both ends, where long-context models read best
    """

    budget: Annotated[int, Field(ge=1)] | None = None
    order: Literal["rank", "document", "edges"] = "rank"

    def build(self, passages: Sequence[Passage], scores: Sequence[float]) -> Context:
        """The context of ranked passages, best first; raises ShapeError unless there is a score for each."""
        if len(passages) != len(scores):
            raise ShapeError(f"{len(scores)} scores were given for {len(passages)} passages; give one each")
        joined = [Block(p, s, count_tokens(p.text)) for p, s in _join(passages, scores)]
        return Context(tuple(self._ordered(self._fitting(joined))))

    def _fitting(self, blocks: Sequence[Block]) -> list[Block]:
        """The best blocks that fit; one that does not is passed over, and only a first one is cut, at a sentence's end."""
        if self.budget is None:
            return list(blocks)
        chosen: list[Block] = []
        left = self.budget
        for block in blocks:
            kept = _cut(block, left) if not chosen else block
            if kept is not None and kept.tokens <= left:
                chosen.append(kept)
                left -= kept.tokens
        return chosen

    def _ordered(self, blocks: list[Block]) -> list[Block]:
        if self.order == "document":
            rank = {d: n for n, d in reversed(list(enumerate(b.passage.document for b in blocks)))}
            return sorted(blocks, key=lambda b: (rank[b.passage.document], b.passage.start))
        return blocks[::2] + blocks[1::2][::-1] if self.order == "edges" else blocks


def _join(passages: Sequence[Passage], scores: Sequence[float]) -> list[tuple[Passage, float]]:
    """Passages of one section that overlap or touch become one, at the rank and with the score of the best."""
    sections: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for n, p in enumerate(passages):
        sections.setdefault((p.document, p.headings), []).append(n)
    found: list[tuple[int, Passage]] = []
    for members in sections.values():
        rank, whole = -1, None
        for n in sorted(members, key=lambda n: (passages[n].start, passages[n].end)):
            p = passages[n]
            if whole is not None and p.start <= whole.end:
                more = p.text[whole.end - p.start :] if p.end > whole.end else ""
                rank, whole = min(rank, n), replace(whole, text=whole.text + more, end=max(whole.end, p.end))
            else:
                if whole is not None:
                    found.append((rank, whole))
                rank, whole = n, p
        if whole is not None:
            found.append((rank, whole))
    return [(p, float(scores[rank])) for rank, p in sorted(found, key=lambda f: f[0])]


def _cut(block: Block, budget: int) -> Block | None:
    """The first whole sentences that fit; None where not even one does."""
    if block.tokens <= budget:
        return block
    p = block.passage
    ends = [end for _, end in sentence_spans(p.text) if count_tokens(p.text[:end]) <= budget]
    if not ends:
        return None
    text = p.text[: ends[-1]]
    return Block(replace(p, text=text, end=p.start + len(text)), block.score, count_tokens(text))


def _fence(number: int, p: Passage, secret: str) -> str:
    label = json.dumps({"source": p.document, "title": p.title, **({"page": p.page} if p.page else {})}, ensure_ascii=False)
    return f"<passage {number} {secret} {label}>\n{p.text}\n</passage {number} {secret}>"
