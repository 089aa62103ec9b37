"""Conformance checks for parts from outside: call them from your own tests.

>>> from ragkit import BM25
>>> check_index(BM25(language="en"))

Each check raises AssertionError with a sentence that names the broken promise.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ragkit.chunking import count_tokens
from ragkit.collection import Collection
from ragkit.errors import GenerationError, InputError
from ragkit.generation import Choices, Completion, Message, Permutation
from ragkit.generation.arguments import FEATURES
from ragkit.protocols import Chunker, IndexSpec, LanguageModel, ParallelModel
from ragkit.run import FLOORS, Run
from ragkit.spec import from_config, to_config
from ragkit.types import Document, Query

_TEXTS = (
    "the pump has two gaskets", "the outer gasket is replaced every year", "a valve opens at three bar", "", "gasket gasket gasket",
    "the boiler is checked in spring", "pump and valve and boiler", "ein Ventil öffnet sich", "阀门打开", "the pump has two gaskets",
)  # fmt: skip
_PROMPTS = ("The pump has two gaskets. The outer gasket", "A valve opens at three bar, and", "Once upon a time", "Why is the sky blue?")
_TOKENS = 16
_CANDIDATES = (("A", " A", "a", " a"), ("I", " I", "i", " i"), (".", " ."), ("the", " the"), ("1", " 1"), (",", " ,"), ("B", " B"))
_QUERIES = ("gasket", "pump valve", "boiler spring three", "阀门", "nowhere to be found", "", "the")


def check_index(spec: IndexSpec) -> None:
    """An index keeps its promises: spec, protocol, order, k, deletions, filters, and the law of segments if it is exact."""
    _require(isinstance(spec, IndexSpec), f"{type(spec).__name__} lacks a part of ragkit.protocols.IndexSpec")
    _require(from_config("indexes", to_config(spec)) == spec, "a spec must come back equal from its config")
    documents = [Document(text, id=str(i)) for i, text in enumerate(_TEXTS)]
    with tempfile.TemporaryDirectory(prefix="ragkit-check-") as scratch:
        once = _built(Path(scratch, "once"), spec, [documents])
        grown = _built(Path(scratch, "grown"), spec, [documents[:4], documents[4:5], [], documents[5:]])
        exact = once.version.searcher(spec.name).exact
        _check_results(once, spec, len(documents))
        _check_filter(once, spec)
        if exact:
            _same(once, grown, spec, "grown in steps")
        for collection in (once, grown):
            collection.delete(["1", "6"])
            collection.upsert([Document("a new gasket for the pump", id="4")])
            _require(not {"1", "6"} & set(_search(collection, spec, 20).ids()), "a deleted document was found")
        if exact:
            _same(once, _built(Path(scratch, "fresh"), spec, [list(once)]), spec, "after deletions and an upsert")
            _same(Collection.open(once.folder), once, spec, "after reopening")
        empty = Collection.create(Path(scratch, "empty"), indexes=[spec], chunker=None)
        _require(len(_search(empty, spec, 5).rows) == 0, "an empty collection has no hits")


def check_chunker(chunker: Chunker, documents: Iterable[Document]) -> None:
    """A chunker's spans are in order, exact, trimmed, not empty, and hold every character of the body that is not white space."""
    _require(isinstance(chunker, Chunker), f"{type(chunker).__name__} lacks a part of ragkit.protocols.Chunker")
    for document in documents:
        spans, text = chunker.split(document), document.text
        covered = np.zeros(len(text), np.bool_)
        starts = [s.start for s in spans]
        _require(starts == sorted(starts), "spans must be in order")
        for s in spans:
            _require(document.body_start <= s.start < s.end <= len(text), f"the span {s.start}-{s.end} is empty or outside the body")
            _require(text[s.start : s.end].strip() == text[s.start : s.end], f"the span {s.start}-{s.end} has white space at an end")
            size = getattr(chunker, "size", None)
            _require(size is None or count_tokens(text, s.start, s.end) <= size, f"the span {s.start}-{s.end} has more than {size} tokens")
            covered[s.start : s.end] = True
        lost = [i for i in range(document.body_start, len(text)) if not (covered[i] or text[i].isspace())]
        _require(not lost, f"character {lost[:1]} of the body is in no span")
        _require(spans == chunker.split(document), "the same document must be cut the same way")


def check_language_model(model: LanguageModel) -> None:
    """A language model keeps its promises: order, limits, stop strings, streams, usage, threads, and each feature that it claims.

    A feature that it doesn't claim must be refused by InputError naming it. Texts are compared at temperature 0.
    """
    _require(isinstance(model, LanguageModel), f"{type(model).__name__} lacks a part of ragkit.protocols.LanguageModel")
    _require(bool(model.name and model.fingerprint), "a model needs a name and a fingerprint")
    _require(model.context is None or model.context > 0, f"context must be None or a number of tokens, got {model.context!r}")
    named = (*FEATURES, "parallel")
    _require(set(model.features) <= set(named), f"features must be among {', '.join(named)}, got {sorted(model.features)}")
    texts = _check_generate(model)
    _check_limits(model, texts)
    _check_stop(model, texts)
    _check_stream(model, texts)
    _check_counts(model)
    _check_next_token(model)
    _check_continuation(model)
    _check_parallel(model)
    _check_forms(model)
    _check_claims(model)
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda _: _texts(model.generate(_PROMPTS, max_tokens=_TOKENS)), range(4)))
    _require(all(t == texts for t in beside), "four threads at once must get the texts that one gets")


def _built(folder: Path, spec: IndexSpec, batches: list[list[Document]]) -> Collection:
    made = Collection.create(folder, indexes=[spec], chunker=None)
    for batch in batches:
        made.add(batch)
    return made


def _search(collection: Collection, spec: IndexSpec, k: int) -> Run:
    return collection.search([Query(str(i), q) for i, q in enumerate(_QUERIES)], k=k, using=spec.name)


def _check_results(collection: Collection, spec: IndexSpec, n: int) -> None:
    searcher = collection.version.searcher(spec.name)
    _require(searcher.scale in FLOORS, f"the scale {searcher.scale!r} is not one of {', '.join(FLOORS)}")
    everything = _search(collection, spec, n + 5)
    for q in range(len(everything)):
        at = everything.hits_of(q)
        hits = list(zip((-everything.scores[at]).tolist(), everything.rows[at].tolist(), strict=True))
        _require(hits == sorted(hits), f"hits of {_QUERIES[q]!r} are not ordered by score descending, then row ascending")
        _require(len({row for _, row in hits}) == len(hits), f"a row occurs twice among the hits of {_QUERIES[q]!r}")
        _require(all(0 <= row < n for _, row in hits), f"a row of {_QUERIES[q]!r} is not in the collection")
    if searcher.exact:
        for k in (1, 2, 3):
            few = _search(collection, spec, k)
            _require(few.rows.tolist() == everything.cut(k).rows.tolist(), f"the first {k} hits differ from those of a deeper search")
    try:
        collection.search("gasket", k=0, using=spec.name)
    except InputError:
        return
    raise AssertionError("k = 0 must raise InputError")


def _check_filter(collection: Collection, spec: IndexSpec) -> None:
    """Rows that the caller does not allow never come back, and allowed ones take their places."""
    searcher = collection.version.searcher(spec.name)
    odd = np.arange(len(_TEXTS)) % 2 == 1
    query = [Query("q", "gasket pump valve boiler")]
    _, everything, _ = searcher.search(query, k=20, allow=[None])
    _, allowed, _ = searcher.search(query, k=20, allow=[odd])
    _require(bool(odd[allowed].all()), "a row that is not allowed came back")
    if searcher.exact:
        _require(set(allowed.tolist()) == {r for r in everything.tolist() if odd[r]}, "an allowed row got lost")


def _same(a: Collection, b: Collection, spec: IndexSpec, when: str) -> None:
    """The law of segments: the same documents give the same hits and scores, in whatever steps they came."""
    x, y = _search(a, spec, 20), _search(b, spec, 20)
    for q in range(len(x)):
        left, right = ({id: float(s) for id, s in run.to_dict()[str(q)].items()} for run in (x, y))
        close: Any = np.allclose([left[i] for i in sorted(left)], [right.get(i, np.nan) for i in sorted(left)], rtol=1e-5, atol=1e-6)
        _require(left.keys() == right.keys() and bool(close), f"the hits of {_QUERIES[q]!r} differ {when}")


def _texts(completions: Iterable[Completion]) -> list[str]:
    return [c.text for c in completions]


def _check_generate(model: LanguageModel) -> list[str]:
    """The texts after all prompts, which the other checks compare with."""
    _require(model.generate([]) == [], "no prompts must give no completions")
    begun = time.perf_counter()
    many = model.generate(_PROMPTS, max_tokens=_TOKENS)
    seconds = time.perf_counter() - begun
    _require(len(many) == len(_PROMPTS), f"{len(_PROMPTS)} prompts must give one completion each, got {len(many)}")
    texts = _texts(many)
    _require(any(len(t) > 3 for t in texts), "the model wrote next to nothing after any of the prompts")
    _require(texts == _texts(model.generate(_PROMPTS, max_tokens=_TOKENS)), "at temperature 0 the same prompts must give the same texts")
    alone = [model.generate([p], max_tokens=_TOKENS)[0].text for p in _PROMPTS]
    _require(texts == alone, "completions must come in the prompts' order, each as if its prompt were alone")
    _require(all(c.finish in ("stop", "length", "filtered") for c in many), "finish must be stop, length or filtered")
    used = [c.usage for c in many]
    _require(all(u.calls == 1 for u in used), "the usage of a completion must count one call, so that their sum counts the prompts")
    _require(all(u.prompt_tokens >= 1 for u in used), "usage must count the prompt's tokens")
    _require(all(0 <= u.cached_tokens <= u.prompt_tokens for u in used), "cached tokens must be among the prompt's")
    _require(all(0 <= u.generated_tokens <= _TOKENS for u in used), "usage must count the tokens written, at most max_tokens")
    total = sum(u.seconds for u in used)
    _require(0 < total <= seconds * 1.05 + 0.01, f"seconds must be counted once a call: {total:.3f} in sum, the call took {seconds:.3f}")
    return texts


def _check_limits(model: LanguageModel, texts: list[str]) -> None:
    for limit in (1, 4):
        for c, whole in zip(model.generate(_PROMPTS, max_tokens=limit), texts, strict=True):
            _require(c.usage.generated_tokens <= limit, f"max_tokens={limit} was passed over: {c.usage.generated_tokens} were written")
            _require(
                whole.startswith(c.text.rstrip("\ufffd")),
                f"max_tokens={limit} must give the beginning of what a higher limit gives, got {c.text!r} of {whole!r}",
            )
            said = f'a text cut by max_tokens={limit} must end with finish "length", got {c.finish!r} for {c.text!r} of {whole!r}'
            _require(c.text == whole or c.finish == "length", said)
    cut = model.generate([_PROMPTS[texts.index(max(texts, key=len))]], max_tokens=1)[0]
    _require(len(cut.text) < max(map(len, texts)), "max_tokens=1 must write less than max_tokens=16")
    wrong: list[dict[str, Any]] = [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"stop": [""]}]
    for settings in wrong:
        _raises_input_error(partial(model.generate, _PROMPTS[:1], **settings), f"{settings} must raise InputError")
    _raises_input_error(lambda: model.generate(_PROMPTS[0]), "one text in place of a list of prompts must raise InputError")


def _check_stop(model: LanguageModel, texts: list[str]) -> None:
    at = texts.index(max(texts, key=len))
    text = texts[at]
    stop = text[len(text) // 2 :][:2]
    kept = text[: text.find(stop)]
    made = model.generate([_PROMPTS[at]], max_tokens=_TOKENS, stop=["\u2603", stop])[0]
    _require(stop not in made.text, f"the stop string {stop!r} stands in the text {made.text!r}")
    _require(made.text == kept, f"the text must end before the stop string {stop!r}: wanted {kept!r}, got {made.text!r}")
    _require(made.finish == "stop", f'a text ended by a stop string must have finish "stop", got {made.finish!r}')
    pieces = list(model.stream(_PROMPTS[at], max_tokens=_TOKENS, stop=["\u2603", stop]))
    _require("".join(pieces) == kept, f"a stream must end before the stop string {stop!r}: wanted {kept!r}, got {''.join(pieces)!r}")


def _check_stream(model: LanguageModel, texts: list[str]) -> None:
    for prompt, text in zip(_PROMPTS, texts, strict=True):
        stream = model.stream(prompt, max_tokens=_TOKENS)
        try:
            _ = stream.completion
        except GenerationError:
            pass
        else:
            raise AssertionError("the completion of a stream that has not ended must raise GenerationError")
        joined = "".join(stream)
        _require(joined == text, f"the pieces of a stream must join to generate's text: wanted {text!r}, got {joined!r}")
        _require(stream.completion.text == text, "the completion of a stream must hold its whole text")
        used = stream.completion.usage
        _require(
            used.calls == 1 and used.prompt_tokens >= 1 and used.generated_tokens <= _TOKENS, f"the usage of a stream is wrong: {used}"
        )
    stream = model.stream(_PROMPTS[0], max_tokens=_TOKENS)
    next(stream, None)
    stream.close()
    _require(next(stream, None) is None, "a closed stream must give no more pieces")


def _check_counts(model: LanguageModel) -> None:
    for a, b in pairwise(_PROMPTS):
        apart, whole = (model.count_tokens(a), model.count_tokens(b)), model.count_tokens(f"{a}\n{b}")
        _require(min(apart) >= 0 and max(apart) <= whole <= sum(apart) + 8, f"two texts of {apart} tokens can't have {whole} when joined")


def _check_next_token(model: LanguageModel) -> None:
    if "next_token" not in model.features:
        _refused("next_token", lambda: model.next_token_logprobs(_PROMPTS, _CANDIDATES))
        return
    candidates = _tokens_of(model)
    scored = model.next_token_logprobs(_PROMPTS, candidates)
    _check_logprobs(scored.logprobs, (len(_PROMPTS), len(candidates)), "next_token_logprobs")
    _require(scored.usage.calls == len(_PROMPTS), "next_token_logprobs must count one call a prompt")
    total = np.exp(scored.logprobs.astype(np.float64)).sum(axis=1)
    _require(bool((total <= 1.001).all()), "probabilities of different next tokens must not sum to more than 1")
    turned = model.next_token_logprobs(_PROMPTS, [c[::-1] for c in candidates]).logprobs
    _require(_near(scored.logprobs, turned), "the order of a candidate's spellings must not matter")
    alone = np.concatenate([model.next_token_logprobs([p], candidates).logprobs for p in _PROMPTS])
    _require(_near(scored.logprobs, alone), "next_token_logprobs of many prompts must be those of each alone")
    _require(model.next_token_logprobs([], candidates).logprobs.shape == (0, len(candidates)), "no prompts must give no rows")
    _raises_input_error(lambda: model.next_token_logprobs(_PROMPTS[0], candidates), "one text in place of a list of prompts must raise")
    _raises_input_error(lambda: model.next_token_logprobs(_PROMPTS, [()]), "a candidate without spellings must raise InputError")


def _tokens_of(model: LanguageModel) -> list[tuple[str, ...]]:
    """The candidates that are tokens of this model; of a model of any use, some are."""
    kept: list[tuple[str, ...]] = []
    for c in _CANDIDATES:
        try:
            model.next_token_logprobs(_PROMPTS[:1], [c])
        except InputError:
            continue
        kept.append(c)
    _require(len(kept) >= 2, f"of the words and marks {[c[0] for c in _CANDIDATES]} at least two must be tokens of the model")
    return kept


def _check_continuation(model: LanguageModel) -> None:
    after = [" has a seal.", " closes", " there was a girl", " Because"]
    if "continuation" not in model.features:
        _refused("continuation", lambda: model.continuation_logprobs(_PROMPTS, after))
        return
    scored = model.continuation_logprobs(_PROMPTS, after)
    _check_logprobs(scored.logprobs, (len(_PROMPTS), 1), "continuation_logprobs")
    _require(bool(np.isfinite(scored.logprobs).all()), "continuation_logprobs must be finite")
    _require(scored.usage.calls == len(_PROMPTS), "continuation_logprobs must count one call a prompt")
    alone = np.concatenate([model.continuation_logprobs([p], [a]).logprobs for p, a in zip(_PROMPTS, after, strict=True)])
    _require(_near(scored.logprobs, alone), "continuation_logprobs of many prompts must be those of each alone")
    letters = _PROMPTS[0]  # as many continuations as it has letters
    many = [after[0]] * len(letters)
    _raises_input_error(lambda: model.continuation_logprobs(letters, many), "one text in place of a list of prompts must raise InputError")
    _raises_input_error(lambda: model.continuation_logprobs(_PROMPTS, after[:1]), "fewer continuations than prompts must raise InputError")


def _check_parallel(model: LanguageModel) -> None:
    """Blocks of a prompt that don't see one another: no part of the protocol, so that a model without it has nothing to refuse."""
    if "parallel" not in model.features:
        return
    if not isinstance(model, ParallelModel):
        raise AssertionError('the feature "parallel" needs a method parallel_next_token_logprobs')
    candidates = _tokens_of(model)
    blocks = [f"[{i}] {text}\n" for i, text in enumerate(_PROMPTS)]
    prompt = [Message("user", "Passages:\n@@\nWhich is best?"), Message("assistant", "Answer:")]
    one, other = (model.parallel_next_token_logprobs(prompt, "@@", order, candidates).logprobs for order in (blocks, blocks[::-1]))
    _check_logprobs(one, (1, len(candidates)), "parallel_next_token_logprobs")
    _require(_near(one, other), "the order of blocks that don't see one another must not matter")


def _check_forms(model: LanguageModel) -> None:
    """Constraints and schemas: what the model may write."""
    answers, ranks = Choices(("yes", "no")), Permutation(("[1]", "[2]", "[3]"))
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    if "constraint" in model.features:
        for constraint in (answers, [answers, Choices(("left", "right"))]):
            made = model.generate(_PROMPTS[:2], max_tokens=32, constraint=constraint)
            allowed = constraint if isinstance(constraint, list) else [constraint] * 2
            kept = all(c.text in a.texts and c.finish == "stop" for c, a in zip(made, allowed, strict=True))
            _require(kept, f"a constraint must be obeyed: got {_texts(made)}")
        ranking = model.generate(_PROMPTS[:1], max_tokens=64, constraint=ranks)[0].text
        _require(sorted(ranking.split(" > ")) == list(ranks.pieces), f"a permutation must hold each piece once, got {ranking!r}")
    else:
        _refused("constraint", lambda: model.generate(_PROMPTS[:1], constraint=answers))
    if "schema" in model.features:
        text = model.generate(_PROMPTS[:1], max_tokens=64, schema=schema)[0].text
        try:
            fits = isinstance(json.loads(text)["ok"], bool)
        except (ValueError, TypeError, KeyError):
            fits = False
        _require(fits, f"a text must fit its schema, got {text!r}")
    else:
        _refused("schema", lambda: model.generate(_PROMPTS[:1], schema=schema))


def _check_claims(model: LanguageModel) -> None:
    """Beginnings, seeds and log-probabilities of what was written."""
    begun = [[Message("user", _PROMPTS[3]), Message("assistant", "The sky is")]]
    if "prefill" in model.features:
        made = model.generate(begun, max_tokens=_TOKENS)
        _require(len(made) == 1 and not made[0].text.startswith("The sky is"), "a text must go on from the assistant's turn, not repeat it")
    else:
        _refused("prefill", lambda: model.generate(begun))
    if "seed" in model.features:
        one, two = (_texts(model.generate(_PROMPTS[:1], max_tokens=_TOKENS, temperature=1.0, seed=7)) for _ in range(2))
        _require(one == two, "the same seed must give the same text")
    else:
        _refused("seed", lambda: model.generate(_PROMPTS[:1], seed=7))
    if "logprobs" in model.features:
        for c in model.generate(_PROMPTS, max_tokens=_TOKENS, logprobs=True):
            _require(bool(c.logprobs) or not c.text, "log-probabilities that are asked for must be given")
            _require(all(t.logprob <= 1e-6 for t in c.logprobs), "a log-probability is at most 0")
            _require(len(c.logprobs) <= _TOKENS, "there must be one log-probability a token")
    else:
        _refused("logprobs", lambda: model.generate(_PROMPTS[:1], logprobs=True))


def _check_logprobs(values: Any, shape: tuple[int, int], name: str) -> None:
    _require(values.shape == shape and values.dtype == np.float32, f"{name} must be float32 {shape}, got {values.dtype} {values.shape}")
    _require(bool((values <= 1e-6).all()), f"{name} must be at most 0, -inf at least")


def _near(a: Any, b: Any) -> bool:
    """Equal to 1e-3, -inf for -inf."""
    return a.shape == b.shape and bool(np.allclose(a, b, atol=1e-3, rtol=1e-3))


def _refused(feature: str, call: Callable[[], object]) -> None:
    try:
        call()
    except InputError as exc:
        _require(feature in str(exc), f"the error for the absent feature {feature!r} must name it, got: {exc}")
        return
    raise AssertionError(f"the feature {feature!r} is not claimed, so asking for it must raise InputError")


def _raises_input_error(call: Callable[[], object], promise: str) -> None:
    try:
        call()
    except InputError:
        return
    raise AssertionError(promise)


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(promise)
