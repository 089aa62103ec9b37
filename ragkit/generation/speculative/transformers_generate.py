"""Drafts in transformers' own `generate`: `model.generate(…, custom_generate=speculative_generate, drafter=…)`.

That loop verifies chains alone; of what drafters draft, trees included, the chain that brings most tokens a second is given to it.
`ragkit.llm(…, speculate=…)` verifies whole trees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from ragkit.errors import InputError
from ragkit.generation.local.causal import _moving_rope
from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.files import tokenizer_fingerprint
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.speculative.draft import Request, Verified
from ragkit.generation.speculative.fused import Fused
from ragkit.generation.speculative.plan import Plan
from ragkit.generation.speculative.presets import drafters_of
from ragkit.generation.speculative.reporting import Passages, Written, report_of
from ragkit.generation.speculative.speculator import Speculator
from ragkit.generation.speculative.transformers_route import Sink, assisted, check_route, lock_of
from ragkit.generation.types import Sources
from ragkit.protocols import Drafter, HiddenStateDrafter

if TYPE_CHECKING:
    from ragkit.generation.speculative.report import Speculation

_KNOWN: WeakKeyDictionary[Any, tuple[Any, Speculator]] = WeakKeyDictionary()
"""Of each model, what it last wrote with and what was learnt of that."""


def speculative_generate(
    model: Any,
    input_ids: Any,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    drafter: Literal["auto", "passages", "corpus"] | Drafter | Fused = "auto",
    sources: Sources | None = None,
    text_tokenizer: Any = None,
    token_sink: Sink | None = None,
    report: Callable[[Speculation], None] | None = None,
    **given: Any,
) -> Any:
    """For `custom_generate=` of a causal model of transformers; what `generate` gives without it, greedy texts token by token.

    drafter         as `speculate=` of `ragkit.llm`; of an object that is given again, what was learnt with the model is kept
    sources         what the text may quote
    text_tokenizer  the model's, for passages and reports: `tokenizer=` is kept by `generate` for itself
    token_sink      a streamer: `streamer=` would get the prompt and nothing else
    report          is told what drafts did, at the end
    given           what `generate` hands on

    Stop strings come as `stopping_criteria=[StopStringCriteria(tokenizer, […])]`, for `stop_strings=` needs `tokenizer=`. Criteria and
    logits processors are asked of drafted tokens too, and so must depend on nothing but the tokens, as transformers' own do.
    Drawn texts follow the same distribution as without drafts; with the same seed they are others.

    raises  InputError for what can't be written so, by name: more than one text at once, models and caches that can't forget tokens,
            drafters that change the text or draw their tokens; MissingDependencyError for a version of transformers that has no such way
    """
    drafters = drafters_of(drafter)
    _check_drafters(drafters)
    _check_call(model, input_ids, generation_config)
    _check_processors(logits_processor)
    _check_cache(model, generation_config, given)
    if text_tokenizer is None and (report is not None or (sources is not None and sources.passages)):
        raise InputError("passages and reports are text; give the model's tokenizer as text_tokenizer= (generate loses tokenizer=)")
    check_route(model)
    with lock_of(model):
        ends = _ends(generation_config)
        key = (drafter if isinstance(drafter, str) else tuple(map(id, drafters)), ends)
        speculator = _speculator(model, key, drafters, ends)
        sources = sources or Sources()
        tokens = PromptTokens(text_tokenizer).continuing if sources.passages else None
        passages = [tokens(p) for p in sources.passages] if tokens is not None else []
        request = Request(
            input_ids[0].tolist(), passages, speculator.width, sources.corpus, _sampling(generation_config),
            "" if text_tokenizer is None else tokenizer_fingerprint(text_tokenizer),
        )  # fmt: skip
        sink = _OneByOne(token_sink)
        drafting = _Drafting(speculator, request, generation_config, stopping_criteria, sink)
        if token_sink is not None:
            token_sink.put(input_ids.cpu())  # `generate` shows a streamer the prompt first
        out = assisted(
            model, drafting, input_ids, generation_config=generation_config, sink=sink if token_sink is not None else None,
            logits_processor=logits_processor, stopping_criteria=stopping_criteria, **given,
        )  # fmt: skip
        if report is not None:
            report(drafting.report(Passages(sources.passages, passages, text_tokenizer), ends))
        return out


class _Drafting:
    """Chains for one text; see `transformers_route.Candidates`."""

    requires_model_outputs = False

    def __init__(self, speculator: Speculator, request: Request, generation_config: Any, criteria: Any, sink: _OneByOne) -> None:
        self._drafts, self._costs = speculator.begin(request), speculator.costs(1)
        self._pace, self._sink = speculator.pace, sink
        self._pace.begin()
        self._name = speculator.drafters[0].name
        self._prompt, self._ids = request.prompt, list(request.prompt)
        self._longest = int(generation_config.max_length)
        self._stops = _stops(criteria, self._longest, _ends(generation_config))
        self._plan: Plan | None = None
        self._asks, self._plain = False, 0.0
        self._began = self._passing = self._first = self._last = 0.0
        self._passes = 0

    def get_candidates(self, input_ids: Any) -> tuple[Any, None]:
        self._began = perf_counter()
        if len(self._ids) == len(self._prompt):  # the pass over the prompt gives the first token without a draft
            return input_ids, None
        plain = self._costs.plain
        self._asks, self._plain = self._pace.drafts(plain), plain or 0.0
        last = self._ids[-1]
        plan = self._drafts.plan(last, self._longest - len(self._ids) - 1, self._costs) if self._asks else Plan.bare(last)
        if plan.laws:
            raise InputError(
                f"the drafter {self._name!r} draws its tokens, and here drafts are guesses; "
                "give one that guesses (drawn=False), or write with ragkit.llm(…, speculate=…)"
            )
        drafted = input_ids.new_tensor(plan.tokens[None, 1:])
        self._plan = plan = self._before_a_stop(input_ids, drafted, plan)
        self._passing, self._sink.seconds = perf_counter(), 0.0
        if len(plan) == 1:
            return input_ids, None
        return _behind(input_ids, drafted[:, : len(plan) - 1]), None

    def update_candidate_strategy(self, input_ids: Any, scores: Any, num_matches: Any) -> None:
        now = perf_counter()
        written = input_ids[0, len(self._ids) :].tolist()
        self._ids += written
        if self._plan is None:
            self._drafts.begin_with(written[0])
            self._first = self._last = perf_counter()
            return
        plan, self._passes = self._plan, self._passes + 1
        self._costs.add(len(plan), now - self._passing - self._sink.seconds)
        verified = Verified(written, plan.tokens, plan.parents, range(len(written)), scores[0])
        (self._drafts.observe if self._asks else self._drafts.skip)(plan, verified)
        self._last = perf_counter()
        if self._asks:
            self._pace.add(len(written), self._last - self._began - self._sink.seconds, self._plain)

    def report(self, passages: Passages, ends: frozenset[int]) -> Speculation:
        """What drafts did for the text, once it is written."""
        tokens = self._ids[len(self._prompt) :]
        if tokens and tokens[-1] in ends:
            tokens.pop()
        writer = Detokeniser(passages.tokenizer, self._prompt)
        text = "".join([*map(writer.add, tokens), writer.end()])
        written = Written(self._prompt, tokens, text, self._passes, self._last - self._first)
        return report_of(self._drafts, written, passages, self._costs.plain)

    def _before_a_stop(self, input_ids: Any, drafted: Any, plan: Plan) -> Plan:
        """The chain up to a token that would end the text: the loop asks whether to stop once a pass, of its last token alone."""
        if not self._stops:
            return plan
        whole, done = _behind(input_ids, drafted), input_ids.shape[1]
        for n in range(len(plan) - 1):
            if bool(self._stops(whole[:, : done + n + 1], None).any()):
                kept = n + 1
                return replace(
                    plan, tokens=plan.tokens[:kept], parents=plan.parents[:kept], depths=plan.depths[:kept], sees=plan.sees[:kept, :kept],
                    nodes=plan.nodes[:n],
                )  # fmt: skip
        return plan


class _OneByOne:
    """Hands tokens on one at a time, as `generate` does without drafts. seconds: that this took"""

    def __init__(self, sink: Sink | None) -> None:
        self._sink, self.seconds = sink, 0.0

    def put(self, value: Any) -> None:
        began = perf_counter()
        if self._sink is not None:
            for token in value.reshape(-1):
                self._sink.put(token[None])
        self.seconds += perf_counter() - began

    def end(self) -> None:
        if self._sink is not None:
            self._sink.end()


def _behind(input_ids: Any, drafted: Any) -> Any:
    import torch

    return torch.cat((input_ids, drafted), dim=1)


def _stops(criteria: Any, longest: int, ends: frozenset[int]) -> Any:
    """Criteria that a drafted token may fulfil: drafts are no longer than the text may be, and end tokens are not drafted."""
    from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList

    def heeded(one: Any) -> bool:
        if type(one) is MaxLengthCriteria:
            return bool(one.max_length >= longest)
        return type(one) is EosTokenCriteria and ends.issuperset(one.eos_token_id.tolist())

    return StoppingCriteriaList([one for one in criteria if not heeded(one)])


def _ends(generation_config: Any) -> frozenset[int]:
    """Tokens that end a text."""
    ends = getattr(generation_config, "_eos_token_tensor", None)
    return frozenset() if ends is None else frozenset(ends.reshape(-1).tolist())


def _sampling(generation_config: Any) -> Sampling:
    """How tokens are drawn, as far as a drafter can do the same."""
    if not generation_config.do_sample:
        return Sampling(0.0, 1.0, None)
    temperature, top_p = generation_config.temperature, generation_config.top_p
    return Sampling(1.0 if temperature is None else float(temperature), 1.0 if top_p is None else float(top_p), None)


def _speculator(model: Any, key: Any, drafters: tuple[Drafter, ...], ends: frozenset[int]) -> Speculator:
    """What was learnt of the model and its drafters, if it wrote with the same ones last."""
    known = _KNOWN.get(model)
    if known is None or known[0] != key:
        width = int(model.get_input_embeddings().weight.shape[0])
        known = _KNOWN[model] = (key, Speculator(drafters, width=width, ends=ends, trees=False))
    return known[1]


def _check_drafters(drafters: Sequence[Drafter]) -> None:
    for one in drafters:
        if not one.lossless:
            raise InputError(f"the drafter {one.name!r} changes what is written (lossless is False); give one that does not")
        if isinstance(one, HiddenStateDrafter):
            raise InputError(
                f"the drafter {one.name!r} goes by hidden states, which are not to be had here; write with ragkit.llm(…, speculate=…)"
            )


def _check_call(model: Any, input_ids: Any, generation_config: Any) -> None:
    name, mode = type(model).__name__, generation_config.get_generation_mode(None).value
    if len(input_ids) != 1:
        raise InputError(
            f"{len(input_ids)} texts were to be written at once (prompts times beams times num_return_sequences), "
            "and drafts are made for one; call generate for each"
        )
    if mode not in ("greedy_search", "sample", "assisted_generation"):
        raise InputError(f"drafts go with greedy search and sampling, not with {mode.replace('_', ' ')}; change the generation config")
    if model.config.is_encoder_decoder:
        raise InputError(f"{name} is an encoder-decoder model, and drafts go on from a prompt; give a causal model")
    if not input_ids.shape[1]:
        raise InputError("drafts go on from tokens, and there are none; give input_ids in place of inputs_embeds")


def _check_processors(processors: Any) -> None:
    """Raise InputError for those of transformers that remember each token that they were asked of, drafted ones included."""
    from transformers.generation import logits_process as known

    for one in processors:
        if isinstance(one, known.UnbatchedClassifierFreeGuidanceLogitsProcessor | known.SynthIDTextWatermarkLogitsProcessor):
            raise InputError(f"{type(one).__name__} remembers each token that it is asked of, and drafts may be wrong; leave it out")


def _check_cache(model: Any, generation_config: Any, given: dict[str, Any]) -> None:
    """Raise InputError unless tokens that were read and turned out wrong can be forgotten without a trace."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    name, implementation = type(model).__name__, generation_config.cache_implementation
    if model._is_stateful:
        raise InputError(f"{name} can't be given drafts: its recurrent layers can't forget tokens that were read and turned out wrong")
    if _moving_rope(model.config.get_text_config()):
        raise InputError(f"{name} can't be given drafts: its rotary embedding moves with the length, so that no token can be read ahead")
    if not given.get("use_cache"):
        raise InputError("drafts need the cache of keys and values; leave use_cache at True")
    if implementation not in (None, "dynamic"):
        raise InputError(f"drafts need a dynamic cache, and cache_implementation is {implementation!r}; leave it out")
    if generation_config.prefill_chunk_size is not None:
        raise InputError("transformers' loop for drafts reads the prompt whole; leave prefill_chunk_size out")
    cache = given.get("past_key_values")
    if cache is None:
        raise InputError(f"{name} keeps no cache that can forget tokens which were read and turned out wrong")
    others = sorted({type(layer).__name__ for layer in cache.layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__})
    if others:
        kind = type(cache).__name__
        raise InputError(f"drafts need a dynamic cache, and the {kind} given has layers {', '.join(others)}; give a DynamicCache")
    if held := cache.get_seq_length():  # that loop reads the whole prompt behind them once more, also with drafts of transformers' own
        raise InputError(f"the cache given holds {held} tokens, and transformers' loop for drafts can't go on from them; give an empty one")
