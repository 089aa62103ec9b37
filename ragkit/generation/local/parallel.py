"""Set-based prompting: blocks of a prompt that don't see one another, so that their order can't matter.

Every block begins at the position where the prefix ends; the suffix begins behind the longest block and sees all of them.
source: McIlroy-Young et al., Order-Independence Without Fine Tuning, NeurIPS 2024. The parts are cut into tokens apart, for a
token across a border would tell the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.arguments import check_spellings
from ragkit.generation.local.candidates import candidate_tokens
from ragkit.generation.local.sampling import check_numbers
from ragkit.generation.types import Prompt, Scored
from ragkit.generation.usage import Usage
from ragkit.registry import need

if TYPE_CHECKING:
    from ragkit.generation.local.transformers_model import TransformersModel


def parallel_layout(prefix: int, blocks: Sequence[int], suffix: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Who sees whom, (T, T), and the position of each token, (T,), for parts of so many tokens in their order.

    >>> sees, positions = parallel_layout(1, [2, 1], 1)
    >>> positions.tolist()
    [0, 1, 2, 1, 3]
    >>> sees.astype(int).tolist()
    [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 1, 1]]
    """
    sizes = [prefix, *blocks, suffix]
    part = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.array([0, *[prefix] * len(blocks), prefix + max(blocks, default=0)])
    positions = starts[part] + np.concatenate([np.arange(n) for n in sizes])
    outside = (part == 0) | (part == len(sizes) - 1)
    same = (part[:, None] == part[None, :]) | outside[:, None] | outside[None, :]
    return same & np.tri(len(part), dtype=bool), positions.astype(np.int64)


def parallel_next_token_logprobs(
    model: TransformersModel, prompt: Prompt, slot: str, blocks: Sequence[str], candidates: Sequence[Sequence[str]]
) -> Scored:
    """See `TransformersModel.parallel_next_token_logprobs`."""
    net = model.net
    if not net.reads_blocks:
        attention = net.model.config._attn_implementation
        raise InputError(
            f"{model.name!r} can't read blocks side by side: that needs attention='eager' or 'sdpa' (it has {attention!r}) and layers that "
            "attend to all that is before them"
        )
    if not blocks or isinstance(blocks, str):
        raise InputError(f"blocks must be a list of at least one text, got {blocks!r}")
    spelled = candidate_tokens(check_spellings(candidates), model.tokens, model=model.name, goes_on=True)
    tokens = model.tokens
    head, tail = tokens.around(prompt, slot)
    middle = [tokens.continuing(b) for b in blocks]
    if not tail:
        raise InputError("the prompt must go on behind the slot, for the answer follows its last token; put at least one word there")
    ids = [*head, *(i for block in middle for i in block), *tail]
    model._fit(0, len(ids), 0)
    began = perf_counter()
    sees, positions = parallel_layout(len(head), [len(b) for b in middle], len(tail))
    logits = _forward(net, ids, sees, positions)
    check_numbers(logits, [0], model.name)
    logprobs = logits.log_softmax(-1)[0]
    out = np.array([[float(logprobs[t].max()) for t in spelled]], np.float32)
    return Scored(out, Usage(calls=1, passes=1, prompt_tokens=len(ids), seconds=perf_counter() - began))


def _forward(net: Any, ids: Sequence[int], sees: NDArray[np.bool_], positions: NDArray[np.int64]) -> Any:
    torch = need("torch", extra="models", why="running a language model")
    # added to the scores, in the model's precision: one of booleans would be added as 0 and 1 by eager attention
    lowest = torch.finfo(net.model.dtype).min
    mask = torch.from_numpy(np.where(sees, 0.0, lowest)).to(net.device, net.model.dtype)[None, None]
    given = [torch.tensor(a, device=net.device)[None] for a in (ids, positions.tolist())]
    return net.forward(given[0], None, mask, given[1], 1)[:, -1]
