"""Lossy speculation: texts follow the law that reports name, exactly, at every token, and nobody gets it unasked or ungated."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.evaluation.answers import exact_match
from ragkit.generation import Choices
from tests.generation import test_speculative_sampling as sampled
from tests.generation.drafters import Free, Scattered
from tests.generation.test_speculative import model_of, prompts, speculating
from tests.generation.tiny_models import llama, one_thread, torch

from ragkit.generation.local.detokenise import Detokeniser  # isort: skip
from ragkit.generation.local.transformers_model import TransformersModel  # isort: skip
from ragkit.generation.speculative.draft import Budget, Draft, Request  # isort: skip
from ragkit.generation.speculative.drafters import (  # isort: skip
    RAPID, RASD, DraftModel, Fused, Judge, QualityGate, SuffixAutomatonDrafter, TokenRecycling,
)  # fmt: skip
from ragkit.generation.speculative.judge import judged  # isort: skip
from ragkit.generation.speculative.rapid import drawn_to  # isort: skip
from ragkit.generation.speculative.speculator import Speculator  # isort: skip
from ragkit.generation.local.sampling import Sampling  # isort: skip
from ragkit.generation.types import Sources  # isort: skip

__all__ = ["one_thread"]

SHORT = [1, 4]
Shift = Callable[[np.ndarray, np.ndarray], np.ndarray]


def test_the_numbers_of_the_paper() -> None:
    z = np.array([2.0, 1.0, 0.0, -1.0])
    p, q = np.exp(z) / np.exp(z).sum(), np.array([0.1, 0.6, 0.2, 0.1])
    shifted = drawn_to(p, q, eta=5)
    assert p == pytest.approx([0.6439, 0.2369, 0.0871, 0.0321], abs=5e-5)
    assert shifted == pytest.approx([0.0250, 0.8581, 0.0903, 0.0265], abs=5e-5)
    assert np.minimum(p, q).sum() == pytest.approx(0.4561, abs=5e-5)
    assert np.minimum(shifted, q).sum() == pytest.approx(0.7419, abs=5e-5)


@given(seed=st.integers(0, 10**6), eta=st.sampled_from([0.0, 0.5, 10.0, 1e4]), cut=st.booleans())
def test_shifts_are_distributions(seed: int, eta: float, cut: bool) -> None:
    """Against the formula in logits; what top_p ruled out stays out."""
    rng = np.random.default_rng(seed)
    z, q = rng.normal(0, 3, 7), rng.dirichlet(np.ones(7) / 3)
    p = np.exp(z) / np.exp(z).sum()
    if cut:
        p[rng.permutation(7)[:3]] = 0
        p /= p.sum()
    found = drawn_to(p, q, eta=eta)
    with np.errstate(divide="ignore"):
        logits = np.log(p) + eta * (q - p)
    expected = np.exp(logits - logits.max())
    assert found == pytest.approx(expected / expected.sum(), abs=1e-12)
    assert not found[p == 0].any()
    divergence = np.sum(q * np.log(q / p)) if p.all() else np.inf
    for threshold in (0.0, 0.1, 1.0, 10.0):
        assert judged(p, q, threshold=threshold) is (q if divergence < threshold else p)


def gate(threshold: float, **more: Any) -> QualityGate:
    """One that was passed, for requests that name no target."""
    draft = sampled.tiny(5).fingerprint
    made = QualityGate("", draft, threshold, sampled.SAMPLING.temperature, 1.0, 20, plain=0.5, judged=0.5, lost_at_most=0, most_lost=0)
    return replace(made, **more)


def exact_shifted(target: TransformersModel, draft: TransformersModel, shift: Shift, short: list[int]) -> np.ndarray:
    """Probability of each text of three tokens, float64 (V, V, V): by plain passes of both models."""
    out = np.ones((sampled.V,) * sampled.LENGTH)
    for text in itertools.product(range(sampled.V), repeat=sampled.LENGTH):
        p, q = sampled.laws(target, sampled.PROMPT, text), sampled.laws(draft, short, text)
        out[text] = np.prod([shift(p[i], q[i])[t] for i, t in enumerate(text)])
    return out


CASES: dict[str, tuple[Callable[[TransformersModel], Any], Shift, list[int]]] = {
    "RAPID": (lambda m: RAPID(m, eta=5, depth=2), partial(drawn_to, eta=5), SHORT),
    "RAPID, a token ahead": (lambda m: RAPID(m, eta=5, depth=1), partial(drawn_to, eta=5), SHORT),
    "RAPID, too deep": (lambda m: RAPID(m, eta=2), partial(drawn_to, eta=2), SHORT),
    "RAPID, nothing shorter": (lambda m: RAPID(m, eta=5, depth=2), partial(drawn_to, eta=5), sampled.PROMPT),
    "judge": (lambda m: Judge(m, gate(2.0), depth=2), partial(judged, threshold=2.0), sampled.PROMPT),
    "judge of everything": (lambda m: Judge(m, gate(1e9)), lambda p, q: q, sampled.PROMPT),
}


@pytest.mark.parametrize("name", CASES)
def test_texts_follow_the_law_that_is_named(name: str) -> None:
    made, shift, short = CASES[name]
    target, draft = sampled.tiny(1), sampled.tiny(5)
    expected = exact_shifted(target, draft, shift, short)
    assert expected.sum() == pytest.approx(1)
    counts = sampled.observed(target, made(draft), rounds=3, short=None if short is sampled.PROMPT else short)
    assert sampled.p_value(counts, expected) > 1e-3
    assert sampled.p_value(counts, sampled.exact(target)) < 1e-6


def test_a_judge_takes_some_and_leaves_some() -> None:
    """Or the test above would tell nothing of the threshold."""
    target, draft = sampled.tiny(1), sampled.tiny(5)
    taken = [
        judged(p, q, threshold=2.0) is q
        for text in itertools.product(range(sampled.V), repeat=sampled.LENGTH)
        for p, q in zip(sampled.laws(target, sampled.PROMPT, text), sampled.laws(draft, sampled.PROMPT, text), strict=True)
    ]
    assert 0.2 < np.mean(taken) < 0.8


@pytest.mark.parametrize("name", ["RAPID", "judge"])
def test_without_a_shift_it_is_speculative_sampling_bit_for_bit(name: str) -> None:
    target, draft = sampled.tiny(1), sampled.tiny(5)
    drafter: Any = RAPID(draft, eta=0, depth=2) if name == "RAPID" else Judge(draft, gate(0), depth=2)
    assert drafter.lossless
    counts = sampled.observed(target, drafter, rounds=1)
    assert (counts == sampled.observed(target, DraftModel(draft, depth=2, drawn=True), rounds=1)).all()
    plain, small = model_of("qwen2"), model_of("qwen2", seed=9)
    passed = gate(0, target=plain.fingerprint, draft=small.fingerprint)
    for temperature, top_p in ((0.0, 1.0), (0.7, 1.0), (1.3, 0.9)):
        here = replace(passed, temperature=temperature, top_p=top_p)
        lossless: Any = RAPID(small, eta=0, depth=4) if name == "RAPID" else Judge(small, here, depth=4)
        how: dict[str, Any] = {"max_tokens": 24, "temperature": temperature, "top_p": top_p, "seed": 3}
        drawn = speculating(plain, DraftModel(small, depth=4, drawn=True)) if temperature else plain
        for prompt in prompts(4, 13):
            (found,), (expected,) = speculating(plain, lossless).generate([prompt], **how), drawn.generate([prompt], **how)
            assert found.text == expected.text
            assert found.speculation is not None
            assert found.speculation.lossless


def slowly(target: TransformersModel, draft: TransformersModel, prompt: str, short: str, shift: Shift, count: int) -> str:
    """Oracle: the most probable token of the shifted distribution, both texts computed anew for each."""
    read, few = target.encode(prompt), target.encode(short)
    writer = Detokeniser(target.tokens.tokenizer, read)
    text, out = "", list[int]()
    while len(out) < count:
        p, q = (last_law(m, [*ids, *out]) for m, ids in ((target, read), (draft, few)))
        token = int(shift(p, q).argmax())
        if token in target.ends:
            break
        out.append(token)
        text += writer.add(token)
    return text + writer.end()


def freely(model: TransformersModel) -> TransformersModel:
    """Every draft is verified."""
    had = model._speculator
    assert had is not None
    model._speculator = Speculator(had.drafters, width=had.width, ends=model.ends, trees=had.trees, timed=Free)
    return model


def last_law(model: TransformersModel, ids: Sequence[int]) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.net.model(input_ids=torch.tensor([list(ids)])).logits[0, -1].double().softmax(-1).numpy()
    return found


@pytest.mark.parametrize("shape", ["llama", "qwen2", "mistral"])
@pytest.mark.parametrize("name", ["RAPID", "judge"])
def test_the_most_probable_text_is_that_of_the_law(shape: str, name: str) -> None:
    """At any depth, alone and side by side, streamed or not, and with the clock running: what is written depends on none of it."""
    plain, small = model_of(shape), model_of(shape, seed=9)
    asked = prompts(5, 17)
    short = [" ".join(p.split()[-4:]) for p in asked] if name == "RAPID" else asked
    shift: Shift = partial(drawn_to, eta=20) if name == "RAPID" else partial(judged, threshold=3.2)
    expected = [slowly(plain, small, p, s, shift, 24) for p, s in zip(asked, short, strict=True)]
    passed = gate(3.2, target=plain.fingerprint, draft=small.fingerprint, temperature=0.0)
    sources = [Sources(short=s) for s in short]
    for depth, timed in ((1, False), (4, False), (12, False), (4, True)):
        drafter = RAPID(small, eta=20, depth=depth) if name == "RAPID" else Judge(small, passed, depth=depth)
        model = plain.drafting(drafter, allow_lossy=True)
        model = model if timed else freely(model)
        alone = [model.generate([p], max_tokens=24, sources=[s])[0] for p, s in zip(asked, sources, strict=True)]
        assert [c.text for c in alone] == expected
        reports = [c.speculation for c in alone]
        assert all(r is not None and not r.lossless and r.law == drafter.law for r in reports)
        assert depth == 1 or timed or sum(sum(r.accepted.values()) for r in reports if r) > 15
        assert "".join(model.stream(asked[0], max_tokens=24, sources=sources[0])) == expected[0]
        if shape != "mistral":
            together = model.generate(asked, max_tokens=24, sources=sources)
            assert [c.text for c in together] == [c.text for c in alone]
    assert all(plain.generate([p], max_tokens=24)[0].text != e for p, e in zip(asked, expected, strict=True))


def test_prompts_that_are_not_drafted_for_are_said_to_be_the_models_own() -> None:
    plain, small = model_of("mistral"), model_of("mistral", seed=9)
    model = plain.drafting(RAPID(small, eta=20), allow_lossy=True)
    asked = prompts(3, 19)
    done = model.generate(asked, max_tokens=16)
    assert [c.text for c in done] == [c.text for c in plain.generate(asked, max_tokens=16)]
    assert all(c.speculation is not None and c.speculation.lossless and c.speculation.notes for c in done)


def test_constraints_are_the_models_own() -> None:
    plain, small = model_of("llama"), model_of("llama", seed=9)
    model = plain.drafting(RAPID(small, eta=1e4), allow_lossy=True)
    choice = Choices(["yes, it is", "no, never", "true"])
    for prompt in prompts(5, 23):
        (found,), (expected,) = (m.generate([prompt], constraint=choice) for m in (model, plain))
        assert found.text == expected.text
        assert found.speculation is not None
        assert found.speculation.lossless


def test_a_report_says_where_the_draft_model_reads_no_more() -> None:
    plain, small = model_of("llama"), model_of("llama", seed=9, context=40)
    model = plain.drafting(RAPID(small, eta=20, depth=4), allow_lossy=True)
    [prompt] = (p for p in prompts(40, 29)[:40] if 30 <= plain.count_tokens(p) <= 31)
    (done,) = model.generate([prompt], max_tokens=24)
    assert done.speculation is not None
    assert done.usage.generated_tokens == 24
    left = 24 - (40 - plain.count_tokens(prompt) + 1)
    assert done.speculation.notes == (f"{left} of 24 tokens follow the model alone: the draft model reads no more",)
    assert not done.speculation.lossless
    assert done.speculation.to_dict()["law"] == "softmax(log p + 20 (q - p)), where p is the model's own distribution and q what " + (
        "'llama' holds of fewer passages"
    )


def test_the_same_model_can_draft_for_itself() -> None:
    """With nothing shorter to read, q is p, and the shift is none."""
    plain = model_of("llama")
    model = freely(plain.drafting(RAPID(plain, eta=50), allow_lossy=True))
    for prompt in prompts(4, 31):
        (found,), (expected,) = (m.generate([prompt], max_tokens=24) for m in (model, plain))
        assert found.text == expected.text
        assert found.speculation is not None
        assert found.speculation.passes <= 4


@pytest.mark.parametrize("wider", ["target", "draft"])
def test_heads_that_are_padded_differently(wider: str) -> None:
    """The rows of a head beyond the tokenizer's own differ within families of models."""
    (wide, tokenizer), (narrow, _) = llama(vocab_size=640), llama(seed=9)
    with torch.no_grad():
        wide.lm_head.weight[600:] = 0  # never written, as no model is trained to
    wide, narrow = (TransformersModel(m, tokenizer, name="m", prefix_cache=False) for m in (wide, narrow))
    plain, small = (wide, narrow) if wider == "target" else (narrow, wide)
    for drafter in (RAPID(small, eta=5, depth=3), DraftModel(small, depth=3, drawn=True)):
        model = plain.drafting(drafter, allow_lossy=True)
        for seed, prompt in enumerate(prompts(6, 37)):
            assert model.generate([prompt], max_tokens=12, temperature=1.5, top_p=0.8, seed=seed)[0].usage.generated_tokens > 0


def test_drafts_without_a_seed_differ() -> None:
    """A text of its own each time needs drafts of their own: the same ones would be taken again and again."""
    draft = sampled.tiny(5)
    request = Request(sampled.PROMPT, width=sampled.V, sampling=Sampling(1.3, 1.0, None))
    for drafter in (DraftModel(draft, drawn=True), RAPID(draft)):
        assert len({tuple(drafter.begin(request).propose(Budget(8, 8)).tokens.tolist()) for _ in range(20)}) > 5


def examples(model: TransformersModel, count: int) -> list[tuple[str, list[str]]]:
    """What the model writes itself is what is right."""
    return [(p, [model.generate([p], max_tokens=12)[0].text]) for p in prompts(count, 43)]


def test_only_what_was_seen_to_keep_the_quality_gets_a_judge() -> None:
    plain, small = model_of("qwen2"), model_of("qwen2", seed=9)
    held_out = examples(plain, 24)
    measure = partial(QualityGate.measure, plain, small, held_out, metric=exact_match, max_tokens=12)
    bad = measure(threshold=50.0, most_lost=0.05)
    assert (bad.plain, bad.examples, bad.passed) == (1.0, 24, False)
    assert bad.judged < 0.5 < bad.lost_at_most
    with pytest.raises(InputError, match=rf"over 24 examples texts score {bad.judged:.4f} with it and 1\.0000 without"):
        Judge(small, bad)
    good = measure(threshold=1e-9, most_lost=0.05)
    assert (good.plain, good.judged, good.passed) == (1.0, 1.0, True)
    assert QualityGate(**asdict(good)) == good
    with pytest.raises(InputError, match="costs too much quality"):
        Judge(small, replace(good, examples=19))
    model = plain.drafting(Judge(small, good), allow_lossy=True)
    (done,) = model.generate([held_out[0][0]], max_tokens=12)
    assert done.text == held_out[0][1][0]
    assert done.speculation is not None
    assert done.speculation.notes == ("not for cited answers: some of its words are a draft model's",)
    with pytest.raises(InputError, match=r"measured at temperature 0 and top_p 1, and texts are asked for at 0\.5 and 1"):
        model.generate(["The pump"], temperature=0.5)
    with pytest.raises(InputError, match="measured for another draft model"):
        plain.drafting(Judge(model_of("qwen2", seed=11), good), allow_lossy=True).generate(["The pump"])
    with pytest.raises(InputError, match="measured for another model that writes"):
        model_of("qwen2", seed=11).drafting(Judge(small, good), allow_lossy=True).generate(["The pump"])
    with pytest.raises(InputError, match="a quality gate needs at least 20 examples, got 19"):
        QualityGate.measure(plain, small, held_out[:19], threshold=0.1, most_lost=0.1)
    with pytest.raises(InputError, match="threshold must be at least 0 nats, got -1"):
        measure(threshold=-1, most_lost=0.1)


def test_a_gate_of_drawn_texts_is_measured_as_they_are_drawn() -> None:
    plain, small = model_of("qwen2"), model_of("qwen2", seed=9)
    held_out = examples(plain, 20)
    made = [
        QualityGate.measure(plain, small, held_out, threshold=0.3, most_lost=1.0, max_tokens=8, temperature=0.9, top_p=0.8, seed=4)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0].plain != made[0].judged
    model = plain.drafting(Judge(small, made[0]), allow_lossy=True)
    assert model.generate(["The pump"], max_tokens=8, temperature=0.9, top_p=0.8)[0].speculation


class Quiet:
    """A drafter that claims or does not claim to be lossless, and tells no law."""

    name = "quiet"

    def __init__(self, lossless: bool, draft: Draft | None = None) -> None:
        self.lossless, self.draft = lossless, draft

    def begin(self, request: Request) -> Any:
        return self

    def propose(self, budget: Budget) -> Any:
        return self.draft

    def observe(self, verified: Any) -> None:
        pass

    def passage_of(self, place: int) -> None:
        pass


def test_nothing_lossy_comes_unasked() -> None:
    plain, small = model_of("llama"), model_of("llama", seed=9)
    lossy = RAPID(small, eta=5)
    unasked = r"RAPID changes what is written: it follows softmax\(log p \+ 5 \(q - p\)\).*; give allow_lossy=True"
    for speculate in (lossy, Fused(lossy), Fused(SuffixAutomatonDrafter(), Fused(lossy)), Fused(lossy, TokenRecycling())):
        with pytest.raises(InputError, match=unasked):
            plain.drafting(speculate)
    with pytest.raises(InputError, match="judge changes what is written"):
        TransformersModel(plain.net.model, plain.tokens.tokenizer, name="m", speculate=Judge(small, gate(0.1)))
    with pytest.raises(InputError, match="let it draft alone"):
        plain.drafting(Fused(lossy, TokenRecycling()), allow_lossy=True)
    with pytest.raises(InputError, match="RASD fuses guesses, and RAPID changes what is written"):
        RASD(DraftModel(small), lossy)
    with pytest.raises(InputError, match="quiet changes what is written and does not say how"):
        plain.drafting(Quiet(False), allow_lossy=True)
    assert plain.drafting(Fused(RAPID(small, eta=0), TokenRecycling())).lossy is None
    assert plain.drafting(lossy, allow_lossy=True).lossy is lossy
    assert plain.lossy is None
    assert "speculation" not in plain.drafting(lossy, allow_lossy=True).drafting(False).features
    made = Draft.chain([5])
    liar = Quiet(True, Draft(made.tokens, made.parents, made.grades, made.places, {-1: np.eye(600)[5]}, lambda p, q: q))
    with pytest.raises(ValueError, match="quiet says that it is lossless, and changes what is written"):
        speculating(plain, liar).generate(["The pump"])
    assert plain.drafting(Scattered({}, 0, width=600, chain=True)).generate(["The pump"], max_tokens=4)


def test_bad_input_is_named() -> None:
    plain, other = model_of("llama"), model_of("qwen2")
    for eta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="eta must be a number from 0 on"):
            RAPID(plain, eta=eta)
    for make in (lambda: RAPID(plain, depth=0), lambda: Judge(plain, gate(0.1), depth=0)):
        with pytest.raises(InputError, match="depth must be at least 1, got 0"):
            make()
    with pytest.raises(InputError, match="'qwen2' can't draft here: it cuts texts into other tokens"):
        plain.drafting(RAPID(other), allow_lossy=True).generate(["The pump"])
