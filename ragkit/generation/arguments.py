"""Arguments of a language model's calls, checked once for every backend that has no stricter check of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ragkit.errors import InputError
from ragkit.generation.types import Message, Prompt

FEATURES = ("next_token", "continuation", "constraint", "schema", "prefill", "seed", "logprobs")
"""What a language model can do beyond writing; see `ragkit.protocols.LanguageModel`."""

_ROLES = ("system", "user", "assistant")


def check_sampling(max_tokens: int, temperature: float, top_p: float, stop: Sequence[str]) -> None:
    """Raises InputError where a value makes no sense.

    >>> check_sampling(0, 0.0, 1.0, ())
    Traceback (most recent call last):
    ragkit.errors.InputError: max_tokens must be >= 1, got 0
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens must be >= 1, got {max_tokens}")
    if not temperature >= 0:
        raise InputError(f"temperature must be >= 0, got {temperature}")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, got {top_p}")
    if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
        raise InputError(f"stop must be a list of texts, none empty, got {stop!r}")


def check_prompt(prompt: Prompt, position: int = 0) -> str | list[Message]:
    """The prompt as text or as a list of messages; raises InputError naming its position where it is neither."""
    if isinstance(prompt, str):
        return prompt
    turns = list(prompt) if isinstance(prompt, Iterable) else []
    if not turns or not all(isinstance(t, Message) and t.role in _ROLES and isinstance(t.content, str) for t in turns):
        raise InputError(
            f"prompt {position} must be text or a list of Message(role, content), role one of {', '.join(_ROLES)}, got {prompt!r:.80}"
        )
    return turns


def check_prompts(prompts: Sequence[Prompt]) -> list[str | list[Message]]:
    """Each of a call's prompts as `check_prompt` gives it; raises InputError where a single prompt stands in place of a list.

    >>> check_prompts("Why?")
    Traceback (most recent call last):
    ragkit.errors.InputError: prompts must be a list of prompts; put a single one into a list, got 'Why?'
    """
    given = list(prompts) if isinstance(prompts, Iterable) and not isinstance(prompts, str | Message) else None
    if given is None or (given and isinstance(given[0], Message)):
        raise InputError(f"prompts must be a list of prompts; put a single one into a list, got {prompts!r:.80}")
    return [check_prompt(p, i) for i, p in enumerate(given)]


def is_begun(prompt: str | Sequence[Message]) -> bool:
    """True where the last turn is the assistant's: a beginning to go on from."""
    return not isinstance(prompt, str) and prompt[-1].role == "assistant"


def check_spellings(candidates: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Candidates of `next_token_logprobs`, each with all its spellings.

    >>> check_spellings([["A", " A"]])
    [('A', ' A')]
    """
    if isinstance(candidates, str) or any(isinstance(c, str) for c in candidates):
        raise InputError(f'each candidate must be a list of spellings, as ("A", " A"), got {candidates!r:.80}')
    made = [tuple(c) for c in candidates]
    for c in made:
        if not c or not all(isinstance(s, str) and s for s in c):
            raise InputError(f"each candidate must have at least one spelling, none empty, got {c!r:.80}")
    return made


def lacks(model: str, features: frozenset[str], feature: str, instead: str = "") -> InputError:
    """The error for a feature that a model doesn't have."""
    has = ", ".join(sorted(features)) or "none"
    return InputError(f"{model} lacks the feature {feature!r} (it has: {has})" + (f"; {instead}" if instead else ""))
