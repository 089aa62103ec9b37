"""Training of listwise LLM rerankers on a teacher's orders: single-token (FIRST) and full ranking, on a CPU for small models.

FIRST (Reddy et al., EMNLP 2024) adds to the language model's loss a ranking loss over the identifiers' logits where the first
one is written, the place that `SingleToken` reads. Full ranking (Liu et al., Sliding Windows Are Not the End, 2024) weighs the
tokens of the written order by rank; `Listwise` reads it. Prompts are made by these rerankers themselves.
"""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ragkit.encoders.fingerprint import content_of
from ragkit.encoders.transformer import quiet_transformers
from ragkit.errors import InputError, UnknownNameError
from ragkit.generation.local.candidates import candidate_tokens
from ragkit.generation.local.files import files_of, load_files
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.progress import Progress
from ragkit.registry import need
from ragkit.rerankers.asking import Asking
from ragkit.rerankers.listwise import Listwise
from ragkit.rerankers.plans import Group, WindowPlan, drive, progressive
from ragkit.rerankers.prompts import ListwisePrompt, labels_of, spellings
from ragkit.rerankers.reorder import Ranking, reordered
from ragkit.rerankers.single_token import SingleToken
from ragkit.rerankers.stage import Candidates, candidates_of
from ragkit.rerankers.templates import LISTWISE, template
from ragkit.rerankers.training import checkpoint
from ragkit.rerankers.training.examples import mine
from ragkit.rerankers.training.losses import importance_cross_entropy, importance_weights, listnet, ranknet
from ragkit.rerankers.window_reranker import WindowReranker
from ragkit.run import Run
from ragkit.stage import check_k
from ragkit.types import Passage

_log = logging.getLogger(__name__)
_WHY = "training a listwise reranker"


@dataclass(frozen=True)
class OrderedExample:
    """One query, its instruction after it, with passages in a teacher's order.

    texts  at least two, the best first
    ranks  the teacher's rank of each, from 0, never falling; equal ones are undecided. () stands for 0, 1, 2, …
    """

    query: str
    texts: tuple[str, ...]
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ranks = self.ranks or tuple(range(len(self.texts)))
        object.__setattr__(self, "ranks", ranks)
        if len(self.texts) < 2 or len(ranks) != len(self.texts) or list(ranks) != sorted(ranks) or ranks[0] != 0 or ranks[-1] == 0:
            raise InputError(
                f"an ordered example needs at least two texts, the best first, and ranks from 0 that rise and never fall; got "
                f"{len(self.texts)} texts with the ranks {ranks}"
            )


def examples_from(
    run: Run,
    teacher: Run | Mapping[str, Mapping[str, int]],
    *,
    window: int = 20,
    among: tuple[int, int] | None = None,
    known: Mapping[str, Passage] | None = None,
    seed: int = 7,
) -> list[OrderedExample]:
    """One example a query: the first hits of a run in the order of a teacher.

    run                 hits of the queries from any pipeline, best first
    teacher             the same hits in a better order, as `teacher_order` or any reranker gives; what it lacks comes last, undecided.
                        Or qrels, query id → document id → grade: equal grades are undecided, and `mine` chooses the negatives
    window              passages an example at most
    among, known, seed  of `mine`, for qrels
    raises              InputError where no query has two passages that the teacher orders; SnapshotMismatch for runs of other queries

    >>> run = Run.from_texts("pumps", ["On tea.", "On pumps."])
    >>> examples_from(run, {"0": {"1": 1}})
    [OrderedExample(query='pumps', texts=('On pumps.', 'On tea.'), ranks=(0, 1))]
    """
    if check_k(window, "window") < 2:
        raise InputError("a window of one passage has no order; give window at least 2")
    found: list[tuple[str, list[str], list[int]]] = []
    if isinstance(teacher, Run):
        run.same_source(teacher)
        for q, hits in enumerate(candidates_of(run.cut(window))):
            places = {row: place for place, row in enumerate(teacher.rows[teacher.hits_of(q)].tolist())}
            at = [places.get(row, len(places)) for row in run.rows[run.hits_of(q)][:window].tolist()]
            found.append((hits.asked, list(hits.texts), at))
    else:
        for made in mine(run, teacher, negatives=window - 1, among=among, known=known, seed=seed):
            found.append((made.query, list(made.passages), [-label for label in made.labels]))
    examples = []
    for text, texts, keys in found:
        order = sorted(range(len(texts)), key=lambda i: keys[i])[:window]
        if len({keys[i] for i in order}) > 1:
            ranks = tuple(sum(keys[j] < keys[i] for j in order) for i in order)
            examples.append(OrderedExample(text, tuple(texts[i] for i in order), ranks))
    if not examples:
        raise InputError(f"for none of the {len(run)} queries does the teacher order two passages; give runs with more hits")
    return examples


@dataclass(frozen=True)
class _Progressive:
    """Windows of `progressive`, for a stage."""

    window: int
    stride: int
    fixed: int

    @property
    def largest(self) -> int | None:
        return self.window

    def plan(self, n: int) -> WindowPlan:
        return progressive(n, self.window, self.stride, self.fixed)

    def at_most(self, window: int) -> _Progressive:
        if window >= self.window:
            return self
        stride = max(1, self.stride * window // self.window)
        return _Progressive(window, stride, max(1, min(self.fixed, window - stride)))


def teacher_order(
    judge: WindowReranker | Callable[[str, Sequence[str]], Sequence[int]],
    run: Run,
    *,
    window: int = 20,
    stride: int = 10,
    fixed: int = 10,
) -> Run:
    """The whole list of each query in a judge's order, by sliding passes each of which fixes the top: labels for full ranking.

    judge    a reranker of windows, as `Listwise`, whose own windows give way to these (its depth holds); or a function of a query
             and texts that returns the texts' positions, best first
    window, stride, fixed   see `progressive`; the defaults take 45 judgements for 100 hits
    returns  the run reordered
    raises   InputError for numbers out of range, or a function's answer that is no permutation
    source   Liu et al., Sliding Windows Are Not the End, 2024

    >>> run = Run.from_texts("q", ["one", "three", "fourteen"])
    >>> longest = lambda query, texts: sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    >>> teacher_order(longest, run, window=2, stride=1, fixed=1).ids()
    ['2', '1', '0']
    """
    windows = _Progressive(window, stride, fixed)
    windows.plan(2)  # says what is out of range before anything is asked
    if isinstance(judge, WindowReranker):
        return replace(judge, windows=cast(Any, windows))(run)
    candidates = candidates_of(run)

    def answers(asked: list[tuple[int, Group]]) -> list[Sequence[int]]:
        return [judge(candidates[q].asked, [candidates[q].texts[i] for i in group]) for q, group in asked]

    orders = drive([windows.plan(len(c.texts)) for c in candidates], answers).orders
    return reordered(run, [Ranking(tuple(order)) for order in orders], "rank")


@dataclass(frozen=True)
class _Settings:
    """All that decides the weights, besides the examples."""

    base: str
    loss: str
    prompt: ListwisePrompt
    ranking: str
    weight: float
    epochs: int
    learning_rate: float
    warmup: float
    batch_size: int
    accumulate: int
    noise: float
    max_words: int | None
    precision: str
    seed: int

    def check(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            check_k(getattr(self, name), name)
        for name, value, known in (
            ("loss", self.loss, ("first", "full")),
            ("ranking", self.ranking, ("ranknet", "listnet")),
            ("precision", self.precision, ("float32", "bfloat16")),
        ):
            if value not in known:
                raise UnknownNameError.near(name, value, known)
        if not 0 < self.learning_rate < 1 or not 0 <= self.warmup < 1 or not self.weight >= 0 or not self.noise >= 0:
            raise InputError(
                f"a training needs a learning_rate between 0 and 1, a warmup from 0 to below 1, and weight and noise of at least 0, got "
                f"{self.learning_rate}, {self.warmup}, {self.weight} and {self.noise}"
            )


def train_listwise(
    base: str,
    examples: Sequence[OrderedExample],
    output: str | Path,
    *,
    loss: Literal["first", "full"] = "first",
    prompt: str | ListwisePrompt | None = None,
    ranking: Literal["ranknet", "listnet"] = "ranknet",
    weight: float = 10.0,
    epochs: int = 3,
    learning_rate: float = 5e-6,
    warmup: float = 0.1,
    batch_size: int = 2,
    accumulate: int = 16,
    noise: float = 5.0,
    max_words: int | None = 300,
    precision: Literal["float32", "bfloat16"] = "float32",
    device: str = "auto",
    seed: int = 7,
    checkpoint_every: int = 100,
    resume: bool = True,
    progress: Progress = False,
) -> Path:
    """Train a causal language model to order passages; return its folder, for ``SingleToken(folder)`` or ``Listwise(folder)``.

    base              folder or hub id of a causal model
    examples          passages in a teacher's order, from `examples_from`
    output            the model's folder; checkpoints lie in it until the training is done, and each step's loss in its record
    loss              "first" for SingleToken: cross-entropy of the written order, plus `weight` times a ranking loss over the
                      identifiers' logits; "full" for Listwise: cross-entropy in which identifiers of high rank weigh more
    prompt, max_words as the reranker will have them; None: that reranker's own prompt
    ranking           for "first": "ranknet", or "listnet" on minus the teacher's ranks, with which FIRST takes weight 0.1
    epochs            passes over the examples; each shuffles examples and the passages in their prompts
    learning_rate     highest of AdamW; rises over the first share `warmup` of the steps, then falls to 0 along a cosine. The default
                      is for 7 billion parameters; small models need up to 1e-3
    batch_size        examples a forward pass; accumulate: passes a step, whose gradients are averaged
    noise             on the embeddings, uniform, this over the root of (tokens × width); NEFTune
    precision         of the forward pass; weights are float32
    checkpoint_every  steps between checkpoints; the last two are kept
    resume            a finished training of the same base, examples and settings is returned as it is, one that was cut off goes
                      on from its last whole checkpoint; False starts over
    raises            InputError for settings out of range, a base that is no causal model or spells an identifier of "first" in
                      several tokens, a loss that is no number, or an output that holds the base or something else; ContextOverflow for
                      examples that can't be made to fit; MissingDependencyError; Cancelled by the progress callback
    source            Reddy et al., FIRST, EMNLP 2024; Liu et al. 2024; Jain et al., NEFTune, ICLR 2024

    An example's loss is the mean over its tokens; a step's is the mean over its examples. On one machine with one number
    of threads the same arguments give the same weights, also after a resumption.
    """
    wanted = prompt if prompt is not None else {"first": "listwise_letters"}.get(loss, "listwise")
    folder, target = files_of(base), Path(output)
    settings = _Settings(
        content_of(folder), loss, template(LISTWISE, wanted), ranking, weight, epochs, learning_rate, warmup, batch_size, accumulate, noise,
        max_words, precision, seed,
    )  # fmt: skip
    settings.check()
    check_k(checkpoint_every, "checkpoint_every")
    if not examples:
        raise InputError("there is nothing to train on: give the examples that ragkit.rerankers.training.examples_from makes")
    content = json.dumps([asdict(settings), [asdict(e) for e in examples]])
    if checkpoint.prepare(target, folder, sha256(content.encode()).hexdigest()[:16], resume):
        return target
    # as transformers loads it: weights packed for inference can't be trained
    net, tokenizer, fingerprint = load_files(str(folder), device=device, dtype="float32", attention="sdpa")
    if net.config.is_encoder_decoder:
        raise InputError(f"{base!r} is no causal language model; listwise rerankers are trained from one")
    model = TransformersModel(net, tokenizer, name=str(folder), fingerprint=fingerprint)
    trained = _Training(model, examples, settings)
    steps = epochs * trained.steps
    rate = checkpoint.warm_cosine(learning_rate, warmup, steps)
    with quiet_transformers():
        done = checkpoint.train(
            trained.model, trained.losses, target, steps=steps, rate=rate, every=checkpoint_every, seed=seed, progress=progress
        )
        trained.model.save_pretrained(str(target))
        model.tokens.tokenizer.save_pretrained(str(target))
    _log.info("trained %s in %d steps; loss of the first %.4f, of the last %.4f", target, steps, done[0], done[-1])
    checkpoint.finish(target, {"losses": done})
    return target


@dataclass(frozen=True)
class _Window:
    """A prompt and the answer that should follow.

    ids      tokens of both; the answer begins at `begin`
    ranks    of the answer's tokens: the teacher's rank of the identifier that one is of, -1 for delimiters
    teacher  the teacher's rank of each passage, as they are shown
    """

    ids: list[int]
    begin: int
    ranks: list[int]
    teacher: list[int]


class _Training:
    """A model, its examples, and the loss of each step."""

    def __init__(self, made: TransformersModel, examples: Sequence[OrderedExample], settings: _Settings) -> None:
        self.torch = need("torch", extra="train", why=_WHY)
        self.made, self.examples, self.settings = made, examples, settings
        self.model = made.net.model
        self.model.train()
        if settings.noise:
            self.model.get_input_embeddings().register_forward_hook(self.noisy)
        if "logits_to_keep" not in inspect.signature(self.model.forward).parameters:
            raise InputError(f"{made.name!r} computes logits at all positions or none; give a model of a newer kind of transformers")
        reranker = SingleToken if settings.loss == "first" else Listwise
        self.reranker = reranker(made, prompt=settings.prompt, max_words=settings.max_words)
        self.asking = Asking(made, "raise")
        self.continuing = cache(made.tokens.continuing)  # the same few pieces make up every answer
        self.candidates = [candidates_of(Run.from_texts(e.query, e.texts))[0] for e in examples]
        self.steps = -(-len(examples) // (settings.batch_size * settings.accumulate))
        self.names = labels_of(settings.prompt.labels, max(len(e.texts) for e in examples))
        if settings.prompt.prefill != "[" and (settings.prompt.prefill or settings.loss == "first"):
            raise InputError(f"an answer to be learned begins with '[', and the prompt's prefill is {settings.prompt.prefill!r}; give '['")

    @cached_property
    def spelled(self) -> Any:
        """(N, spellings) tokens of each identifier as `SingleToken` reads them, the first repeated where one has fewer."""
        tokens = candidate_tokens([spellings(name) for name in self.names], self.made.tokens, model=self.made.name, goes_on=True)
        most = max(map(len, tokens))
        return self.torch.tensor([[*t, *t[:1] * (most - len(t))] for t in tokens], device=self.made.net.device)

    def losses(self, step: int) -> Iterator[Any]:
        """Parts of a step's loss, one a forward pass."""
        epoch, at = divmod(step, self.steps)
        size = self.settings.batch_size
        order = np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.examples)).tolist()
        chosen = order[at * size * self.settings.accumulate :][: size * self.settings.accumulate]
        for start in range(0, len(chosen), size):
            yield self.loss([self.window(i, epoch) for i in chosen[start : start + size]]).sum() / len(chosen)

    def window(self, number: int, epoch: int) -> _Window:
        """An example with its passages shuffled, as the reranker asks about it, and the answer."""
        made, hits = self.examples[number], self.candidates[number]
        n = len(made.texts)
        shown = np.random.default_rng((self.settings.seed, epoch, number)).permutation(n).tolist()
        texts = tuple(hits.texts[i] for i in shown)
        question = self.reranker.question(self.asking, Candidates(hits.query, hits.instruction, texts, ()), tuple(range(n)))
        answer, ranks = self.answer([self.names[shown.index(i)] for i in range(n)], made.ranks)
        prompt = self.asking.fit(replace(question, reserve=max(question.reserve, len(answer)))).prompt()
        ids = self.made.encode(prompt)
        return _Window([*ids, *answer], len(ids), ranks, [made.ranks[i] for i in shown])

    def answer(self, names: Sequence[str], ranks: Sequence[int]) -> tuple[list[int], list[int]]:
        """Tokens of the order as text, and what each of them is of: a rank, or -1."""
        before = "[".removeprefix(self.settings.prompt.prefill)
        tokens: list[tuple[int, int]] = []
        for name, rank in zip(names, ranks, strict=True):
            tokens += [(t, -1) for t in (self.continuing(before) if before else ())]
            tokens += [(t, rank) for t in self.continuing(name)]
            before = f"]{self.settings.prompt.separator}["
        tokens += [(t, -1) for t in self.continuing("]")]
        tokens += [(t, -1) for t in sorted(self.made.ends)[:1]]
        return [t for t, _ in tokens], [rank for _, rank in tokens]

    def loss(self, windows: Sequence[_Window]) -> Any:
        """(windows,) losses of a batch, padded on the right."""
        torch, device, rows = self.torch, self.made.net.device, range(len(windows))
        longest, first = max(len(w.ids) for w in windows), min(w.begin for w in windows) - 1
        ids = torch.zeros((len(windows), longest), dtype=torch.long)
        mask, ranks = torch.zeros_like(ids), torch.full_like(ids, -1)
        weights = torch.zeros(ids.shape)
        teacher = torch.full((len(windows), len(self.names)), -1)
        for row, w in enumerate(windows):
            ids[row, : len(w.ids)], mask[row, : len(w.ids)] = torch.tensor(w.ids), 1
            ranks[row, w.begin : len(w.ids)] = torch.tensor(w.ranks)
            weights[row, w.begin : len(w.ids)] = 1
            teacher[row, : len(w.teacher)] = torch.tensor(w.teacher)
        if self.settings.loss == "full":
            weights *= importance_weights(ranks)
        ids, mask, weights, teacher = (t.to(device) for t in (ids, mask, weights, teacher))
        self.lengths = mask.sum(1)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            wanted = torch.arange(first, longest - 1, device=device)
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=wanted).logits.float()
        loss = importance_cross_entropy(logits, ids[:, first + 1 :], weights[:, first + 1 :])
        if self.settings.loss == "full":
            return loss
        scores = logits[list(rows), [w.begin - 1 - first for w in windows]][:, self.spelled].amax(-1)
        if self.settings.ranking == "ranknet":
            return loss + self.settings.weight * ranknet(scores, teacher)
        return loss + self.settings.weight * listnet(scores, (-teacher.float()).masked_fill(teacher < 0, -math.inf))

    def noisy(self, _: Any, __: Any, embedded: Any) -> Any:
        """NEFTune: uniform noise on what the embedding gives, within noise / sqrt(tokens × width) of each row."""
        bound = self.settings.noise / (self.lengths * embedded.shape[-1]).sqrt()[:, None, None]
        return embedded + (self.torch.rand_like(embedded) * 2 - 1) * bound
