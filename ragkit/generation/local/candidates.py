"""The tokens that candidates for a next token are spelled by."""

from __future__ import annotations

from collections.abc import Sequence

from ragkit.errors import InputError
from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.prompt_tokens import PromptTokens


def candidate_tokens(candidates: Sequence[Sequence[str]], tokens: PromptTokens, *, model: str, goes_on: bool) -> list[list[int]]:
    """The tokens of each candidate: of every spelling that is one token, cut by itself without anything added.

    goes_on  the candidate follows other text: where a tokenizer marks the beginnings of words ("▁A"), the spelling without the
             mark counts too, and " A" is the one with it
    model    its name, for the error
    raises   InputError naming a candidate of which no spelling is one token
    """
    out = []
    for candidate in candidates:
        found = sorted({token for spelling in candidate for token in _single(spelling, tokens, goes_on)})
        if not found:
            raise InputError(
                f"no spelling of the candidate {list(candidate)} is one token of {model!r}; give labels that are, as single letters"
            )
        out.append(found)
    return out


def _single(spelling: str, tokens: PromptTokens, goes_on: bool) -> set[int]:
    found: set[int] = set()
    alone = tokens.plain(spelling)
    if len(alone) == 1 and Detokeniser(tokens.tokenizer).add(alone[0]) == spelling:
        found.add(alone[0])
    after = tokens.continuing(spelling) if goes_on else []
    if len(after) == 1 and Detokeniser(tokens.tokenizer, tokens.plain("a\n")).add(after[0]) == spelling:
        found.add(after[0])
    return found
