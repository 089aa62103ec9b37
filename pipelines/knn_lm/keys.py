"""Keys of contexts: what a causal model puts into the feed-forward of its last layer at a context's last token.

In models that normalise before a feed-forward, as nearly all do, that is the normalised hidden state, the best of the places that
Khandelwal et al. have tried. In those that compute attention and feed-forward side by side, it has not seen the last layer's attention.

source  Khandelwal et al., Generalization through Memorization: Nearest Neighbor Language Models, ICLR 2020, section 5
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import GenerationError, InputError
from ragkit.generation.local.sampling import check_numbers
from ragkit.generation.local.transformers_model import TransformersModel

FEED_FORWARDS = ("mlp", "feed_forward", "ffn", "ff", "block_sparse_moe", "fc1")
"""What models of transformers call the feed-forward of a layer, or its first matrix."""

WINDOW, STRIDE = 512, 256


@dataclass(frozen=True)
class Span:
    """A window over a text: the tokens that it reads, and which of the text's tokens it tells about.

    read   from, to; before them stands the token that texts begin with, if there is one
    about  from, to, of the tokens that are foretold; they end one behind what is read
    """

    read: tuple[int, int]
    about: tuple[int, int]


def spans(n: int, *, begun: bool, window: int, stride: int) -> list[Span]:
    """Windows over n tokens, so that each but the first has at least window - stride tokens before those that it tells about.

    begun   a token that texts begin with stands before each; without one, nothing is told about a text's first token
    window  positions, at most; stride: tokens that each but the first tells about

    >>> [(s.read, s.about) for s in spans(10, begun=True, window=6, stride=3)]
    [((0, 5), (0, 6)), ((3, 8), (6, 9)), ((4, 9), (9, 10))]
    """
    out: list[Span] = []
    done = 0 if begun else 1
    while done < n:
        end = min(n, window if begun else window + 1) if not out else min(n, done + stride)
        first = max(0, end - window + (0 if begun else -1))
        out.append(Span((first, end - 1), (done, end)))
        done = end
    return out


class ContextKeys:
    """Reads texts and gives their contexts' keys.

    model   a causal one of transformers
    width   numbers of a key
    begin   the token that texts begin with; None: there is none
    raises  InputError where the feed-forward of the model's last layer is not found
    """

    def __init__(self, model: TransformersModel) -> None:
        self.model, self._net = model, model.net
        self._module = _last_feed_forward(model)
        self.width = model.net.hidden
        tokenizer = model.tokens.tokenizer
        self.begin: int | None = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id

    def watch(self, compute: Callable[[], Any]) -> tuple[Any, NDArray[np.float32]]:
        """What one forward pass gives, and the keys (R T, width) at all of its positions; raises GenerationError for no finite numbers."""
        with self._watched() as seen:
            out = compute()
        if len(seen) != 1:
            raise GenerationError(f"the last feed-forward of {self.model.name!r} ran {len(seen)} times in a pass; kNN-LM needs it once")
        keys: NDArray[np.float32] = seen[0].reshape(-1, seen[0].shape[-1]).float().cpu().numpy()
        if keys.shape[1] != self.width:
            raise GenerationError(
                f"the last feed-forward of {self.model.name!r} reads {keys.shape[1]} numbers, not the {self.width} of a layer"
            )
        if not np.isfinite(keys).all():
            raise GenerationError(
                f"the model {self.model.name!r} computed hidden states that are no finite numbers; its weights are broken"
            )
        return out, keys

    @contextmanager
    def _watched(self) -> Iterator[list[Any]]:
        seen: list[Any] = []
        with self._net.lock:  # a pass of another thread would be seen too
            hook = self._module.register_forward_pre_hook(
                lambda _, given, named: seen.append(given[0] if given else next(iter(named.values()))), with_kwargs=True
            )
            try:
                yield seen
            finally:
                hook.remove()

    def read(
        self, texts: Sequence[Sequence[int]], *, window: int, stride: int, batch_tokens: int
    ) -> Iterator[tuple[int, Span, NDArray[np.float32]]]:
        """(text, window, keys of the contexts of the tokens that the window tells about), in order; texts as tokens."""
        batch: list[tuple[int, Span, list[int]]] = []
        for number, text in enumerate(texts):
            for span in spans(len(text), begun=self.begin is not None, window=window, stride=stride):
                ids = self._ids(text, span)
                longest = max(len(ids), *(len(one) for _, _, one in batch)) if batch else len(ids)
                if batch and (longest * (len(batch) + 1) > batch_tokens or len(ids) < longest // 2):
                    yield from self._read(batch)
                    batch = []
                batch.append((number, span, ids))
        if batch:
            yield from self._read(batch)

    def score(self, text: Sequence[int], *, window: int, stride: int) -> Iterator[tuple[Span, NDArray[np.float32], NDArray[np.float64]]]:
        """(window, keys of the contexts, the model's log-probabilities (n,) of the tokens that the window tells about), in nats."""
        torch = self._net.torch
        for span in spans(len(text), begun=self.begin is not None, window=window, stride=stride):
            ids = torch.tensor([self._ids(text, span)], device=self._net.device)
            with torch.inference_mode():
                out, keys = self.watch(lambda given=ids: self._net.model(input_ids=given, use_cache=False))  # type: ignore[misc]
                n = span.about[1] - span.about[0]
                logits = out.logits[0, -n:].float()
                check_numbers(logits[None], [0], self.model.name)
                told = logits.log_softmax(-1)[range(n), list(text[slice(*span.about)])]
            yield span, keys[-n:], told.double().cpu().numpy()

    def _ids(self, text: Sequence[int], span: Span) -> list[int]:
        return [*([] if self.begin is None else [self.begin]), *map(int, text[slice(*span.read)])]

    def _read(self, batch: list[tuple[int, Span, list[int]]]) -> Iterator[tuple[int, Span, NDArray[np.float32]]]:
        """One pass; rows are padded behind their ends, where no token of theirs sees it."""
        torch = self._net.torch
        longest = max(len(ids) for _, _, ids in batch)
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for _, _, ids in batch], device=self._net.device)
        with torch.inference_mode():
            _, keys = self.watch(lambda: self._net.model.base_model(input_ids=padded, use_cache=False))
        rows = keys.reshape(len(batch), longest, -1)
        for (number, span, ids), row in zip(batch, rows, strict=True):
            yield number, span, row[len(ids) - (span.about[1] - span.about[0]) : len(ids)]


def check_window(model: TransformersModel, window: int, stride: int) -> None:
    """Raise InputError unless 0 < stride <= window, and the model reads so many tokens."""
    if not 0 < stride <= window:
        raise InputError(f"windows need 0 < stride <= window, got {stride} and {window}")
    if model.context is not None and window > model.context:
        raise InputError(f"{model.name!r} reads {model.context} tokens, got a window of {window}; give a smaller one")


def check_tokens(texts: Sequence[Sequence[int]], width: int) -> int:
    """The number of all tokens; raises InputError, naming the text, where one is none of so many."""
    for number, text in enumerate(texts):
        tokens = np.asarray(text)
        if len(tokens) and (tokens.dtype.kind not in "iu" or tokens.ndim != 1 or tokens.min() < 0 or tokens.max() >= width):
            raise InputError(f"text {number} is no list of tokens from 0 to {width - 1}; cut it with the model's tokenizer")
    return sum(map(len, texts))


def _last_feed_forward(model: TransformersModel) -> Any:
    net = model.net
    count = getattr(net.model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    stacks = [m for m in net.model.base_model.modules() if isinstance(m, net.torch.nn.ModuleList) and len(m) == count]
    kinds = " and ".join(dict.fromkeys(type(stack[-1]).__name__ for stack in stacks)) or "no stack of layers"
    for stack in stacks:
        found = [m for name in FEED_FORWARDS if (m := getattr(stack[-1], name, None)) is not None]
        if found:
            return found[0]
    raise InputError(
        f"the feed-forward of the last layer of {model.name!r} ({type(net.model).__name__}, made of {kinds}) is not among "
        f"{', '.join(FEED_FORWARDS)}; kNN-LM needs a transformer whose layers have one"
    )
