"""Prompts of LLM rerankers: templates with named fields, checked when they are made, printed by `show`.

A template is filled with a query and passages and gives the messages that are sent. Passages are scrubbed first
(`ragkit.rerankers.scrub`): nothing in a passage looks like an identifier or like a turn of the conversation.
Own wordings and those of published checkpoints stand in `ragkit.rerankers.templates` by name.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ragkit.errors import InputError
from ragkit.generation import Message, Prompt

Labels = Literal["numbers", "letters"]
LETTERS = string.ascii_uppercase


def labels_of(kind: Labels, n: int) -> tuple[str, ...]:
    """The first n identifiers; raises InputError for more than 26 letters.

    >>> labels_of("letters", 3), labels_of("numbers", 2)
    (('A', 'B', 'C'), ('1', '2'))
    """
    if kind == "letters" and n > len(LETTERS):
        raise InputError(f"{n} passages can't be told apart by {len(LETTERS)} letters; use a window of at most 26 or a prompt with numbers")
    return tuple(LETTERS[:n]) if kind == "letters" else tuple(str(i + 1) for i in range(n))


def spellings(label: str) -> tuple[str, ...]:
    """How a label may be written as a next token: as it stands, or after a space."""
    return (label, f" {label}")


@dataclass(frozen=True)
class Template:
    """Fields that all prompts have.

    system   the system's turn; "" for none
    prefill  how the answer begins: the model goes on from it
    raw      True for checkpoints that read plain text: the turns are put one after the other with no chat template
    """

    system: str = ""
    prefill: str = ""
    raw: bool = False
    known: ClassVar[Mapping[str, frozenset[str]]] = {}

    def __post_init__(self) -> None:
        for name, allowed in self.known.items():
            used = {found for _, found, _, _ in string.Formatter().parse(getattr(self, name)) if found is not None}
            if used - allowed:
                unknown, wanted = ", ".join(sorted(used - allowed)) or "''", ", ".join(sorted(allowed))
                raise InputError(f"the field {unknown} in `{name}` of a {type(self).__name__} is not known; it can hold {wanted}")

    def turns(self, user: str, prefill: bool) -> Prompt:
        """The messages around one user's turn; prefill: whether the answer's beginning is sent."""
        begin = self.prefill if prefill else ""
        if self.raw:
            return self.system + user + begin
        turns = [Message("system", self.system)] if self.system else []
        turns.append(Message("user", user))
        return [*turns, Message("assistant", begin)] if begin else turns

    def show(self) -> str:
        """The template as text, field by field."""
        return "\n".join(f"{f.name}: {getattr(self, f.name)!r}" for f in fields(self))


@dataclass(frozen=True)
class ListwisePrompt(Template):
    """Shows passages under identifiers and asks for an order, as "[2] > [1]".

    head, tail   before and after the passages; can hold {query} and {num}
    passage      one passage; can hold {label} and {text}
    labels       "numbers" or "letters"
    separator    between two identifiers of the answer
    """

    head: str = ""
    passage: str = "[{label}] {text}\n"
    tail: str = ""
    labels: Labels = "numbers"
    separator: str = " > "
    known: ClassVar[Mapping[str, frozenset[str]]] = {
        "head": frozenset({"query", "num"}),
        "passage": frozenset({"label", "text"}),
        "tail": frozenset({"query", "num"}),
    }

    def build(self, query: str, texts: Sequence[str], *, prefill: bool) -> Prompt:
        """The prompt for passages in their order."""
        names = labels_of(self.labels, len(texts))
        num = len(texts)
        shown = "".join(self.passage.format(label=name, text=text) for name, text in zip(names, texts, strict=True))
        return self.turns(self.head.format(query=query, num=num) + shown + self.tail.format(query=query, num=num), prefill)

    def marked(self, query: str, num: int) -> tuple[Prompt, str]:
        """The prompt with one mark in place of all passages, and that mark: for models that read passages side by side."""
        mark = secrets.token_hex(16)
        user = self.head.format(query=query, num=num) + mark + self.tail.format(query=query, num=num)
        return self.turns(user, prefill=True), mark


@dataclass(frozen=True)
class PointwisePrompt(Template):
    """Shows one passage and reads how probable each of some labels is as the next word.

    user         can hold {query}, {text} and {instruction}
    answers      the labels, each by its spellings
    grades       what each label is worth; two labels worth 1 and 0 give the difference of their logits, others the expected worth
    instruction  what is said where a query has no instruction of its own
    instructed   how an instruction is written where the template says {instruction}; nothing is written where there is none
    """

    user: str = ""
    answers: tuple[tuple[str, ...], ...] = (("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no"))
    grades: tuple[float, ...] = (1.0, 0.0)
    instruction: str = ""
    instructed: str = "{instruction}"
    known: ClassVar[Mapping[str, frozenset[str]]] = {
        "user": frozenset({"query", "text", "instruction"}),
        "instructed": frozenset({"instruction"}),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.answers) != len(self.grades) or len(self.answers) < 2:
            raise InputError(
                f"a pointwise prompt needs at least two labels and a grade for each, got {len(self.answers)} and {len(self.grades)}"
            )

    def build(self, query: str, text: str, instruction: str, *, prefill: bool) -> Prompt:
        """The prompt for one passage. An instruction for which the template has no field follows the query, after one space."""
        if "{instruction}" in self.user:
            said = instruction or self.instruction
            written = self.instructed.format(instruction=said) if said else ""
            user = self.user.format(query=query, text=text, instruction=written)
        else:
            user = self.user.format(query=with_instruction(query, instruction), text=text)
        return self.turns(user, prefill)


@dataclass(frozen=True)
class PairwisePrompt(Template):
    """Shows two passages and reads which label is the more probable next word.

    user     can hold {query}, {first} and {second}
    answers  spellings of the label that means the first passage, then of the other
    """

    user: str = ""
    answers: tuple[tuple[str, ...], tuple[str, ...]] = (("A", " A"), ("B", " B"))
    known: ClassVar[Mapping[str, frozenset[str]]] = {"user": frozenset({"query", "first", "second"})}

    def build(self, query: str, first: str, second: str, *, prefill: bool) -> Prompt:
        """The prompt for two passages in this order."""
        return self.turns(self.user.format(query=query, first=first, second=second), prefill)


def with_instruction(query: str, instruction: str) -> str:
    """A query and its instruction in one text, as FollowIR joins them: after one space.

    >>> with_instruction("pumps", "Only those made of steel.")
    'pumps Only those made of steel.'
    """
    return f"{query} {instruction}" if instruction else query
