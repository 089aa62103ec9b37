"""Losses of listwise rerankers: values by hand, numpy oracles in float64, gradients where there is nothing left to learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragkit.rerankers.training.losses import importance_cross_entropy, importance_weights, listnet, ranknet

scores_of = st.lists(st.floats(-30, 30), min_size=1, max_size=8)


def double(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ranknet_by_loops(scores: list[float], ranks: list[int]) -> float:
    total = 0.0
    for i, one in enumerate(ranks):
        for j, other in enumerate(ranks):
            if 0 <= one < other:
                total += np.logaddexp(0.0, scores[j] - scores[i]) / ((one + 1) + (other + 1))
    return total


def test_ranknet_by_hand() -> None:
    # s = 1, 3, 2 of ranks r = 1, 2, 3; pairs (1,2): log(1+e^2)/3, (1,3): log(1+e^1)/4, (2,3): log(1+e^-1)/5
    expected = 2.1269280110 / 3 + 1.3132616875 / 4 + 0.3132616875 / 5
    assert float(ranknet(double([1, 3, 2]), torch.tensor([0, 1, 2]))) == pytest.approx(expected, abs=1e-9)


def test_ranknet_follows_the_teacher_and_not_the_places() -> None:
    shuffled = ranknet(double([2, 1, 3]), torch.tensor([2, 0, 1]))
    assert float(shuffled) == pytest.approx(float(ranknet(double([1, 3, 2]), torch.tensor([0, 1, 2]))))


@given(st.data(), scores_of)
def test_ranknet_equals_loops(data: st.DataObject, scores: list[float]) -> None:
    ranks = data.draw(st.lists(st.integers(-1, 7), min_size=len(scores), max_size=len(scores)))  # ties, and places without a passage
    assert float(ranknet(double(scores), torch.tensor(ranks))) == pytest.approx(ranknet_by_loops(scores, ranks), rel=1e-12, abs=1e-12)


def test_ranknet_of_a_batch_is_that_of_each_window() -> None:
    scores, ranks = double([[1, 3, 2], [0.5, -1, 9]]), torch.tensor([[0, 1, 2], [1, 0, -1]])
    both = ranknet(scores, ranks)
    assert both.shape == (2,)
    assert float(both[1]) == pytest.approx(float(ranknet(scores[1, :2], ranks[1, :2])))  # the padded place counts for nothing


def test_ranknet_has_no_gradient_where_the_order_is_right_by_far() -> None:
    right = double([2000, 1000, 0]).requires_grad_()
    ranknet(right, torch.tensor([0, 1, 2])).backward()
    assert right.grad is not None
    assert right.grad.tolist() == [0, 0, 0]
    wrong = double([0, 1000, 2000]).requires_grad_()
    loss = ranknet(wrong, torch.tensor([0, 1, 2]))
    loss.backward()
    assert wrong.grad is not None
    # every pair is wrong by far, so its slope is its weight: 1/3 and 1/4 push the first up, 1/3 - 1/5 the second down, 1/4 + 1/5 the last
    assert wrong.grad.tolist() == pytest.approx([-1 / 3 - 1 / 4, 1 / 3 - 1 / 5, 1 / 4 + 1 / 5])
    assert math.isfinite(float(loss.detach()))


@pytest.mark.parametrize("loss", [ranknet, listnet])
def test_gradients_in_double_are_the_slopes(loss: object) -> None:
    scores = double([[0.3, -1.0, 2.0], [1.0, 0.0, -0.5]]).requires_grad_()
    teacher = torch.tensor([[0, 1, 2], [1, 0, 1]])
    assert callable(loss)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher if loss is ranknet else -teacher.double()), (scores,))


def test_listnet_by_hand() -> None:
    # softmax(log 3, 0) = 3/4, 1/4; scores 0, log 2 give 1/3, 2/3
    expected = -(0.75 * math.log(1 / 3) + 0.25 * math.log(2 / 3))
    assert float(listnet(double([0, math.log(2)]), double([math.log(3), 0]))) == pytest.approx(expected)


@given(st.data(), scores_of)
def test_listnet_equals_numpy(data: st.DataObject, scores: list[float]) -> None:
    teacher = data.draw(st.lists(st.floats(-30, 30), min_size=len(scores), max_size=len(scores)))
    wanted = np.exp(teacher - np.logaddexp.reduce(teacher))
    expected = -(wanted * (np.array(scores) - np.logaddexp.reduce(scores))).sum()
    assert float(listnet(double(scores), double(teacher))) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_listnet_is_least_where_the_scores_are_the_teachers_and_passes_over_absent_passages() -> None:
    teacher = double([2, 0, -1])
    same = (teacher + 5).requires_grad_()
    listnet(same, teacher).backward()
    assert same.grad is not None
    assert same.grad.tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    padded = double([1, 2, 0, 77]).requires_grad_()
    found = listnet(padded, torch.cat((teacher, double([-math.inf]))))
    assert float(found.detach()) == pytest.approx(float(listnet(double([1, 2, 0]), teacher)))
    found.backward()
    assert padded.grad is not None
    assert float(padded.grad[3]) == 0
    assert torch.isfinite(padded.grad).all()


def test_importance_by_hand() -> None:
    # r = rank + 1: 1 + 1/log2(2), 1 + 1/log2(3), 1 + 1/log2(4); delimiters 1
    assert importance_weights(torch.tensor([0, -1, 1, -1, 2])).tolist() == pytest.approx([2, 1, 1 + 1 / math.log2(3), 1, 1.5])
    falling = importance_weights(torch.arange(100))
    assert (falling.diff() < 0).all()
    assert 1 < float(falling[-1]) < 1.16


@given(st.integers(0, 2**32 - 1))
def test_importance_cross_entropy_equals_numpy(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits, targets, weights = random.normal(0, 5, (2, 4, 7)), random.integers(7, size=(2, 4)), random.uniform(0.5, 2, (2, 4))
    logprobs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    each = -np.take_along_axis(logprobs, targets[..., None], -1)[..., 0]
    expected = (weights * each).sum(1) / weights.sum(1)
    found = importance_cross_entropy(double(logits), torch.tensor(targets), double(weights))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-10)


def test_tokens_of_no_weight_count_for_nothing() -> None:
    logits = double(np.random.default_rng(7).normal(size=(3, 5)))
    whole = importance_cross_entropy(logits, torch.tensor([1, 2, 3]), double([2, 1, 0]))
    assert float(whole) == pytest.approx(float(importance_cross_entropy(logits[:2], torch.tensor([1, 2]), double([2, 1]))))
