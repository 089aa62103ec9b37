"""The way into transformers' own assisted generation: candidates of one's own for the loop that verifies them.

transformers has no argument for that. Its loop asks the model for what drafts, by a private method; here that method is replaced
on one model while one call begins. What is private is used in this file alone, and tried on a tiny model before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from ragkit.errors import InputError, MissingDependencyError
from ragkit.registry import need

_LOOP, _ASKED = "_assisted_decoding", "_get_candidate_generator"
_LOCKS: WeakKeyDictionary[Any, RLock] = WeakKeyDictionary()
_GUARD = Lock()
_TOKENS, _PROMPT, _WRITTEN = 64, 6, 30
"""That the tiny model knows, reads and writes."""


class Candidates(Protocol):
    """What transformers asks for drafts, and tells what became of them.

    requires_model_outputs  False: it is asked with the tokens alone
    """

    requires_model_outputs: bool

    def get_candidates(self, input_ids: Any) -> tuple[Any, None]:
        """All tokens so far (1, L) with drafted ones behind them; None for their logits says that they are guesses."""
        ...

    def update_candidate_strategy(self, input_ids: Any, scores: Any, num_matches: Any) -> None:
        """All tokens that are written now, and the processed logits (1, T, V) behind the last token before and each drafted one."""
        ...


class Sink(Protocol):
    """Where tokens go as they are written, as transformers' streamers."""

    def put(self, value: Any) -> None: ...
    def end(self) -> None: ...


def lock_of(model: Any) -> RLock:
    """Held while a model writes by candidates."""
    with _GUARD:
        return _LOCKS.setdefault(model, RLock())


def assisted(model: Any, candidates: Candidates, input_ids: Any, *, generation_config: Any, sink: Sink | None, **given: Any) -> Any:
    """What transformers' loop writes with these candidates; given: the rest of what it was called with."""
    with lock_of(model), _asking(model, candidates, generation_config):
        return getattr(type(model), _LOOP)(model, input_ids, generation_config=generation_config, streamer=sink, **given)


def check_route(model: Any) -> None:
    """Raise MissingDependencyError where this version of transformers has no such way, InputError where the model has its own."""
    transformers = need("transformers", extra="models", why="running a language model")
    mixin = transformers.GenerationMixin
    for name in (_LOOP, _ASKED):
        if not callable(getattr(mixin, name, None)):
            raise _unfit(f"its GenerationMixin has no {name}")
        if getattr(type(model), name) is not getattr(mixin, name):
            raise InputError(f"{type(model).__name__} has a {name} of its own, which can't be given drafts")
    _try(getattr(mixin, _LOOP), getattr(mixin, _ASKED))


@contextmanager
def _asking(model: Any, candidates: Candidates, generation_config: Any) -> Iterator[None]:
    """A model that names these candidates to the call with this configuration; other calls get what they would get."""

    before, usual = vars(model).get(_ASKED), getattr(model, _ASKED)

    def answer(**asked: Any) -> Any:
        return candidates if asked["generation_config"] is generation_config else usual(**asked)

    setattr(model, _ASKED, answer)
    try:
        yield
    finally:
        if before is None:
            delattr(model, _ASKED)
        else:
            setattr(model, _ASKED, before)


@lru_cache(maxsize=4)
def _try(loop: Any, asked: Any) -> None:
    """Raise MissingDependencyError unless a tiny model writes by right and wrong drafts what it writes without; once for these methods."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.autocast("cpu", enabled=False):
            torch.default_generator.manual_seed(0)
            wrong = _differences()
    except Exception as exc:
        raise _unfit(f"on a tiny model it failed ({type(exc).__name__}: {exc})") from exc
    if wrong:
        raise _unfit(f"on a tiny model {wrong}")


def _differences() -> str:
    """What went another way than it should; "" where nothing did."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=_TOKENS, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64,
        initializer_range=0.5, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).float().eval()
    how = {"do_sample": False, "max_new_tokens": _WRITTEN}
    prompt = torch.arange(3, 3 + _PROMPT)[None]
    right = model.generate(prompt, **how)[0].tolist()
    scripted, sink = _Scripted(right), _Kept()

    def by_script(model: Any, input_ids: Any, generation_config: Any, token_sink: Any = None, **given: Any) -> Any:
        return assisted(model, scripted, input_ids, generation_config=generation_config, sink=token_sink, **given)

    found = model.generate(prompt, custom_generate=by_script, token_sink=sink, **how)[0].tolist()
    if found != right:
        return "it wrote another text with drafts than without"
    if scripted.told != scripted.expected:
        return "it took other drafts than the right ones, or told of others than it took"
    if sink.tokens != right[_PROMPT:]:
        return "it streamed other tokens than it wrote"
    return f"it kept {_ASKED} for good" if _ASKED in vars(model) else ""


_SCRIPT: tuple[tuple[int, ...], ...] = ((), (1, 1, 1, 1), (0, 1), (1, 1, 0, 1))
"""Drafts of the tiny model's text, in turn: 1 for a right token, 0 for a wrong one."""


class _Scripted:
    """Drafts of a known text by the script. told: of each pass all tokens then written, and the rows of its logits"""

    requires_model_outputs = False

    def __init__(self, right: list[int]) -> None:
        self._right = right
        self.told: list[tuple[list[int], int]] = []

    @property
    def expected(self) -> list[tuple[list[int], int]]:
        """What must be told."""
        out: list[tuple[list[int], int]] = []
        done = _PROMPT
        while done < len(self._right):
            kinds = self._kinds(len(out), done)
            done += (kinds.index(0) if 0 in kinds else len(kinds)) + 1
            out.append((self._right[:done], len(kinds) + 1))
        return out

    def get_candidates(self, input_ids: Any) -> tuple[Any, None]:
        import torch

        done = input_ids.shape[1]
        draft = [t if good else (t + 1) % _TOKENS for t, good in zip(self._right[done:], self._kinds(len(self.told), done), strict=False)]
        return torch.cat((input_ids, input_ids.new_tensor([draft])), dim=1), None

    def update_candidate_strategy(self, input_ids: Any, scores: Any, num_matches: Any) -> None:
        self.told.append((input_ids[0].tolist(), scores.shape[1]))

    def _kinds(self, step: int, done: int) -> tuple[int, ...]:
        return _SCRIPT[step % len(_SCRIPT)][: len(self._right) - done - 1]


class _Kept:
    def __init__(self) -> None:
        self.tokens: list[int] = []

    def put(self, value: Any) -> None:
        self.tokens += value.reshape(-1).tolist()

    def end(self) -> None:
        """Nothing is held back."""


def _unfit(why: str) -> MissingDependencyError:
    transformers = need("transformers", extra="models", why="running a language model")
    return MissingDependencyError(
        f"transformers {transformers.__version__} can't be given drafts: {why}; "
        "write with ragkit.llm(…, speculate=…), which needs no such way, or install transformers 5.23"
    )
