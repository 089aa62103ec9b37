"""Local language models on transformers and torch: `load_transformers` by name, `TransformersModel` around a causal model.

Text is written by ragkit's own loop over the model's forward pass (`decoding`), in padded batches (`causal`); what prompts
share at their beginnings is computed once (`prefix`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ragkit.errors import InputError
from ragkit.generation.local.batches import most_rows, plan
from ragkit.generation.local.causal import CausalBatch, CausalNet
from ragkit.generation.local.files import context_of, end_tokens, fingerprint_of_objects, load_files
from ragkit.generation.local.model import LocalModel, Opened, Writing, read_usage
from ragkit.generation.local.parallel import parallel_next_token_logprobs
from ragkit.generation.local.prefix import SHORTEST, KeptPrefix, Prefix, common_prefix, pays
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.sampling import Sampling, check_numbers
from ragkit.generation.speculative.presets import Speculate, lossy_of, speculator_of
from ragkit.generation.types import Prompt, Scored, Sources
from ragkit.generation.usage import Usage
from ragkit.protocols import LanguageModel

_KEPT_TOKENS = 16384
_ROOM = 256
"""Tokens to be written that room is taken for at first."""


def load_transformers(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    context: int | None = None,
    batch_tokens: int = 8192,
    prefix_cache: bool | int = True,
    chat_template: str | None = None,
    attention: str = "sdpa",
    speculate: Speculate = False,
    allow_lossy: bool = False,
) -> LanguageModel:
    """A language model from a folder or the hub (fetched only where the network is allowed), causal or encoder-decoder.

    device         "auto": a GPU where there is one
    dtype          "auto": float32 on a CPU, else what the weights are stored in
    context        tokens that it reads and writes at most; None: what its configuration says
    batch_tokens   of a forward pass, padding included
    prefix_cache   see `TransformersModel`; encoder-decoder models have none
    chat_template  in place of the tokenizer's own
    attention      implementation of transformers: "sdpa", "eager", "flash_attention_2"
    speculate      see `TransformersModel`, as for allow_lossy; encoder-decoder models can't
    raises         InputError or OfflineError where the model is not there or not of that kind; never runs code that comes with a
                   model, and reads no weights but safetensors
    cost           one read of the weights for the fingerprint beside the loading itself

    In float32 on a CPU the weights are packed (`packed.pack`), so that transformers can't train or save the model any more.
    """
    from ragkit.generation.local.packed import pack

    model, tokenizer, fingerprint = load_files(name, device=device, dtype=dtype, attention=attention)
    model = pack(model)
    settings: dict[str, Any] = {"name": name, "fingerprint": fingerprint, "context": context}
    settings.update(batch_tokens=batch_tokens, chat_template=chat_template)
    if model.config.is_encoder_decoder:
        from ragkit.generation.local.seq2seq_model import Seq2SeqModel

        if speculate not in (False, "auto"):
            raise InputError(f"{name!r} is an encoder-decoder model, which can't speculate; leave speculate at False")
        return Seq2SeqModel(model, tokenizer, **settings)
    return TransformersModel(model, tokenizer, prefix_cache=prefix_cache, speculate=speculate, allow_lossy=allow_lossy, **settings)


class TransformersModel(LocalModel):
    """A causal language model of transformers; safe to share between threads (its passes run one at a time).

    model          of transformers, on its device; put into evaluation mode
    tokenizer      of transformers
    fingerprint    None: a hash of configuration, weights and tokenizer
    context        tokens that it reads and writes at most; None: what its configuration says
    batch_tokens   of a forward pass, padding included; the positions that a batch keeps are four times as many at most
    prefix_cache   tokens kept of what the last prompts began with, for the next call; True: 16,384; 0 or False: a call's own
                   prompts don't share their beginning either
    chat_template  in place of the tokenizer's own; part of the fingerprint then
    speculate      write several tokens a pass where drafts of them are right, with the same text: "passages" drafts from the prompt, the
                   text itself and the passages that a call brings; "corpus" from an index that it brings too; "auto" from what the model
                   held probable before as well; a drafter, or several as `Fused(a, b)`; False: a token a pass
    allow_lossy    let through a drafter that changes what is written (`RAPID`, `Judge`); reports name the law that texts follow then

    A `str` prompt is cut into tokens as it stands, behind what the tokenizer begins a text with; a list of messages goes through
    the chat template, or where there is none through ``"System: …\\n\\nUser: …\\n\\nAssistant:"``. A control token that is spelled
    in a message is read as ordinary text.

    Models with sliding windows share no beginnings; recurrent ones, and those whose rotary embedding moves with the
    length, are computed a prompt at a time. Where it grows with the length (dynamic), nothing is read beyond what the configuration says.
    """

    features = frozenset({"next_token", "continuation", "constraint", "schema", "prefill", "seed", "logprobs", "parallel"})
    _goes_on = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        fingerprint: str | None = None,
        context: int | None = None,
        batch_tokens: int = 8192,
        prefix_cache: bool | int = True,
        chat_template: str | None = None,
        speculate: Speculate = False,
        allow_lossy: bool = False,
    ) -> None:
        self.net = CausalNet(model)
        known = context_of(model)
        super().__init__(
            PromptTokens(tokenizer, chat_template),
            name=name,
            fingerprint=fingerprint or fingerprint_of_objects(model, tokenizer),
            context=min(context or known, known) if known else context,
            batch_tokens=batch_tokens,
            ends=end_tokens(model, tokenizer),
            width=self.net.width,
        )
        self._kept = KeptPrefix(_KEPT_TOKENS if prefix_cache is True else int(prefix_cache))
        if not self.net.reads_blocks:
            self.features = self.features - {"parallel"}
        self._shares = self.net.reusable and self._kept.limit > 0
        self._speculate(speculate, allow_lossy)

    def drafting(self, speculate: Speculate, *, allow_lossy: bool = False) -> TransformersModel:
        """The same model, its weights shared, with other drafts."""
        made = copy.copy(self)
        made._speculate(speculate, allow_lossy)
        return made

    def _speculate(self, speculate: Speculate, allow_lossy: bool) -> None:
        self._speculator = speculator_of(self, speculate, allow_lossy=allow_lossy)
        self.lossy = None if self._speculator is None else lossy_of(self._speculator.drafters)
        self.features = self.features - {"speculation"} | ({"speculation"} if self._speculator is not None else set())

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        """See `LanguageModel.continuation_logprobs`; a continuation is cut into tokens by itself, as one that goes on from other text."""
        sequences = self._sequences(prompts, 0)
        if len(sequences) != len(continuations):
            raise InputError(f"{len(continuations)} continuations were given for {len(sequences)} prompts; give one each")
        ends = [self.tokens.continuing(text) for text in continuations]
        if not all(ends):
            raise InputError("a continuation is empty; give at least one word")
        whole = [[*s, *e[:-1]] for s, e in zip(sequences, ends, strict=True)]
        for i, one in enumerate(whole):
            self._fit(i, len(one) + 1, 0)
        out = np.empty((len(whole), 1), np.float32)
        usage, began = Usage(), perf_counter()
        for opened in self._open(whole, 0, [len(e) for e in ends]):
            targets = [ends[i] for i in opened.numbers]
            logits = opened.batch.start(max(map(len, targets)))
            check_numbers(logits, opened.numbers, self.name)
            for row, (i, target) in enumerate(zip(opened.numbers, targets, strict=True)):
                logprobs = logits[row, -len(target) :].log_softmax(-1)
                out[i, 0] = float(logprobs[range(len(target)), target].mean())
            usage += Usage(passes=opened.passes + opened.batch.passes, cached_tokens=sum(opened.saved))
        return Scored(out, usage + read_usage(whole, perf_counter() - began))

    def parallel_next_token_logprobs(self, prompt: Prompt, slot: str, blocks: Sequence[str], candidates: Sequence[Sequence[str]]) -> Scored:
        """See `ParallelModel.parallel_next_token_logprobs`; one pass, without reuse of prefixes.

        raises  InputError for attention other than eager and sdpa, and as `next_token_logprobs` does
        """
        return parallel_next_token_logprobs(self, prompt, slot, blocks, candidates)

    def _writing(self, sequences: Sequence[Sequence[int]], sources: Sequence[Sources], sampling: Sampling) -> Writing:
        if self._speculator is None:
            return super()._writing(sequences, sources, sampling)
        from ragkit.generation.speculative.writing import SpeculativeWriting

        return SpeculativeWriting(self._speculator, self, sequences, sources, sampling)

    def _before(self, sequence: Sequence[int]) -> Sequence[int]:
        return sequence

    def _open(self, sequences: Sequence[Sequence[int]], reserve: int, wanted: Sequence[int] | None = None) -> Iterator[Opened]:
        """Batches behind what all sequences begin with. wanted: how many of each sequence's last logits are asked for; None: one"""
        if not sequences:
            return
        last = wanted or [1] * len(sequences)
        prefix, found, passes = self._prefix(sequences, min(len(s) - w for s, w in zip(sequences, last, strict=True)))
        begun = 0 if prefix is None else len(prefix)
        rests = [s[begun:] for s in sequences]
        most = most_rows(max(last), self.net.width) if self.net.batches else 1
        for numbers in plan([len(r) for r in rests], self.batch_tokens, begun=begun, reserve=reserve, most=most):
            batch = CausalBatch(self.net, [rests[i] for i in numbers], prefix, min(reserve, _ROOM))
            yield Opened(numbers, batch, [found if i == 0 else begun for i in numbers], passes)
            passes = 0
            if len(sequences) == 1 and self._shares:
                with self.net.lock:
                    self._kept.keep(batch.prefix_of(np.asarray(sequences[0], np.int64)))

    def _prefix(self, sequences: Sequence[Sequence[int]], most: int) -> tuple[Prefix | None, int, int]:
        """What all sequences begin with, at most so many tokens; how many of them were kept from before; the passes it took."""
        shared = common_prefix(sequences)[:most] if self._shares else np.zeros(0, np.int64)
        if len(shared) < SHORTEST:
            return None, 0, 0
        with self.net.lock:
            kept = self._kept.match(shared)
            if kept is not None and not pays(len(kept), len(shared), self.net.hidden):
                kept = None
            found = 0 if kept is None else len(kept)
            if len(sequences) == 1 or (kept is not None and len(shared) - found < SHORTEST):
                return kept, found, 0
            prefix = self.net.extend(kept, shared)
            self._kept.keep(prefix)
            return prefix, found, 1
