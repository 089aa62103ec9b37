"""What local language models have in common: prompts, limits, the writing of a call, its costs. See `TransformersModel`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ragkit.encoders.fingerprint import fingerprint as combined
from ragkit.errors import ContextOverflow, InputError
from ragkit.generation.arguments import check_prompts, check_sampling, check_spellings, lacks
from ragkit.generation.constraints import Constraint
from ragkit.generation.local.candidates import candidate_tokens
from ragkit.generation.local.constrained import ConstraintGuide, Pieces
from ragkit.generation.local.decoding import Batch, Guide, Row, decode, token_logprobs
from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.files import tokenizer_fingerprint
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.sampling import Sampling, check_numbers
from ragkit.generation.local.schema import SchemaGuides
from ragkit.generation.stops import StopSearch
from ragkit.generation.types import Completion, Prompt, Scored, Sources, Stream
from ragkit.generation.usage import Usage

if TYPE_CHECKING:
    from ragkit.generation.speculative.report import Speculation


@dataclass(frozen=True)
class Opened:
    """A batch that is ready to be computed.

    numbers  of its prompts in the call
    saved    tokens of each prompt that need not be computed
    passes   that it took to get so far
    """

    numbers: Sequence[int]
    batch: Batch
    saved: Sequence[int]
    passes: int = 0


class Writing(Protocol):
    """Writes the texts of one call."""

    def write(self, batch: Any, rows: Sequence[Row], numbers: Sequence[int], logprobs: bool) -> Iterator[None]:
        """Write the rows of some prompts to their ends; yields after every pass."""
        ...

    def report(self, number: int) -> Speculation | None:
        """What drafts did for a prompt's text; None where there were none."""
        ...


@dataclass(frozen=True)
class _Plainly:
    """A token a pass."""

    model: str
    sampling: Sampling

    def write(self, batch: Batch, rows: Sequence[Row], numbers: Sequence[int], logprobs: bool) -> Iterator[None]:
        return decode(batch, rows, self.sampling, model=self.model, logprobs=logprobs)

    def report(self, number: int) -> None:
        return None


class LocalModel:
    """Base of `TransformersModel` and `Seq2SeqModel`: see `ragkit.protocols.LanguageModel` for the contract.

    Prompts are counted from 0 where an error names one.
    """

    features: frozenset[str]
    _goes_on: bool

    def __init__(
        self, tokens: PromptTokens, *, name: str, fingerprint: str, context: int | None, batch_tokens: int, ends: frozenset[int], width: int
    ) -> None:
        if batch_tokens < 1:
            raise InputError(f"batch_tokens must be at least 1, got {batch_tokens}")
        if context is not None and context < 2:
            raise InputError(f"context must be at least 2 tokens, got {context}")
        self.name, self.context = name, context
        template = tokens.chat_template  # another one makes other prompts of the same messages
        self.fingerprint = fingerprint if template is None else combined(fingerprint, chat_template=template)
        self.tokens, self.batch_tokens, self.ends = tokens, batch_tokens, ends
        self.tokenizer = tokenizer_fingerprint(tokens.tokenizer)
        self._pieces = Pieces(tokens, goes_on=self._goes_on)
        self._schemas = SchemaGuides(tokens.tokenizer, ends, width)

    def _open(self, sequences: Sequence[Sequence[int]], reserve: int) -> Iterator[Opened]:
        """The batches of a call, one after the other."""
        raise NotImplementedError

    def _before(self, sequence: Sequence[int]) -> Sequence[int]:
        """The tokens that what is written follows."""
        raise NotImplementedError

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt as the model reads it."""
        return self.tokens.encode(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt with all that its template adds."""
        return len(self.encode(prompt))

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        constraint: Constraint | Sequence[Constraint] | None = None,
        schema: Mapping[str, Any] | None = None,
        logprobs: bool = False,
        sources: Sequence[Sources] | None = None,
    ) -> list[Completion]:
        """See `LanguageModel.generate`.

        seed        the same text for a prompt whatever its neighbours; equal prompts of a call get equal texts, so that several
                    draws of one prompt need several seeds, or none
        constraint  not together with stop; where max_tokens ends it, the text is its whole pieces so far
        schema      needs the package llguidance; where max_tokens ends it (finish "length"), the text is not yet JSON
        logprobs    of the model's own distribution, before temperature, top_p and constraint
        sources     what each prompt's text may quote, for models with the feature "speculation"; others pass it over
        """
        check_sampling(max_tokens, temperature, top_p, stop)
        sampling = Sampling(temperature, top_p, seed)
        sequences = self._sequences(prompts, max_tokens)
        guides = self._guides(len(sequences), stop, constraint, schema)
        rows = [self._row(i, s, max_tokens, stop, guides[i], sampling) for i, s in enumerate(sequences)]
        writing = self._writing(sequences, _given(sources, len(sequences)), sampling)
        saved, passes, began = [0] * len(rows), 0, perf_counter()
        for opened in self._open(sequences, max_tokens):
            for _ in writing.write(opened.batch, [rows[i] for i in opened.numbers], opened.numbers, logprobs):
                pass
            passes += opened.passes + opened.batch.passes
            for i, count in zip(opened.numbers, opened.saved, strict=True):
                saved[i] = count
        seconds = perf_counter() - began
        return [
            self._completion(row, len(sequences[i]), saved[i], passes if i == 0 else 0, seconds if i == 0 else 0.0, writing.report(i))
            for i, row in enumerate(rows)
        ]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        sources: Sources | None = None,
    ) -> Stream:
        """See `LanguageModel.stream` and `generate`; nothing is computed before a piece is asked for, nor after `close`."""
        check_sampling(max_tokens, temperature, top_p, stop)
        sampling = Sampling(temperature, top_p, seed)
        (sequence,) = self._sequences([prompt], max_tokens)
        row = self._row(0, sequence, max_tokens, stop, None, sampling)
        writing = self._writing([sequence], [sources or Sources()], sampling)
        done: list[Completion] = []

        def pieces() -> Iterator[str]:
            began = perf_counter()
            for opened in self._open([sequence], max_tokens):
                for _ in writing.write(opened.batch, [row], [0], False):
                    if piece := row.fresh():
                        yield piece
                passes = opened.passes + opened.batch.passes
                done.append(self._completion(row, len(sequence), opened.saved[0], passes, perf_counter() - began, writing.report(0)))

        return Stream(pieces(), lambda: done[0])

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        """See `LanguageModel.next_token_logprobs`: over the whole vocabulary, in float32; spellings are cut into tokens by themselves."""
        spelled = candidate_tokens(check_spellings(candidates), self.tokens, model=self.name, goes_on=self._goes_on)
        sequences = self._sequences(prompts, 0)
        out = np.empty((len(sequences), len(spelled)), np.float32)
        usage, began = Usage(), perf_counter()
        for opened in self._open(sequences, 0):
            logits = opened.batch.start()[:, -1]
            check_numbers(logits, opened.numbers, self.name)
            logprobs = logits.log_softmax(-1)
            for c, tokens in enumerate(spelled):
                out[list(opened.numbers), c] = logprobs[:, tokens].amax(-1).cpu().numpy()
            usage += Usage(passes=opened.passes + opened.batch.passes, cached_tokens=sum(opened.saved))
        return Scored(out, usage + read_usage(sequences, perf_counter() - began))

    def _sequences(self, prompts: Sequence[Prompt], reserve: int) -> list[list[int]]:
        """The prompts' tokens; raises ContextOverflow for the first that leaves no room for so many more."""
        sequences = [self.encode(p) for p in check_prompts(prompts)]
        if self.context is not None:
            for i, sequence in enumerate(sequences):
                self._fit(i, len(sequence), reserve)
        return sequences

    def _fit(self, number: int, tokens: int, reserve: int) -> None:
        if self.context is not None and tokens > self.context - reserve:
            room = f", and {reserve} more are to be written" if reserve else ""
            raise ContextOverflow(
                f"prompt {number} has {tokens} tokens{room}, but {self.name!r} reads and writes at most {self.context}; shorten it",
                tokens=tokens,
                limit=self.context - reserve,
            )

    def _row(
        self, number: int, sequence: Sequence[int], max_tokens: int, stop: Sequence[str], guide: Guide | None, sampling: Sampling
    ) -> Row:
        return Row(
            number,
            max_tokens=max_tokens,
            ends=self.ends,
            writer=Detokeniser(self.tokens.tokenizer, self._before(sequence)),
            stops=StopSearch(stop),
            guide=guide,
            generator=sampling.generator(),
        )

    def _guides(
        self, count: int, stop: Sequence[str], constraint: Constraint | Sequence[Constraint] | None, schema: Mapping[str, Any] | None
    ) -> Sequence[Guide | None]:
        if constraint is not None and (stop or schema is not None):
            raise InputError("a constraint decides alone what is written; give no stop strings and no schema with it")
        if schema is not None:
            if "schema" not in self.features:
                raise lacks(self.name, self.features, "schema")
            return self._schemas.make(schema, count)
        if constraint is None:
            return [None] * count
        rules = [constraint] * count if isinstance(constraint, Constraint) else list(constraint)
        if len(rules) != count:
            raise InputError(f"{len(rules)} constraints were given for {count} prompts; give one for all or one each")
        return [ConstraintGuide(rule, self._pieces, self.ends) for rule in rules]

    def _writing(self, sequences: Sequence[Sequence[int]], sources: Sequence[Sources], sampling: Sampling) -> Writing:
        """What writes a call's texts."""
        return _Plainly(self.name, sampling)

    def _completion(self, row: Row, tokens: int, saved: int, passes: int, seconds: float, speculation: Speculation | None) -> Completion:
        usage = Usage(calls=1, passes=passes, prompt_tokens=tokens, cached_tokens=saved, generated_tokens=len(row.tokens), seconds=seconds)
        written = token_logprobs(self.tokens.tokenizer, row) if row.logprobs else ()
        return Completion(row.text, row.finish or "length", usage, written, speculation)


def _given(sources: Sequence[Sources] | None, count: int) -> Sequence[Sources]:
    if sources is not None and len(sources) != count:
        raise InputError(f"{len(sources)} sources were given for {count} prompts; give one each")
    return [Sources()] * count if sources is None else sources


def read_usage(sequences: Sequence[Sequence[int]], seconds: float) -> Usage:
    """Costs that don't depend on how sequences were computed."""
    return Usage(calls=len(sequences), prompt_tokens=sum(map(len, sequences)), seconds=seconds)
