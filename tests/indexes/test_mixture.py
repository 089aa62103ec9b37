"""The infinity-gram model over whole texts, and its mixture with a neural model."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import InputError, ShapeError
from ragkit.indexes.ngram.infinity_gram import InfinityGram, TokenScores
from ragkit.indexes.ngram.mixture import LENGTHS, Mixture, perplexity
from ragkit.indexes.ngram.tokens import SEPARATOR, TokenSuffixes

DOCUMENT = st.lists(st.integers(0, 3), max_size=12)


@given(st.lists(DOCUMENT, min_size=1, max_size=5), DOCUMENT)
def test_every_token_behind_the_longest_context_that_occurs(corpus: list[list[int]], text: list[int]) -> None:
    found = InfinityGram(TokenSuffixes.build(corpus)).score(text)
    whole = [SEPARATOR, *(t for d in corpus for t in (*d, SEPARATOR))]
    for i, token in enumerate(text):
        context = [SEPARATOR, *text[:i]]
        for length in range(len(context), -1, -1):
            end = context[len(context) - length :]
            after = Counter(whole[j + length] for j in range(len(whole) - length) if whole[j : j + length] == end)
            if any(whole[j : j + length] == end for j in range(len(whole) - length + 1)):
                break
        total = sum(after.values())
        assert found.lengths[i] == length
        assert found.probabilities[i] == pytest.approx(after[token] / total if total else 0.0)
        assert found.sparse[i] == (len(after) == 1)
        assert found.agreed[i] == (after[token] > 0 and after[token] == max(after.values()))


def made(n: int, rng: np.random.Generator) -> tuple[TokenScores, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    sparse = rng.random(n) < 0.5
    p = np.where(sparse, (rng.random(n) < 0.8).astype(float), rng.random(n))
    return TokenScores(p, rng.choice(LENGTHS, n), sparse, np.zeros(n, np.bool_)), np.log(rng.random(n))


def test_fitted_weights_are_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(2)
    texts = [made(4000, rng) for _ in range(3)]
    ngram, neural = [a for a, _ in texts], [b for _, b in texts]
    fitted = Mixture.fit(ngram, neural)
    best = perplexity([fitted.logprobs(a, b) for a, b in texts])
    for sparse in (0, 1):
        for length in range(len(LENGTHS)):
            for weight in (0.02, 0.2, 0.5, 0.9):
                weights = fitted.weights.copy()
                weights[sparse, length] = weight
                assert best <= perplexity([Mixture(weights).logprobs(a, b) for a, b in texts]) + 1e-6
    assert Mixture.even(0.0).logprobs(*texts[0]) == pytest.approx(neural[0])
    with np.errstate(divide="ignore"):
        assert Mixture.even(1.0).logprobs(*texts[0]) == pytest.approx(np.log(ngram[0].probabilities))


def test_classes_without_examples_keep_the_first_guess() -> None:
    scores = TokenScores(np.array([0.5]), np.array([3]), np.array([False]), np.array([True]))
    fitted = Mixture.fit([scores], [np.log([0.1])], start=0.3)
    assert fitted.weights[0, 2] > 0.9
    assert (np.delete(fitted.weights.ravel(), 2) == 0.3).all()


def test_refusals() -> None:
    scores = TokenScores(np.ones(2), np.ones(2, np.int64), np.ones(2, np.bool_), np.ones(2, np.bool_))
    with pytest.raises(ShapeError, match="2 tokens were scored by the n-grams and 3 by the model"):
        Mixture.even(0.5).logprobs(scores, np.zeros(3))
    with pytest.raises(InputError, match="no text was given"):
        Mixture.fit([], [])
    with pytest.raises(InputError, match="there is no token"):
        perplexity([])
    assert perplexity([np.array([-math.inf])]) == math.inf


def test_windows_of_a_local_model() -> None:
    """A token's log-probability is that of one pass over its window; within the first window that of one pass over the text."""
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-1m"
    if not folder.is_dir():
        pytest.skip("needs the small models")
    torch = pytest.importorskip("torch")
    from ragkit import llm
    from ragkit.generation.local.scoring import token_logprobs

    model = llm(str(folder))
    tokens = model.tokens.tokenizer("The compiler generates a warning for each argument. " * 6, add_special_tokens=False)["input_ids"]  # type: ignore[attr-defined]
    found = token_logprobs(model, tokens, window=24, stride=8)  # type: ignore[arg-type]

    def alone(first: int, i: int) -> float:
        ids = torch.tensor([[model.tokens.tokenizer.bos_token_id or 0, *tokens[first:i]]])  # type: ignore[attr-defined]
        with torch.inference_mode():
            return float(model.net.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)[tokens[i]])  # type: ignore[attr-defined]

    for i in range(len(tokens)):
        end = 23 if i < 23 else min(len(tokens), 23 + 8 * ((i - 23) // 8 + 1))
        assert found[i] == pytest.approx(alone(max(0, end - 23), i), abs=1e-4)
    with pytest.raises(InputError, match="windows need 0 < stride < window"):
        token_logprobs(model, tokens, window=8, stride=8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reads 2048 tokens, got a window of 4096"):
        token_logprobs(model, tokens, window=4096)  # type: ignore[arg-type]
