"""Encoder-decoder models of transformers (T5 and its kin): the prompt is read whole, the text is written by the decoder.

The encoder's prompts are padded on the right under an explicit mask (without one, padding is read as text); the decoder's
rows begin together and need none. source of the first-step scores: Nogueira et al., monoT5, EMNLP Findings 2020
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np

from ragkit.errors import ContextOverflow, InputError
from ragkit.generation.arguments import is_begun, lacks
from ragkit.generation.local.batches import most_rows, plan
from ragkit.generation.local.files import context_of, end_tokens, fingerprint_of_objects
from ragkit.generation.local.model import LocalModel, Opened, read_usage
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.sampling import check_numbers
from ragkit.generation.types import Prompt, Scored
from ragkit.generation.usage import Usage
from ragkit.registry import need


class Seq2SeqModel(LocalModel):
    """An encoder-decoder model; safe to share between threads (its passes run one at a time).

    model          of transformers, on its device; put into evaluation mode
    tokenizer      of transformers
    fingerprint    None: a hash of configuration, weights and tokenizer
    context        tokens of a prompt, and of what is written, at most, each by itself; None: what its configuration says, which
                   for models with relative positions is nothing
    batch_tokens   of prompts in a forward pass, padding included
    chat_template  for prompts of messages, and part of the fingerprint then; without one, a lone user's turn is its content as it stands

    What is written does not go on from the prompt's text, so that it begins as a text does: `next_token_logprobs` scores the
    decoder's first token, and a last turn of the assistant is refused. JSON schemas are too: T5's vocabulary has no braces.
    """

    features = frozenset({"next_token", "continuation", "constraint", "seed", "logprobs"})
    _goes_on = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        fingerprint: str | None = None,
        context: int | None = None,
        batch_tokens: int = 8192,
        chat_template: str | None = None,
    ) -> None:
        model.eval()
        start = getattr(getattr(model, "generation_config", None), "decoder_start_token_id", None)
        start = model.config.decoder_start_token_id if start is None else start
        if start is None:
            raise InputError(f"the configuration of {name!r} has no decoder_start_token_id, which an encoder-decoder model needs")
        self.model, self.lock, self._start = model, RLock(), int(start)
        self._width = int(model.get_input_embeddings().weight.shape[0])
        known = context_of(model)
        super().__init__(
            PromptTokens(tokenizer, chat_template, whole=True),
            name=name,
            fingerprint=fingerprint or fingerprint_of_objects(model, tokenizer),
            context=min(context or known, known) if known else context,
            batch_tokens=batch_tokens,
            ends=end_tokens(model, tokenizer),
            width=self._width,
        )

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt as the encoder reads it; raises InputError where its last turn is the assistant's."""
        if is_begun(prompt):
            raise lacks(self.name, self.features, "prefill", "end with the user's turn")
        return self.tokens.encode(prompt, alone=True)

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        """See `LanguageModel.continuation_logprobs`: of the decoder's tokens, without the end."""
        sequences = self._sequences(prompts, 0)
        if len(sequences) != len(continuations):
            raise InputError(f"{len(continuations)} continuations were given for {len(sequences)} prompts; give one each")
        targets = [self.tokens.plain(text) for text in continuations]
        if not all(targets):
            raise InputError("a continuation is empty; give at least one word")
        longest = max(map(len, targets), default=1)
        if self.context is not None and longest > self.context:
            number = next(i for i, t in enumerate(targets) if len(t) > self.context)
            raise ContextOverflow(
                f"continuation {number} has {len(targets[number])} tokens, but {self.name!r} writes at most {self.context}; shorten it",
                tokens=len(targets[number]),
                limit=self.context,
            )
        out = np.empty((len(sequences), 1), np.float32)
        usage, began = Usage(), perf_counter()
        for numbers in plan([len(s) for s in sequences], self.batch_tokens, most=most_rows(longest, self._width)):
            batch = Seq2SeqBatch(self, [sequences[i] for i in numbers])
            logits = batch.read([targets[i] for i in numbers])
            check_numbers(logits, numbers, self.name)
            for row, i in enumerate(numbers):
                logprobs = logits[row, : len(targets[i])].log_softmax(-1)
                out[i, 0] = float(logprobs[range(len(targets[i])), targets[i]].mean())
            usage += Usage(passes=batch.passes)
        return Scored(out, usage + read_usage(sequences, perf_counter() - began))

    def _sequences(self, prompts: Sequence[Prompt], reserve: int) -> list[list[int]]:
        if self.context is not None and reserve > self.context:
            raise InputError(f"max_tokens is {reserve}, but {self.name!r} writes at most {self.context} tokens; ask for fewer")
        return super()._sequences(prompts, 0)  # what is written takes nothing from the prompt

    def _before(self, sequence: Sequence[int]) -> Sequence[int]:
        return ()

    def _open(self, sequences: Sequence[Sequence[int]], reserve: int) -> Iterator[Opened]:
        for numbers in plan([len(s) for s in sequences], self.batch_tokens, reserve=reserve):
            yield Opened(numbers, Seq2SeqBatch(self, [sequences[i] for i in numbers]), [0] * len(numbers))


class Seq2SeqBatch:
    """See `ragkit.generation.local.decoding.Batch`; a pass of the decoder is counted, with the encoder's in the first."""

    def __init__(self, owner: Seq2SeqModel, sequences: Sequence[Sequence[int]]) -> None:
        torch = need("torch", extra="models", why="running a language model")
        self._owner, self._torch, self._device = owner, torch, owner.model.get_input_embeddings().weight.device
        longest = max(map(len, sequences))
        ids = np.zeros((len(sequences), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        self._ids, self._mask = (torch.from_numpy(a).to(self._device) for a in (ids, mask))
        self._encoded: Any = None
        self._cache: Any = None
        self.passes = 0

    def start(self, keep: int = 1) -> Any:
        """Read the prompts; logits float32 (R, 1, V) of the decoder's first token."""
        return self.read([[]] * len(self._ids))

    def read(self, targets: Sequence[Sequence[int]]) -> Any:
        """Logits float32 (R, longest target, V) of the decoder before each token of the targets; of the first alone where they're empty."""
        width = max(1, *map(len, targets))
        begun = [[self._owner._start, *t[: width - 1], *[0] * (width - 1 - len(t))][:width] for t in targets]
        with self._owner.lock, self._torch.inference_mode():
            self._encoded = self._owner.model.get_encoder()(input_ids=self._ids, attention_mask=self._mask, return_dict=True)
        return self._decode(begun)

    def step(self, tokens: Sequence[int]) -> Any:
        return self._decode([[t] for t in tokens])[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        chosen = self._torch.tensor(rows, device=self._device)
        self._cache.batch_select_indices(chosen)
        self._mask = self._mask[chosen]
        self._encoded = type(self._encoded)(last_hidden_state=self._encoded.last_hidden_state[chosen])

    def _decode(self, tokens: Sequence[Sequence[int]]) -> Any:
        self.passes += 1
        with self._owner.lock, self._torch.inference_mode():
            out = self._owner.model(
                encoder_outputs=self._encoded,
                attention_mask=self._mask,
                decoder_input_ids=self._torch.tensor(tokens, device=self._device),
                past_key_values=self._cache,
                use_cache=True,
                return_dict=True,
            )
        self._cache = out.past_key_values
        return out.logits.float()
