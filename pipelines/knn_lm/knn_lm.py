"""KNNLanguageModel: a causal model that remembers, by the nearest contexts of a datastore, with speculation where searches are slow.

source  Khandelwal et al., Generalization through Memorization, ICLR 2020 (kNN-LM); Zhang et al., Accelerating Retrieval-Augmented
        Language Model Serving with Speculation, ICML 2024 (RaLMSpec: its speculation)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from time import perf_counter
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.arguments import check_sampling
from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.types import Prompt
from ragkit.generation.usage import Usage
from ragkit.pipelines.iterative.result import IterativeTrace
from ragkit.pipelines.iterative.scheduler import Scheduler
from ragkit.pipelines.knn_lm.cache import EntryCache
from ragkit.pipelines.knn_lm.datastore import TokenDatastore, causal
from ragkit.pipelines.knn_lm.fitting import Scored
from ragkit.pipelines.knn_lm.interpolation import Interpolation
from ragkit.pipelines.knn_lm.keys import STRIDE, WINDOW, ContextKeys, check_tokens, check_window
from ragkit.pipelines.knn_lm.loops import Request, plain, speculative
from ragkit.pipelines.knn_lm.result import KNNText
from ragkit.pipelines.knn_lm.writing import Text
from ragkit.protocols import LanguageModel
from ragkit.stage import check_k

HIGHEST_GAMMA = 0.95
"""More is not believed of a few rounds. Passages of `IterativeRAG` have a lower bound; tokens are guessed right far more often."""
_TOGETHER = 64
"""Contexts of a text that are searched for at once when it is scored."""


@dataclass(frozen=True)
class KNNLanguageModel:
    """A language model, mixed with what followed the nearest contexts in a datastore.

    datastore    of contexts that this model has read
    model        the causal model that it was built with, or its name as `ragkit.llm` takes it
    weight       lambda, of the neighbours' tokens, from 0 to 1
    tau          above 0: how fast a neighbour's weight falls with its squared distance, in `TokenDatastore.unit`
    farthest     squared distance of the nearest entry, in that unit, beyond which lambda is 0; None: any
    k            neighbours
    speculate    guess tokens by a local cache of entries, and verify several at once; the same text comes out. It pays where a search
                 takes longer than a token of the model, and one for several contexts little longer than for one. False: a search a token
    kept         nearest neighbours of each search that are put into the cache
    consecutive  entries behind each that are put there too
    steps        tokens of a round of speculation; None: as many as are fastest, by what the last rounds told

    `fit` finds weight, tau and farthest for texts of your own; the defaults are those of the paper, tau in a unit that suits any model.
    """

    datastore: TokenDatastore
    model: str | LanguageModel
    _: KW_ONLY
    weight: float = 0.25
    tau: float = 1.0
    farthest: float | None = None
    k: int = 1024
    speculate: bool = False
    kept: int = 64
    consecutive: int = 8
    steps: int | None = None
    _learnt: list[Scheduler] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._how()
        for name in ("k", "kept", *(() if self.steps is None else ("steps",))):
            check_k(getattr(self, name), name)
        if self.consecutive < 0:
            raise InputError(f"consecutive must be at least 0, got {self.consecutive}")

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> KNNText:
        """The text behind a prompt; arguments are those of `LanguageModel.generate`.

        raises  ContextOverflow where prompt and max_tokens are more than the model reads; InputError where the datastore is of another
                model, or where speculation is asked of one that can't forget what it has read
        """
        start = perf_counter()
        check_sampling(max_tokens, temperature, top_p, ())
        keys = self._keys()
        guesses = self.speculate and self.weight > 0  # else nothing is searched for
        if guesses and not keys.model.net.goes_back:
            raise InputError(f"{keys.model.name!r} has {keys.model.net.unforgetting} and can't take tokens back; use speculate=False")
        encoded = keys.model.encode(prompt)
        text = Text(keys, encoded, max_tokens=max_tokens, sampling=Sampling(temperature, top_p, seed), goes_back=guesses)
        request = Request(text, self.datastore, self._how(), self.k)
        if guesses:
            scheduler = deepcopy(self._learnt[-1]) if self._learnt else self._scheduler()
            cache = EntryCache(self.datastore, kept=self.kept, consecutive=self.consecutive)
            loop = speculative(request, cache, scheduler)
        else:
            loop = plain(request)
        for _ in loop:
            pass
        writer = Detokeniser(keys.model.tokens.tokenizer, encoded)
        spelled = "".join([*map(writer.add, text.tokens), writer.end()])
        if guesses:
            self._learnt[:] = [scheduler]
        return self._result(spelled, request, len(encoded), perf_counter() - start)

    def perplexity(self, texts: Sequence[Sequence[int]], *, window: int = WINDOW, stride: int = STRIDE) -> float:
        """exp of the mean negative log-probability of all tokens of some texts that have something before them; see `token_logprobs`."""
        told = [self.token_logprobs(text, window=window, stride=stride) for text in texts]
        if not sum(map(len, told)):
            raise InputError("there is no token to take a perplexity of; give at least one text with one")
        return float(np.exp(-np.concatenate(told).mean()))

    def token_logprobs(self, text: Sequence[int], *, window: int = WINDOW, stride: int = STRIDE) -> NDArray[np.float64]:
        """Log-probability, in nats, of each token of a text behind those before it; without the first, where nothing begins a text.

        text    tokens, without the one that texts begin with
        window  positions that are read at once; stride: tokens that each window but the first tells about
        """
        return self._scored([text], window, stride, k=self.k if self.weight > 0 else 0).mixed(self._how())

    def fit(self, texts: Sequence[Sequence[int]], *, window: int = WINDOW, stride: int = STRIDE) -> Self:
        """The same with the weight, tau and farthest that make some texts most likely; fit on other texts than those you measure.

        cost  the passes of the model, a search for each token, and 9 k bytes a token while it lasts
        """
        unit = self.datastore.unit
        found = self._scored(texts, window, stride, k=self.k).fit(unit)
        return replace(self, weight=found.weight, tau=found.tau / unit, farthest=None if found.farthest is None else found.farthest / unit)

    def _how(self) -> Interpolation:
        unit = self.datastore.unit
        return Interpolation(self.weight, self.tau * unit, None if self.farthest is None else self.farthest * unit)

    def _keys(self) -> ContextKeys:
        keys = ContextKeys(causal(self.model))
        self.datastore.check_made_with(keys.model)
        return keys

    def _scheduler(self) -> Scheduler:
        return Scheduler(asynchronous=False, steps=self.steps, highest=HIGHEST_GAMMA)

    def _scored(self, texts: Sequence[Sequence[int]], window: int, stride: int, *, k: int) -> Scored:
        keys = self._keys()
        check_window(keys.model, window, stride)
        check_tokens(texts, keys.model.net.width)
        k = min(k, len(self.datastore))
        parts: list[Scored] = [Scored(np.zeros(0), np.zeros((0, k)), np.zeros((0, k), np.bool_))]
        for text in texts:
            for span, queries, logprobs in keys.score(text, window=window, stride=stride):
                wanted = np.asarray(text[slice(*span.about)])
                for at in range(0, len(wanted), _TOGETHER):
                    here = slice(at, at + _TOGETHER)
                    found = self.datastore.search(queries[here], k)
                    right = self.datastore.values[found.entries] == wanted[here, None]
                    parts.append(Scored(logprobs[here], found.distances, right))
        return Scored(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("logprobs", "distances", "right")))

    def _result(self, spelled: str, request: Request, prompt: int, seconds: float) -> KNNText:
        text, times, rounds = request.text, request.times, tuple(request.rounds)
        guessed = bool(rounds)
        trace = IterativeTrace(
            mode="synchronous" if guessed else "plain",
            strides=len(text.tokens) + (text.finish == "stop"),
            discarded=request.discarded,
            searches=request.searches,
            retrievals=request.retrievals,
            cached=request.cached,
            passes=text.passes,
            seconds={**asdict(times), "waiting": times.searching, "total": seconds},
            rounds=rounds,
        )
        finish: Literal["stop", "length"] = text.finish or "length"
        usage = Usage(calls=1, passes=text.passes, prompt_tokens=prompt, generated_tokens=len(text.tokens), seconds=seconds)
        return KNNText(spelled, tuple(text.tokens), finish, trace, usage)
