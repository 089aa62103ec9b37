"""A draft model that learns: the loss and the adapter against slow ones, what is recorded and what is not, swaps, going back, saving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import GenerationError, InputError, UnknownNameError
from ragkit.generation.types import Sources
from tests.generation.drafters import Free
from tests.generation.test_speculative import model_of, prompts, speculating
from tests.generation.test_speculative_sampling import PROMPT, V, exact, observed, p_value, tiny
from tests.generation.tiny_models import gpt2, next_logprobs, one_thread, qwen2, torch

from ragkit.generation.local.transformers_model import TransformersModel, load_transformers  # isort: skip
from ragkit.generation.speculative.distillation import Distillation, distil, divergence  # isort: skip
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified  # isort: skip
from ragkit.generation.speculative.draft_model import DraftModel  # isort: skip
from ragkit.generation.speculative.lora import fits, fresh, merged, trainable  # isort: skip
from ragkit.generation.speculative.online import OnlineDraft  # isort: skip
from ragkit.generation.speculative.rate import Rate  # isort: skip
from ragkit.generation.speculative.replay import Replay, Sample  # isort: skip
from ragkit.generation.speculative.speculator import Speculator  # isort: skip
from ragkit.generation.speculative.suffix_automaton import SuffixAutomatonDrafter  # isort: skip
from ragkit.generation.speculative.token_recycling import TokenRecycling  # isort: skip
from ragkit.generation.speculative.watching import right_places  # isort: skip

__all__ = ["one_thread"]

QUICK = Distillation(learning_rate=0.02, rounds=15, batch=32, rank=4)


def online(model: Any, **how: Any) -> OnlineDraft:
    """One that is updated by hand, quickly."""
    given = {"every": None, "distilled": QUICK, **how}
    return OnlineDraft(model if isinstance(model, DraftModel) else DraftModel(model, depth=4), **given)


def write(model: TransformersModel, asked: Sequence[str], learn: str = "", count: int = 24, **how: Any) -> list[Any]:
    return [model.generate([p], max_tokens=count, sources=[Sources(learn=learn)], **how)[0] for p in asked]


def tokens_a_pass(done: Sequence[Any]) -> float:
    return float(sum(c.speculation.tokens for c in done) / sum(c.speculation.passes for c in done))


def ids_of(net: Any, count: int = 12, seed: int = 3) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).integers(4, 500, (1, count)))


# the adapter


@pytest.mark.parametrize("shape", [qwen2, gpt2])
def test_a_fresh_adapter_changes_nothing_and_a_merged_one_computes_the_same(shape: Any) -> None:
    net, _ = shape()
    before = {name: p.clone() for name, p in net.named_parameters()}
    ids = ids_of(net)
    adapter = fresh(net, 3, torch.Generator().manual_seed(1))
    assert fits(net, adapter)
    with torch.no_grad():
        plain = net(ids).logits
        assert torch.equal(trainable(net, adapter)[0](ids).logits, plain)
        assert torch.equal(merged(net, adapter)(ids).logits, plain)
        learnt = {n: (a, torch.randn(b.shape, generator=torch.Generator().manual_seed(2)) / 4) for n, (a, b) in adapter.items()}
        apart, one = trainable(net, learnt)[0](ids).logits, merged(net, learnt)(ids).logits
        assert not torch.allclose(apart, plain, atol=0.1)
        assert torch.allclose(apart, one, atol=1e-4, rtol=1e-4)
        # oracle: the product added to the weights by hand
        byhand, _ = shape()
        for name, (a, b) in learnt.items():
            layer = byhand.get_submodule(name)
            layer.weight = torch.nn.Parameter(layer.weight + 2 * b @ a)
        assert torch.allclose(byhand(ids).logits, one, atol=1e-4, rtol=1e-4)
        assert torch.equal(net(ids).logits, plain)
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in net.named_parameters())


def test_weights_are_shared_and_not_copied() -> None:
    net, _ = qwen2()
    copied, parameters = trainable(net, fresh(net, 2, torch.Generator()))
    mine = {p.data_ptr() for p in net.parameters()}
    assert {p.data_ptr() for p in copied.parameters() if not p.requires_grad} == mine
    assert {id(p) for p in copied.parameters() if p.requires_grad} == {id(m) for pair in parameters.values() for m in pair}


# the loss


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


@given(seed=st.integers(0, 10**6), n=st.integers(3, 40), k=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_divergences_are_those_of_the_books(seed: int, n: int, k: int) -> None:
    """Oracle: sums in float64 over the most probable tokens and one for all others; never more than over all tokens."""
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(n), 2).clip(1e-4) if n > 3 else rng.dirichlet(np.ones(n) * 5, 2).clip(1e-4)
    p, q = p / p.sum(), q / q.sum()
    top = np.argsort(-p)[:k]
    rest = [] if k >= n else [True]
    coarse_p, coarse_q = (np.append(x[top], [1 - x[top].sum()] if rest else []) for x in (p, q))
    middle = (coarse_p + coarse_q) / 2
    wanted = {
        "forward": kl(coarse_p, coarse_q),
        "reverse": kl(coarse_q, coarse_p),
        "jensen-shannon": (kl(coarse_p, middle) + kl(coarse_q, middle)) / 2,
    }
    whole = {"forward": kl(p, q), "reverse": kl(q, p), "jensen-shannon": (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2}
    teacher, student = (torch.tensor(np.log(x[top])[None], dtype=torch.float32) for x in (p, q))
    for loss, expected in wanted.items():
        found = float(divergence(teacher, student, loss)[0])  # type: ignore[arg-type]
        assert found == pytest.approx(expected, abs=2e-4)
        assert found <= whole[loss] + 2e-4
        assert float(divergence(teacher, teacher, loss)[0]) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["forward", "reverse", "jensen-shannon"])
def test_losses_are_numbers_where_probabilities_vanish(loss: Any) -> None:
    ends = torch.tensor([[0.0, -200.0, -float("inf")], [-200.0, 0.0, -90.0]])
    student = ends.flip(0).clone().requires_grad_()
    out = divergence(ends, student, loss)
    out.sum().backward()
    assert out.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def samples_of(target: Any, count: int, seed: int = 5) -> list[Sample]:
    """Places of random texts, and what a model holds there: by plain passes."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        ids = rng.integers(4, 500, 20)
        at = np.sort(rng.permutation(20)[:6])
        top = next_logprobs(target, ids.tolist(), 20)[at].topk(50)
        out.append(Sample(ids[: at[-1] + 1], at, top.indices.numpy(), top.values.numpy()))
    return out


def loss_of(net: Any, samples: Sequence[Sample]) -> float:
    """Oracle: the mean forward divergence in float64, by plain passes."""
    found = []
    for s in samples:
        q = next_logprobs(net, s.ids.tolist(), len(s.ids)).double().exp().numpy()[s.at]
        for place in range(len(s.at)):
            p = np.exp(s.logprobs[place].astype(np.float64))
            mine = q[place, s.tokens[place]]
            found.append(kl(np.append(p, 1 - p.sum()), np.append(mine, 1 - mine.sum())))
    return float(np.mean(found))


def test_steps_lower_the_loss_that_numpy_computes() -> None:
    net, target = qwen2(seed=9)[0], qwen2(seed=7)[0]
    samples = samples_of(target, 6)
    adapter, losses = distil(net, None, samples, replace(QUICK, rounds=30, batch=1000), 1)
    assert losses[0] == pytest.approx(loss_of(net, samples), rel=1e-3)
    learnt = loss_of(merged(net, adapter), samples)
    assert learnt < 0.7 * losses[0]
    assert loss_of(net, samples) == pytest.approx(losses[0], rel=1e-3)
    again, more = distil(net, adapter, samples, replace(QUICK, learning_rate=0.005, rounds=8, batch=1000), 2)
    assert more[0] == pytest.approx(learnt, rel=1e-3)
    assert loss_of(merged(net, again), samples) < learnt
    other = distil(net, None, samples_of(target, 6, seed=6), replace(QUICK, rounds=1, batch=1000), 1)[0]
    assert fits(net, other)


def test_the_same_seed_learns_the_same_and_draws_nothing_of_the_callers() -> None:
    net, target = qwen2(seed=9)[0], qwen2(seed=7)[0]
    samples = samples_of(target, 6)
    how = replace(QUICK, rounds=3)
    state = torch.get_rng_state()
    with torch.inference_mode():
        one, losses = distil(net, None, samples, how, 1)
    torch.manual_seed(123)
    two, same = distil(net, None, samples, how, 1)
    torch.set_rng_state(state)
    assert losses == same
    assert all(torch.equal(x, y) for name in one for x, y in zip(one[name], two[name], strict=True))
    other, _ = distil(net, None, samples, replace(how, seed=8), 1)
    assert any(not torch.equal(one[name][1], other[name][1]) for name in one)
    distil(net, None, samples, how, 1)
    assert torch.equal(torch.get_rng_state(), state)


# what is recorded


def test_nothing_is_recorded_that_is_not_allowed_to_be() -> None:
    drafter = online(model_of("qwen2", seed=9))
    model = speculating(model_of("qwen2"), drafter)
    asked = prompts(4, 3)
    write(model, asked)
    model.generate(asked, max_tokens=12)
    list(model.stream(asked[0], max_tokens=12))
    assert Sources().learn == Request([1]).learn == ""
    assert drafter.recorded == 0
    assert drafter.update() is None
    assert drafter.updates == 0
    write(model, asked, learn="docs")
    assert drafter.recorded > 10


@pytest.mark.parametrize("others", [0.0, 0.5, 1.0])
def test_places_are_those_of_the_text_and_tell_what_the_model_holds(others: float) -> None:
    """Oracle: for each place a plain pass over the text before it."""
    drafter = online(model_of("qwen2", seed=9), others=others)
    plain = model_of("qwen2")
    model = speculating(plain, drafter, SuffixAutomatonDrafter())
    asked = prompts(3, 8)
    done = model.generate(asked, max_tokens=20, sources=[Sources(learn="a"), Sources(), Sources(learn="c")])
    samples, labels = drafter._replay.draw(10**9, (0,))
    assert labels == {"a", "c"}
    assert len(samples) == 2
    for sample in samples:
        whole = next(plain.encode(p) for p in asked if plain.encode(p) == sample.ids[: len(plain.encode(p))].tolist())
        assert (sample.at >= len(whole)).all()  # the first token is none that is drafted
        assert len(np.unique(sample.at)) == len(sample.at)
        expected = next_logprobs(plain.net.model, sample.ids.tolist(), len(sample.ids))[sample.at].topk(50)
        assert sample.logprobs == pytest.approx(expected.values.numpy(), abs=1e-3)
        assert (sample.tokens[:, 0] == expected.indices.numpy()[:, 0]).all()
        following = sample.ids[sample.at[:-1] + 1]
        assert (following == sample.tokens[:-1, 0]).all()  # greedy: what was written is what the model holds most probable
    written = sum(c.usage.generated_tokens - 1 for c in (done[0], done[2]))
    places = sum(len(s.at) for s in samples)
    assert places == written if others == 1 else 0 < places < written


def test_wrong_places_are_those_that_no_draft_was_right_about() -> None:
    tree = Draft.of([5, 6, 7, 8], [-1, -1, 0, 2])
    assert right_places(tree, [5, 7, 8, 9]) == [True, True, True]
    assert right_places(tree, [5, 6]) == [True, False]
    assert right_places(tree, [6, 7]) == [True]
    assert right_places(tree, [9, 5]) == [False]
    assert right_places(Draft.of([], []), [9]) == []


def test_the_buffer_is_bounded_and_can_be_forgotten() -> None:
    replay = Replay(room=10, context=8)
    told = np.zeros(2, np.int32), np.zeros(2, np.float32)
    a = replay.begin("a", range(100))
    assert a.tokens == list(range(92, 100))
    for _ in range(4):
        a = replay.add(a, [1, 2, 3], [(0, *told), (2, *told)])
    assert (len(replay), replay.taken) == (8, 8)
    b = replay.begin("b", [7])
    b = replay.add(b, [8, 9], [(0, *told), (1, *told), (2, *told)])
    assert (len(replay), replay.taken) == (10, 11)
    samples, labels = replay.draw(100, (1,))
    assert labels == {"a", "b"}
    assert sorted(len(s.at) for s in samples) == [2, 3, 5]
    assert all(len(s.ids) <= 24 and (s.at < len(s.ids)).all() for s in samples)
    assert len(replay.draw(1, (1,))[0]) == 1
    replay.forget("a")
    assert len(replay) == 3
    assert replay.add(a, [4], [(0, *told)]) is a  # still being written, and forgotten
    assert len(replay) == 3
    assert a.tokens == []
    replay.forget(None)
    replay.add(b, [4], [(0, *told)])
    assert len(replay) == 0
    long = replay.begin("c", range(8))
    replay.add(long, range(100), [(i, *told) for i in range(100)])
    (sample,), _ = replay.draw(100, (1,))
    assert len(sample.ids) <= 24


# learning and swapping


def test_drafts_become_right_on_a_repeated_domain() -> None:
    drafter = online(model_of("llama", seed=9))
    plain = model_of("llama")
    model = speculating(plain, drafter)
    asked = prompts(6, 3)
    before = write(model, asked, learn="docs")
    first = drafter.rate
    update = drafter.update()
    assert update is not None
    assert update.number == drafter.updates == 1
    assert update.places == drafter.recorded
    assert update.losses[-1] < 0.5 * update.losses[0]
    assert drafter.rate is None
    after = write(model, asked)
    assert [c.text for c in after] == [c.text for c in before]
    assert tokens_a_pass(after) > 1.3 * tokens_a_pass(before)
    assert first is not None
    assert drafter.rate is not None
    assert drafter.rate > first + 0.2
    assert sum(sum(c.speculation.accepted.values()) for c in after) > 2 * sum(sum(c.speculation.accepted.values()) for c in before)


def test_the_same_stream_learns_the_same() -> None:
    found = []
    for _ in range(2):
        drafter = online(model_of("qwen2", seed=9), every=40, distilled=replace(QUICK, rounds=2), window=4)
        model = speculating(model_of("qwen2"), drafter)
        state = torch.get_rng_state()
        write(model, prompts(10, 3), learn="docs")
        assert torch.equal(torch.get_rng_state(), state)
        adapter = drafter._now.adapter
        assert drafter.updates >= 2
        assert adapter is not None
        found.append((drafter.updates, drafter.rolled_back, drafter.rate, {n: b for n, (_, b) in adapter.items()}))
    assert found[0][:3] == found[1][:3]
    assert all(torch.equal(b, found[1][3][n]) for n, b in found[0][3].items())


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
def test_texts_are_the_same_with_updates_between_and_during(shape: str) -> None:
    plain = model_of(shape)
    between = online(model_of(shape, seed=9), every=20, distilled=replace(QUICK, rounds=1), window=2)
    model = speculating(plain, between, TokenRecycling())
    asked = prompts(6, 12)
    for prompt in asked:
        (expected,), (found,) = plain.generate([prompt], max_tokens=32), write(model, [prompt], learn="docs", count=32)
        assert found.text == expected.text
    assert between.updates >= 2
    during = online(model_of(shape, seed=9), distilled=replace(QUICK, rounds=1, samples=20))
    model = speculating(plain, during)
    for prompt in asked[:3]:
        pieces = model.stream(prompt, max_tokens=32, sources=Sources(learn="docs"))
        text = ""
        for number, piece in enumerate(pieces):
            text += piece
            if number % 5 == 4:
                during.update()
        assert text == plain.generate([prompt], max_tokens=32)[0].text
    assert during.updates >= 6


def test_a_request_keeps_the_weights_that_it_began_with() -> None:
    drafter = online(model_of("qwen2", seed=9))
    plain = model_of("qwen2")
    write(speculating(plain, drafter), prompts(6, 3), learn="docs")
    ids = plain.encode("The pump has two gaskets")

    def drafted(drafting: Any) -> list[int]:
        return list(drafting.propose(Budget(16, 4)).tokens)

    begun, old = drafter.begin(Request(ids, width=plain.net.width)), drafter.begin(Request(ids, width=plain.net.width))
    before = drafted(old)
    assert drafter.update() is not None
    new = drafted(drafter.begin(Request(ids, width=plain.net.width)))
    assert drafted(begun) == before
    assert new != before
    old.observe(Verified(before[:1], np.zeros(0, np.int64), np.zeros(0, np.int32), [], None))
    assert drafter._now.rate.value is None  # old drafts count for the old weights


def test_drawn_texts_follow_the_model_whatever_was_learnt() -> None:
    model = tiny(1)
    drafter = online(DraftModel(tiny(5), depth=2, drawn=True), distilled=replace(QUICK, rank=2))
    text = drafter._replay.begin("x", PROMPT)
    rng = np.random.default_rng(2)
    for _ in range(30):
        law = np.log(rng.dirichlet(np.ones(V)))
        text = drafter._replay.add(
            text, [int(rng.integers(V))], [(0, np.argsort(-law).astype(np.int32), np.sort(-law).astype(np.float32) * -1)]
        )
    assert drafter.update() is not None
    assert p_value(observed(model, drafter), exact(model)) > 1e-3


# going back


def test_a_bad_update_is_taken_back() -> None:
    """An absurd learning rate spoils the weights; texts stay as they are, and the weights before come back."""
    drafter = online(model_of("llama", seed=9), window=10)
    plain = model_of("llama")
    model = speculating(plain, drafter)
    asked = prompts(10, 3)
    write(model, asked, learn="docs")
    assert drafter.update() is not None
    write(model, asked, learn="docs")
    drafter.begin(Request(plain.encode("The")))
    good = drafter._now
    assert drafter.rolled_back == 0
    drafter.distilled = replace(QUICK, learning_rate=1.0)
    assert drafter.update() is not None
    assert drafter._now is not good
    bad = write(model, asked)
    assert [c.text for c in bad] == [c.text for c in write(plain_speculating(plain), asked)]
    drafter.begin(Request(plain.encode("The")))
    assert drafter.rolled_back == 1
    assert drafter._now is good
    assert tokens_a_pass(bad) < 0.95 * tokens_a_pass(write(model, asked))


def plain_speculating(plain: TransformersModel) -> TransformersModel:
    return speculating(plain, SuffixAutomatonDrafter())


def test_no_update_is_due_while_one_is_on_trial() -> None:
    drafter = online(model_of("llama", seed=9), every=10, distilled=replace(QUICK, rounds=2), window=10_000)
    model = speculating(model_of("llama"), drafter)
    write(model, prompts(8, 3), learn="docs")
    assert drafter.updates == 1
    assert drafter.recorded > 30


def counted(shares: Sequence[float], window: int) -> Rate:
    rate = Rate(window)
    for share in shares:
        tally = rate.begin()
        tally.right, tally.places = round(100 * share), 100
    return rate


def test_a_fall_counts_beyond_chance_alone() -> None:
    rng = np.random.default_rng(0)
    before = counted(0.5 + 0.1 * rng.standard_normal(64), 64)
    assert counted([0.1] * 8, 64).fell(before, 0.05) is True  # beyond doubt, before the window is full
    assert counted([0.1] * 7, 64).fell(before, 0.05) is None
    assert counted([0.5] * 20, 64).fell(before, 0.05) is None
    assert counted([0.5] * 64, 64).fell(before, 0.05) is False
    assert counted([0.49] * 64, 64).fell(before, 0.05) is False
    assert counted([0.44] * 64, 64).fell(before, 0.05) is True
    assert counted([0.44] * 64, 64).fell(before, 0.2) is False
    assert counted([0.4] * 64, 64).fell(counted([], 64), 0.05) is False  # nothing to compare with
    wrongly = sum(
        counted(0.5 + 0.1 * rng.standard_normal(64), 64).fell(counted(0.5 + 0.1 * rng.standard_normal(64), 64), 0.05) is True
        for _ in range(300)
    )  # fmt: skip
    assert wrongly <= 15
    assert counted([0.2, 0.4], 2).value == pytest.approx(0.3)
    assert counted([0.9, 0.2, 0.4], 2).value == pytest.approx(0.3)
    assert Rate(4).value is None


def test_an_update_that_fails_by_itself_disturbs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    drafter = online(model_of("qwen2", seed=9), every=10, distilled=replace(QUICK, learning_rate=1e30))
    model = speculating(model_of("qwen2"), drafter)
    before = write(model, prompts(1, 3), learn="docs")
    assert [c.text for c in write(model, prompts(1, 3))] == [c.text for c in before]
    assert "goes on as it was" in caplog.text
    with pytest.raises(GenerationError, match="has a loss of nan"):
        drafter.update()
    assert drafter._now.adapter is None


# forgetting and saving


def test_weights_that_have_learnt_from_what_is_forgotten_go_too() -> None:
    drafter = online(model_of("qwen2", seed=9), distilled=replace(QUICK, rounds=1))
    model = speculating(model_of("qwen2"), drafter)
    untaught = [c.speculation.depths for c in write(model, prompts(2, 3))]
    write(model, prompts(2, 3), learn="alice")
    drafter.update()
    alice = drafter._now
    drafter.forget("bob")
    assert drafter._now is alice
    write(model, prompts(2, 4), learn="bob")
    drafter.update()
    assert drafter._now.labels == {"alice", "bob"}
    drafter.forget("bob")
    assert drafter._now.adapter is None  # what was on trial goes back no further than to weights that can be kept: alice's were not
    assert drafter.recorded > 0
    drafter.forget()
    assert drafter.recorded == 0
    assert [c.speculation.depths for c in write(model, prompts(2, 3))] == untaught
    with pytest.raises(InputError, match="has learnt nothing yet"):
        drafter.save("nowhere")


def test_an_adapter_is_saved_and_loaded_for_its_own_model_alone(tmp_path: Path) -> None:
    drafter = online(model_of("qwen2", seed=9))
    model = speculating(model_of("qwen2"), drafter)
    write(model, prompts(4, 3), learn="docs")
    drafter.update()
    taught = tokens_a_pass(write(model, prompts(4, 3)))
    drafter.save(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["adapter.safetensors"]
    other = online(model_of("qwen2", seed=9))
    other.load(tmp_path / "a")
    assert tokens_a_pass(write(speculating(model_of("qwen2"), other), prompts(4, 3))) == taught
    other.forget("docs")
    assert other._now.adapter is None
    with pytest.raises(InputError, match="belongs to another model than"):
        online(model_of("qwen2", seed=10)).load(tmp_path / "a")
    with pytest.raises(InputError, match="holds no adapter"):
        other.load(tmp_path)
    (tmp_path / "a" / "adapter.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="holds no adapter"):
        other.load(tmp_path / "a")


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="reverse"):
        Distillation(loss="revers")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rank must be at least 1"):
        Distillation(rank=0)
    with pytest.raises(InputError, match="learning_rate must be above 0"):
        Distillation(learning_rate=0)
    small = model_of("qwen2", seed=9)
    with pytest.raises(InputError, match="window must be at least 1"):
        online(small, window=0)
    with pytest.raises(InputError, match="drop between 0 and 1"):
        online(small, drop=1.0)
    net, tokenizer = qwen2()
    net.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    packed = load_transformers(str(tmp_path), dtype="float32")
    with pytest.raises(InputError, match="its weights are packed"):
        online(packed)
    loaded = OnlineDraft(str(tmp_path))
    assert loaded.begin(Request([5, 6, 7], width=640)).propose(Budget(8, 4)).tokens.size
    with pytest.raises(InputError, match="cuts texts into other tokens"):
        speculating(model_of("llama"), online(small)).generate(["The pump"])


@pytest.mark.slow
def test_docs_1m_learns_what_docs_7m_says() -> None:
    """Beginnings of pages on compiler errors: more is right on pages that were not learnt from."""
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))
    data = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))
    if not folder.is_dir() or not data.is_dir():
        pytest.skip(f"no real models at {folder} or no data at {data} (RAGKIT_MODELS, RAGKIT_DATA)")
    plain = load_transformers(str(folder / "docs-7m"), dtype="float32")
    assert isinstance(plain, TransformersModel)
    drafter = OnlineDraft(DraftModel(str(folder / "docs-1m"), depth=4, branches=1), every=None)
    model = speculating(plain, drafter)
    assert isinstance(model._speculator, Speculator)
    assert isinstance(model._speculator.costs(1), Free)
    asked = [f'---\ntitle: "Compiler Error C{n}"\n---\n# Compiler Error C{n}\n\n' for n in range(2000, 2400, 10)]
    before = write(model, asked[30:], count=48)
    write(model, asked[:30], learn="docs", count=48)
    assert drafter.update() is not None
    after = write(model, asked[30:], count=48)
    assert [c.text for c in after] == [c.text for c in before]
    assert tokens_a_pass(after) > 1.3 * tokens_a_pass(before)
