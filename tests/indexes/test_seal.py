"""SEAL and the index of tokens: what is written stands in the documents, and scores are those of trying everything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, SEAL, Collection, Document, F, TokenNGram, Tokens
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.generation.local.beams import constrained_beams
from ragkit.generation.local.model import LocalModel
from ragkit.generation.local.seq2seq_model import Seq2SeqModel
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.indexes.ngram.seal import Key, key_weight
from ragkit.indexes.ngram.token_part import TokenPart
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.testing import check_index
from tests.generation.tiny_models import CORPUS, gpt2, llama, next_logprobs, one_thread, t5, torch

__all__ = ["one_thread"]


def _undecided_t5() -> Seq2SeqModel:
    model, tokenizer = t5()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.4)  # else it puts all on one token, and nothing else weighs anything
    return Seq2SeqModel(model, tokenizer, name="tiny-t5")


MODELS: dict[str, Callable[[], LocalModel]] = {
    "causal": lambda: TransformersModel(*gpt2(), name="tiny-gpt2"),
    "seq2seq": _undecided_t5,
}
STRUCTURES = ("suffix-array", "fm")
TEXTS = {str(n): text for n, text in enumerate(sorted(set(CORPUS)))}
FILLER = "the pump is old and the valve is new and so is the gasket of the year " * 600
"""Enough that a model's n-grams are more likely in it than in the documents."""


def collection(folder: Path, model: LocalModel, structure: Any, **more: Any) -> Collection:
    model.tokens.tokenizer.save_pretrained(folder / "tokenizer")
    c = Collection.create(folder / "c", indexes=[BM25(language="en"), TokenNGram(str(folder / "tokenizer"), structure=structure)], **more)
    c.add([Document(text, id=id) for id, text in TEXTS.items()])
    c.add([Document(FILLER, id="filler")])
    return c


def searcher(c: Collection) -> TokenNGramSearcher:
    found = c.version.searcher("token_ngram")
    assert isinstance(found, TokenNGramSearcher)
    return found


def tokens_of(model: LocalModel, text: str) -> list[int]:
    found: list[int] = model.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def logprob(model: LocalModel, prompt: str, written: Sequence[int]) -> float:
    """Of some tokens behind a prompt, one plain pass a token."""
    total = 0.0
    for i, token in enumerate(written):
        if isinstance(model, Seq2SeqModel):
            ids = torch.tensor([model.encode(prompt)])
            with torch.no_grad():
                logits = model.model(input_ids=ids, decoder_input_ids=torch.tensor([[0, *written[:i]]]), use_cache=False).logits[0, -1]
            total += float(logits.float().log_softmax(-1)[token])
        else:
            total += float(next_logprobs(model.net.model, [*model.encode(prompt), *written[:i]])[-1][token])  # type: ignore[attr-defined]
    return total


def ngrams(rows: Sequence[Sequence[int]], longest: int) -> set[tuple[int, ...]]:
    return {tuple(row[i : i + n]) for row in rows for n in range(1, longest + 1) for i in range(len(row) - n + 1)}


def brute_force(passages: dict[str, list[int]], weights: dict[tuple[int, ...], float], novelty: float) -> dict[str, float]:
    """Each n-gram once a passage, the heaviest first, only where no token of it has been taken."""
    order = sorted((g for g, w in weights.items() if w > 0), key=lambda g: (-weights[g], -len(g), g))
    found = {}
    for id, row in passages.items():
        total, taken, used = 0.0, [False] * len(row), set[int]()
        for gram in order:
            there = 0
            for i in range(len(row) - len(gram) + 1):
                if tuple(row[i : i + len(gram)]) == gram and not any(taken[i : i + len(gram)]):
                    taken[i : i + len(gram)] = [True] * len(gram)
                    there += 1
            if there:
                total += weights[gram] * (1 - novelty + novelty * len(set(gram) - used) / len(set(gram)))
                used |= set(gram)
        if total:
            found[id] = total
    return found


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", MODELS)
def test_it_is_the_exhaustive_search_where_nothing_is_cut(kind: str, structure: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    c = collection(tmp_path, model, structure, chunker=None)
    rows = {id: tokens_of(model, text) for id, text in [*TEXTS.items(), ("filler", FILLER)]}
    n_tokens = sum(map(len, rows.values()))
    question = "Query: which gasket?"
    expected = {}
    counts = Counter(tuple(row[i : i + n]) for row in rows.values() for n in (1, 2, 3) for i in range(len(row) - n + 1))
    for gram, count in counts.items():
        p = logprob(model, question, gram)
        expected[gram] = key_weight(p, count, n_tokens, 2.0 if len(gram) > 1 else 1.0)
    seal = SEAL(model, beams=100_000, length=3, unigrams=100_000)
    keys = {key.tokens: key for key in seal.keys(question, c)}
    assert keys.keys() == expected.keys()
    for gram, weight in expected.items():
        assert keys[gram].weight == pytest.approx(weight, rel=1e-3, abs=1e-3)
        assert keys[gram].text == model.tokens.tokenizer.decode(list(gram))
    assert sum(w > 0 for w in expected.values()) > 15
    scores = brute_force(rows, {gram: keys[gram].weight for gram in keys}, seal.novelty)
    run = c.search([question], k=100, using=seal)
    assert run.to_dict()["0"] == pytest.approx(scores, rel=1e-4)
    for explained in seal.explain(question, c):
        assert sum(amount for _, amount in explained.keys) == pytest.approx(explained.score, rel=1e-4)
        assert explained.score == pytest.approx(scores[explained.passage.document], rel=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_stands_in_a_live_document(kind: str, structure: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    c = collection(tmp_path, model, structure, chunker=Tokens(8, overlap=3))
    c.delete(["0", "2"])
    live = {d.id: tokens_of(model, d.text) for d in c}
    there = ngrams(list(live.values()), 6)

    @settings(max_examples=15, deadline=None)
    @given(st.text(st.sampled_from("abc Xgasket?!ö"), max_size=12))
    def check(question: str) -> None:
        seal = SEAL(model, beams=4, length=6, unigrams=9, prompt="Question: {query} Passage:")
        keys = seal.keys(question, c)
        assert {key.tokens for key in keys} <= there
        assert len({key.tokens for key in keys}) == len(keys)
        for key in keys:
            assert key.count >= 1
            assert key.logprob <= 1e-6
        hits = c.search(question, using=seal, k=50)
        assert {h.id for h in hits} <= live.keys()
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        some = c.search(question, using=seal, k=50, where=F.id == "1")
        assert {h.id for h in some} <= {"1"}

    check()


@pytest.mark.parametrize("kind", MODELS)
def test_beams_are_the_best_ways_to_go_on(kind: str, tmp_path: Path) -> None:
    """With few beams: at each length the best continuations of those that were kept before, by plain passes."""
    model = MODELS[kind]()
    c = collection(tmp_path, model, "suffix-array", chunker=None)
    there = ngrams([tokens_of(model, text) for text in [*TEXTS.values(), FILLER]], 4)
    first, found = constrained_beams(model, "Which?", searcher(c), beams=3, length=4)
    np.testing.assert_allclose([first[t] for t in range(20)], [logprob(model, "Which?", [t]) for t in range(20)], atol=1e-3)
    live: list[tuple[int, ...]] = [()]
    for length in range(1, 5):
        ways = {g: logprob(model, "Which?", g) for g in there if len(g) == length and g[:-1] in live}
        best = sorted(ways, key=lambda g: -ways[g])[:3]
        mine = [h for h in found if len(h.tokens) == length]
        assert [h.tokens for h in mine] == best
        assert [h.logprob for h in mine] == pytest.approx([ways[g] for g in best], abs=1e-3)
        live = best
    with pytest.raises(InputError, match="at least one beam and one token, got 0 beams of 4"):
        constrained_beams(model, "Which?", searcher(c), beams=0, length=4)


def test_the_papers_weight() -> None:
    p, f = math.exp(-2.0), (3 + 5) / (1000 + 5)
    assert key_weight(-2.0, 3, 1000) == pytest.approx(math.log(p / (1 - p)) - math.log(f / (1 - f)), rel=1e-6)
    assert key_weight(-2.0, 3, 1000, 2.0) == pytest.approx(key_weight(-2.0, 3, 1000) ** 2)
    assert key_weight(-9.0, 3, 1000) == 0.0
    assert math.isfinite(key_weight(0.0, 1, 10))
    assert key_weight(-1.0, 10, 10) == 0.0


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_segment_with_files_of_its_own(structure: str, tmp_path: Path) -> None:
    model = MODELS["causal"]()
    model.tokens.tokenizer.save_pretrained(tmp_path / "tokenizer")
    spec = TokenNGram(str(tmp_path / "tokenizer"), structure=structure)  # type: ignore[arg-type]
    c = Collection.create(tmp_path / "c", indexes=[spec], chunker=Tokens(6, overlap=2))
    c.add([Document(text, id=f"{n}-{id}") for n in range(50) for id, text in TEXTS.items()])
    view = c.version.views[0]
    assert view.entry.indexes == ("token_ngram",)
    assert c.version.spec("token_ngram").fingerprint  # type: ignore[attr-defined]
    memory = TokenPart.build(view.columns, model.tokens.tokenizer, structure, "compact")  # type: ignore[arg-type]
    part = searcher(c).parts[0]
    for name in ("begins", "ends", "sizes", "firsts"):
        np.testing.assert_array_equal(getattr(part.passages, name), getattr(memory.passages, name))
    hits = c.search("the outer gasket is replaced", k=20)
    assert "outer gasket" in hits[0].text
    folder = view.folder / "token_ngram"
    np.save(folder / "passages.npy", np.load(folder / "passages.npy")[:, 1:])
    with pytest.raises(CorruptCollectionError, match="does not say where"):
        TokenPart.load(folder, view.columns, structure)  # type: ignore[arg-type]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_index_of_tokens_conforms(structure: str, tmp_path: Path) -> None:
    MODELS["causal"]().tokens.tokenizer.save_pretrained(tmp_path / "tokenizer")
    check_index(TokenNGram(str(tmp_path / "tokenizer"), structure=structure))  # type: ignore[arg-type]


def test_models_and_indexes_that_do_not_fit(tmp_path: Path) -> None:
    model, other = MODELS["causal"](), TransformersModel(*llama(), name="tiny-llama")
    c = collection(tmp_path, model, "suffix-array")
    with pytest.raises(InputError, match="and 'tiny-llama' reads other tokens; use a model with that tokenizer"):
        c.search("gasket", using=SEAL(other))
    with pytest.raises(InputError, match="needs an index of tokens, and 'bm25' is none"):
        c.search("gasket", using=SEAL(model, index="bm25"))
    with pytest.raises(InputError, match="the prompt of SEAL must say where the question stands"):
        SEAL(model, prompt="Question:")
    with pytest.raises(InputError, match="beams must be a whole number of at least 1"):
        SEAL(model, beams=0)
    with pytest.raises(InputError, match=r"a power above 0 and a novelty from 0 to 1, got 5000, 0 and 0\.8"):
        SEAL(model, power=0)
    other.tokens.tokenizer.save_pretrained(tmp_path / "tokenizer")  # another one in its place
    from ragkit.indexes.ngram import token_spec

    token_spec._known.clear()
    with pytest.raises(InputError, match="the tokens were made by a tokenizer with the fingerprint"):
        c.add([Document("new", id="new")] * 1 + [Document(f"more {n}", id=f"n{n}") for n in range(300)])
    with pytest.raises(InputError, match="holds no tokenizer"):
        TokenNGram(str(tmp_path)).load()
    assert isinstance(Key("a", (1,), -1.0, 1, 0.5), Key)
