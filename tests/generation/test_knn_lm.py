"""kNN-LM: the datastore on disk, exact search, the mixture, its fit, and speculation that changes no token."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragkit.collection.files import sealed
from ragkit.errors import Cancelled, ContextOverflow, CorruptCollectionError, InputError, ShapeError, UnsupportedVersionError
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.local.scoring import token_logprobs
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.pipelines.knn_lm import IVFPQ, KNNLanguageModel, TokenDatastore, storage
from ragkit.pipelines.knn_lm.cache import EntryCache
from ragkit.pipelines.knn_lm.fitting import Scored, golden_section
from ragkit.pipelines.knn_lm.interpolation import Interpolation, knn_distribution
from ragkit.pipelines.knn_lm.keys import ContextKeys, spans
from ragkit.pipelines.knn_lm.neighbours import nearest
from tests.generation.tiny_models import gpt2, llama, mistral, next_logprobs, one_thread, qwen2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

__all__ = ["one_thread"]


def model_of(make: Callable[..., tuple[Any, Any]] = qwen2, **settings: Any) -> TransformersModel:
    model, tokenizer = make(**settings)
    return TransformersModel(model, tokenizer, name=make.__name__)


def texts_of(seed: int, n: int = 12, length: int = 60) -> list[list[int]]:
    """Texts that repeat one another's parts, so that contexts have neighbours."""
    rng = np.random.default_rng(seed)
    phrases = [rng.integers(3, 500, size=rng.integers(3, 9)).tolist() for _ in range(12)]
    return [[t for i in rng.integers(0, 12, size=length // 5) for t in phrases[i]][:length] for _ in range(n)]


@pytest.fixture(scope="module")
def model() -> TransformersModel:
    return model_of()


@pytest.fixture(scope="module")
def store(model: TransformersModel, tmp_path_factory: pytest.TempPathFactory) -> TokenDatastore:
    return TokenDatastore.build(tmp_path_factory.mktemp("knn") / "store", model, texts_of(1), window=32, stride=16)


def brute(queries: NDArray[np.float32], keys: NDArray[np.float16], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Oracle: every distance, in float64, sorted by it and then by number."""
    distances = ((queries[:, None].astype(np.float64) - keys[None].astype(np.float64)) ** 2).sum(-1)
    order = np.stack([np.lexsort((np.arange(len(keys)), d)) for d in distances])[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("dim", [1, 3, 16, 37])
@pytest.mark.parametrize("spread", [2, 40])
def test_search_is_that_of_brute_force(dim: int, spread: int) -> None:
    """Whole numbers, so that sums are exact and the many ties are true ones."""
    rng = np.random.default_rng(dim)
    keys = rng.integers(-spread, spread, size=(700, dim)).astype(np.float16)
    keys[300:420] = keys[5]
    queries = rng.integers(-spread, spread, size=(11, dim)).astype(np.float32)
    queries[3] = keys[5]
    for k in (1, 7, 100, 700):
        for some in (queries, queries[:1], queries[3:4], queries[:2], queries[2:7]):
            distances, entries = brute(some, keys, k)
            found = nearest(some, keys.view(np.int16), k)
            assert (found.entries == entries).all()
            assert (found.distances == distances).all()


def test_search_does_not_depend_on_what_is_asked_beside() -> None:
    rng = np.random.default_rng(7)
    keys = rng.normal(size=(5000, 33)).astype(np.float16)
    queries = rng.normal(size=(9, 33)).astype(np.float32)
    together = nearest(queries, keys.view(np.int16), 50)
    alone = [nearest(queries[q : q + 1], keys.view(np.int16), 50) for q in range(9)]
    assert (together.entries == np.concatenate([a.entries for a in alone])).all()
    assert (together.distances == np.concatenate([a.distances for a in alone])).all()
    np.testing.assert_allclose(together.distances, brute(queries, keys, 50)[0], rtol=1e-12)


def test_all_halves_are_read() -> None:
    """Small ones too, which are not normalised."""
    every = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    found = nearest(np.zeros((1, 1), np.float32), every[:, None].copy().view(np.int16), len(every))
    order = np.lexsort((np.arange(len(every)), np.abs(every.astype(np.float64))))
    assert (found.entries[0] == order).all()
    assert (found.distances[0] == every[order].astype(np.float64) ** 2).all()


def test_windows_tell_about_each_token_once() -> None:
    for begun in (True, False):
        for n in range(40):
            made = spans(n, begun=begun, window=7, stride=3)
            assert [i for s in made for i in range(*s.about)] == list(range(0 if begun else 1, n))
            for number, s in enumerate(made):
                assert s.read[1] == s.about[1] - 1
                assert begun + s.read[1] - s.read[0] <= 7
                assert number == 0 or begun + s.about[0] - s.read[0] >= 7 - 3


@pytest.mark.parametrize("make", [qwen2, llama, gpt2, mistral])
def test_keys_are_what_the_last_feed_forward_reads(make: Any, tmp_path: Path) -> None:
    """Oracle: the layer computed by hand, a text at a time; so padding and batches move nothing."""
    model = model_of(make)
    texts = [[5, 6, 7, 8, 9, 10, 11], [20], [30, 31, 32], []]
    store = TokenDatastore.build(tmp_path / "s", model, texts, window=64, stride=32, batch_tokens=1000)
    begin = ContextKeys(model).begin
    assert begin is not None
    assert store.values.tolist() == [t for text in texts for t in text]
    layers = model.net.model.transformer.h if make is gpt2 else model.net.model.model.layers
    seen: list[Any] = []
    norm = layers[-1].ln_2 if make is gpt2 else layers[-1].post_attention_layernorm
    hook = norm.register_forward_hook(lambda _m, _i, out: seen.append(out[0].float().numpy()))
    for text in texts[:3]:
        next_logprobs(model.net.model, [begin, *text])
    hook.remove()
    want = np.concatenate([s[:-1] for s in seen])
    np.testing.assert_allclose(store.halves.view(np.float16).astype(np.float32), want, rtol=2e-3, atol=2e-3)


def test_a_store_is_opened_as_it_was_built(model: TransformersModel, store: TokenDatastore, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    built = TokenDatastore.build(folder, model, texts_of(1), window=32, stride=16)
    opened = TokenDatastore.open(folder)
    assert (opened.halves == store.halves).all()
    assert (opened.values == store.values).all()
    assert opened.facts == {**built.facts}
    assert opened.unit == store.unit
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [opened.facts["folder"]]
    keys = store.halves.view(np.float16).astype(np.float64)
    assert math.isclose(store.unit, ((keys - keys.mean(0)) ** 2).sum(1).mean() / math.sqrt(keys.shape[1]), rel_tol=1e-9)
    TokenDatastore.build(folder, model, texts_of(2), window=32, stride=16)  # takes its place
    assert TokenDatastore.open(folder).values.tolist() != store.values.tolist()
    assert len([p for p in folder.iterdir() if p.is_dir()]) == 1
    assert (opened.halves == store.halves).all()  # what is open stays


def test_foreign_and_damaged_folders_are_refused(model: TransformersModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(InputError, match="no token datastore"):
        TokenDatastore.open(folder)
    store = TokenDatastore.build(folder, model, texts_of(1), window=32, stride=16)
    with pytest.raises(InputError, match="another model"):
        KNNLanguageModel(store, model_of(seed=8)).generate("I think")
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        TokenDatastore.build(documents, model, texts_of(1))
    inner = Path(store.facts["folder"])
    for name in (storage.MANIFEST, str(inner / storage.KEYS), str(inner / storage.VALUES)):
        whole = (folder / name).read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 23)):  # a flipped bit anywhere
            (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(CorruptCollectionError):
                TokenDatastore.open(folder)
        (folder / name).write_bytes(whole[:-3])
        with pytest.raises(CorruptCollectionError):
            TokenDatastore.open(folder, check=False)
        (folder / name).write_bytes(whole)
        TokenDatastore.open(folder)
    told = json.loads((folder / storage.MANIFEST).read_text().rpartition(" ")[0])
    for change, error in (
        ({"folder": "../" + tmp_path.name}, CorruptCollectionError),
        ({"folder": "/tmp"}, CorruptCollectionError),
        ({"files": {**told["files"], "../keys.npy": [1, ""]}}, CorruptCollectionError),
        ({"entries": told["entries"] + 1}, CorruptCollectionError),
        ({"vocabulary": 5}, CorruptCollectionError),
        ({"format": 2}, UnsupportedVersionError),
        ({"kind": "something"}, UnsupportedVersionError),
    ):
        (folder / storage.MANIFEST).write_bytes(sealed(json.dumps({**told, **change})))
        with pytest.raises(error):
            TokenDatastore.open(folder, check=False)


def test_arrays_of_objects_are_not_loaded(model: TransformersModel, tmp_path: Path) -> None:
    store = TokenDatastore.build(tmp_path / "s", model, texts_of(1)[:2], window=32, stride=16)
    path = tmp_path / "s" / store.facts["folder"] / storage.VALUES
    np.save(path, np.array([object()] * len(store)), allow_pickle=True)
    told = json.loads((tmp_path / "s" / storage.MANIFEST).read_text().rpartition(" ")[0])
    told["files"][storage.VALUES][0] = path.stat().st_size
    (tmp_path / "s" / storage.MANIFEST).write_bytes(sealed(json.dumps(told)))
    with pytest.raises(CorruptCollectionError, match="object"):
        TokenDatastore.open(tmp_path / "s", check=False)


def test_a_build_that_stops_leaves_what_was_there(model: TransformersModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"

    def stop(done: int, total: int, stage: str) -> bool:
        return done < total // 2

    with pytest.raises(Cancelled):
        TokenDatastore.build(folder, model, texts_of(1), window=16, stride=8, batch_tokens=32, progress=stop)
    with pytest.raises(InputError, match="no token datastore"):
        TokenDatastore.open(folder)
    assert not [p for p in folder.iterdir() if p.is_dir()]
    before = TokenDatastore.build(folder, model, texts_of(1), window=32, stride=16)
    with pytest.raises(Cancelled):
        TokenDatastore.build(folder, model, texts_of(2), window=16, stride=8, batch_tokens=32, progress=stop)
    assert TokenDatastore.open(folder).facts == before.facts


_KILLED = """
import os, shutil, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.generation.test_knn_lm import model_of, texts_of
from ragkit.pipelines.knn_lm import TokenDatastore
root, real, calls = Path(sys.argv[1]), (os.write, os.fsync, os.replace, os.open), 0
model = model_of()
def killing(call, last):
    def counted(*args, **kwargs):
        global calls
        calls += 1
        if calls == last:
            os._exit(9)
        return call(*args, **kwargs)
    return counted
for last in range(1, 1000):
    shutil.copytree(root / "old", root / str(last))
    if os.fork() == 0:
        os.write, os.fsync, os.replace, os.open = (killing(call, last) for call in real)
        TokenDatastore.build(root / str(last), model, texts_of(2)[:4], window=16, stride=8, batch_tokens=64)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 0:
        break
"""


@pytest.mark.slow
def test_a_killed_build_leaves_the_old_store_or_the_new(model: TransformersModel, tmp_path: Path) -> None:
    """Killed at every write, sync and rename; then built again, which leaves nothing half."""
    root = Path(__file__).parent.parent.parent
    old = TokenDatastore.build(tmp_path / "old", model, texts_of(1)[:3], window=32, stride=16)
    new = TokenDatastore.build(tmp_path / "new", model, texts_of(2)[:4], window=16, stride=8, batch_tokens=64)
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, str(tmp_path)]
    subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True)
    left = [TokenDatastore.open(tmp_path / name) for name in sorted((p.name for p in tmp_path.iterdir() if p.name.isdigit()), key=int)]
    whole = [store.values.tobytes() for store in left]
    changed = whole.index(new.values.tobytes())
    assert whole == [old.values.tobytes()] * changed + [new.values.tobytes()] * (len(whole) - changed)
    assert 10 < changed < len(whole) - 1  # killed before the swap, and behind it
    for number in (2, changed - 1, changed, len(whole) - 1):
        folder = tmp_path / str(number + 1)
        again = TokenDatastore.build(folder, model, texts_of(2)[:4], window=16, stride=8, batch_tokens=64)
        assert again.values.tobytes() == new.values.tobytes()
        assert [p.name for p in folder.iterdir() if p.is_dir()] == [again.facts["folder"]]


def test_what_can_not_be_built_is_refused(model: TransformersModel, tmp_path: Path) -> None:
    for texts, why in (([[]], "no token"), ([[1, 2, 640]], "text 0"), ([[1], [-1]], "text 1"), ([[1.5]], "text 0")):
        with pytest.raises(InputError, match=why):
            TokenDatastore.build(tmp_path / "s", model, texts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="window"):
        TokenDatastore.build(tmp_path / "s", model, texts_of(1), window=8, stride=9)
    with pytest.raises(InputError, match="reads 512"):
        TokenDatastore.build(tmp_path / "s", model, texts_of(1), window=600, stride=9)
    config = transformers.MambaConfig(vocab_size=640, hidden_size=32, num_hidden_layers=2, state_size=4)
    mamba = TransformersModel(transformers.MambaForCausalLM(config), qwen2()[1], name="mamba")
    with pytest.raises(InputError, match="MambaBlock"):
        TokenDatastore.build(tmp_path / "s", mamba, texts_of(1))
    assert not (tmp_path / "s").exists()


def test_ivfpq_ranks_by_true_distances(model: TransformersModel, tmp_path: Path) -> None:
    texts = texts_of(3, n=20, length=120)
    exact = TokenDatastore.build(tmp_path / "a", model, texts, window=32, stride=16)
    rough = TokenDatastore.build(tmp_path / "b", model, texts, window=32, stride=16, ivfpq=IVFPQ(cells=16, parts=8, probes=8, refine=8))
    assert exact.exact
    assert not rough.exact
    queries = exact.halves.view(np.float16).astype(np.float32)[::50]
    want, found = exact.search(queries, 10), rough.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(want.entries.tolist(), found.entries.tolist(), strict=True)])
    assert recall > 0.9
    assert (np.diff(found.distances, axis=1) >= 0).all()
    halves = exact.halves.view(np.float16).astype(np.float64)
    true = ((queries[:, None].astype(np.float64) - halves[found.entries]) ** 2).sum(-1)
    np.testing.assert_allclose(found.distances, true, rtol=1e-12)
    for q in range(len(queries)):
        assert (rough.search(queries[q : q + 1], 10).entries[0] == found.entries[q]).all()
    assert rough.search(queries, len(rough)).entries.min() >= 0  # cells that are not looked into hold the rest
    opened = TokenDatastore.open(tmp_path / "b")
    assert (opened.search(queries, 10).entries == found.entries).all()
    with pytest.raises(InputError, match="too few"):
        TokenDatastore.build(tmp_path / "c", model, texts[:1], ivfpq=IVFPQ())
    path = tmp_path / "b" / rough.facts["folder"] / storage.INDEX
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(CorruptCollectionError):
        TokenDatastore.open(tmp_path / "b")


def test_searches_that_make_no_sense(store: TokenDatastore) -> None:
    with pytest.raises(ShapeError, match="keys of 32"):
        store.search(np.zeros((1, 31), np.float32), 5)
    with pytest.raises(InputError, match="NaN"):
        store.search(np.full((1, 32), np.nan, np.float32), 5)
    assert store.search(np.zeros((2, 32), np.float32), 10**6).entries.shape == (2, len(store))


# the mixture


def slow_mixture(logits: NDArray[np.float32], how: Interpolation, distances: NDArray[np.float64], tokens: NDArray[np.int32]) -> list[float]:
    """Oracle: the two formulas, term by term."""
    lm = [math.exp(x - float(logits.max())) for x in logits.tolist()]
    lm = [x / sum(lm) for x in lm]
    knn = [0.0] * len(lm)
    for d, y in zip(distances.tolist(), tokens.tolist(), strict=True):
        knn[y] += math.exp(-(d - float(distances.min())) / how.tau)
    knn = [x / sum(knn) for x in knn]
    weight = 0.0 if how.farthest is not None and distances.min() > how.farthest else how.weight
    return [weight * a + (1 - weight) * b for a, b in zip(knn, lm, strict=True)]


@pytest.mark.parametrize("seed", range(8))
def test_the_mixture_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(1, 50)).astype(np.float32) * 4
    distances = np.sort(rng.random(20) * 30)
    tokens = rng.integers(0, 50, size=20).astype(np.int32)
    how = Interpolation(float(rng.choice([0.0, 0.25, 0.9, 1.0])), float(rng.choice([1e-4, 1.0, 50.0])), [None, 1.0][seed % 2])
    p = how.mix(torch.from_numpy(logits), distances, tokens).softmax(-1).numpy()[0]
    assert math.isclose(p.sum(), 1, abs_tol=1e-5)
    np.testing.assert_allclose(p, slow_mixture(logits[0], how, distances, tokens), atol=1e-6)
    known, knn = knn_distribution(distances, tokens, how.tau)
    assert math.isclose(knn.sum(), 1, abs_tol=1e-12)
    assert (known == np.unique(tokens)).all()
    # and of single tokens, as texts are scored
    target = int(rng.choice(tokens))
    lm = torch.from_numpy(logits).double().log_softmax(-1)[0, target].item()
    scored = Scored(np.array([lm]), distances[None], (tokens == target)[None]).mixed(how)
    assert math.isclose(math.exp(float(scored[0])), slow_mixture(logits[0], how, distances, tokens)[target], rel_tol=1e-6)


def test_an_entry_of_the_same_context_gives_its_token(model: TransformersModel, store: TokenDatastore) -> None:
    """As tau goes to 0; where a context stands more than once, the tokens share."""
    keys = store.halves.view(np.float16).astype(np.float32)
    for entry in range(0, len(store), 37):
        found = store.search(keys[entry : entry + 1], 64)
        assert found.distances[0, 0] == 0
        tokens, p = knn_distribution(found.distances[0], store.values[found.entries[0]], 1e-9)
        same = store.values[found.entries[0][found.distances[0] == 0]]
        assert p[tokens == store.values[entry]] == pytest.approx(np.mean(same == store.values[entry]))


def test_weights_that_make_no_sense(store: TokenDatastore, model: TransformersModel) -> None:
    for given in (
        {"weight": -0.1},
        {"weight": 1.1},
        {"tau": 0.0},
        {"tau": math.inf},
        {"farthest": -1.0},
        {"k": 0},
        {"kept": 0},
        {"steps": 0},
    ):
        with pytest.raises(InputError):
            KNNLanguageModel(store, model, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        KNNLanguageModel(store, model, consecutive=-1)


def test_a_weight_of_0_is_the_language_model(model: TransformersModel, store: TokenDatastore) -> None:
    for speculate in (True, False):
        knn = KNNLanguageModel(store, model, weight=0.0, speculate=speculate)
        for prompt in ("I think, therefore", "Which passage"):
            for seed, temperature in ((0, 0.0), (1, 0.8), (2, 1.3)):
                text = knn.generate(prompt, max_tokens=24, temperature=temperature, seed=seed)
                (plain,) = model.generate([prompt], max_tokens=24, temperature=temperature, seed=seed)
                assert text.text == plain.text
                assert text.finish == plain.finish
                assert text.trace.searches == 0
                assert json.dumps(text.to_dict())
        tokens = texts_of(5)[0]
        np.testing.assert_allclose(
            knn.token_logprobs(tokens, window=31, stride=16), token_logprobs(model, tokens, window=32, stride=16), atol=1e-4
        )


def test_nothing_near_leaves_the_language_model_alone(model: TransformersModel, store: TokenDatastore) -> None:
    knn = KNNLanguageModel(store, model, farthest=0.0, weight=0.9)
    (plain,) = model.generate(["I think, therefore"], max_tokens=16)
    assert knn.generate("I think, therefore", max_tokens=16).text == plain.text
    assert KNNLanguageModel(store, model, weight=0.9).generate("I think, therefore", max_tokens=16).text != plain.text


def test_perplexity_is_that_of_a_slow_reference(model: TransformersModel, store: TokenDatastore) -> None:
    """Each token by a pass and a search of its own."""
    knn = KNNLanguageModel(store, model, weight=0.4, tau=0.7, k=30)
    texts = [texts_of(9)[0][:20], texts_of(9)[1][:7], [44]]
    keys = ContextKeys(model)
    halves, begin = store.halves.view(np.float16), keys.begin
    how = Interpolation(0.4, 0.7 * store.unit)
    nats = []
    for text in texts:
        for i, token in enumerate(text):
            ids = torch.tensor([[begin, *text[:i]]])
            with torch.no_grad():
                out, seen = keys.watch(lambda given=ids: model.net.model(input_ids=given, use_cache=False))  # type: ignore[misc]
            distances, entries = brute(seen[-1:], halves, 30)
            p = slow_mixture(out.logits[0, -1].numpy(), how, distances[0], store.values[entries[0]])
            nats.append(-math.log(p[token]))
    assert math.isclose(knn.perplexity(texts), math.exp(sum(nats) / len(nats)), rel_tol=1e-4)
    with pytest.raises(InputError, match="no token"):
        knn.perplexity([[]])


def test_the_golden_section_finds_the_minimum() -> None:
    for at in (0.0, 1e-3, 0.2, 0.618, 0.999, 1.0):
        for loss in (lambda x, at=at: abs(x - at), lambda x, at=at: (x - at) ** 2, lambda x, at=at: math.cosh(3 * (x - at))):
            asked: list[float] = []

            def counted(x: float, loss: Any = loss, asked: list[float] = asked) -> float:
                asked.append(x)
                return float(loss(x))

            assert abs(golden_section(counted, 0.0, 1.0, tolerance=1e-5) - at) < 1e-5
            assert all(0 < x < 1 for x in asked)
            assert len(asked) < 30  # log(1e5) / log(1.618) = 24


@pytest.mark.parametrize("seed", range(4))
def test_a_fit_is_at_least_as_likely_as_any_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.gamma(4, 10, size=(400, 30)), axis=1)
    right = rng.random((400, 30)) < 0.6 * np.exp(-distances / 40)
    scored = Scored(-rng.gamma(2, 1.5, size=400), distances, right)
    fitted = scored.fit(10.0)
    likely = scored.mixed(fitted).mean()
    for weight in np.linspace(0, 0.95, 20):
        for tau in 10.0 * 2.0 ** np.arange(-6, 7):
            assert scored.mixed(Interpolation(float(weight), float(tau))).mean() <= likely + 1e-3
    with pytest.raises(InputError, match="no token"):
        Scored(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3), np.bool_)).fit(1.0)


def test_fitting_helps_the_texts_it_is_fitted_on(model: TransformersModel, store: TokenDatastore) -> None:
    texts = texts_of(1)[:3]  # of the datastore itself
    knn = KNNLanguageModel(store, model, k=50)
    fitted = knn.fit(texts, window=32, stride=16)
    assert fitted.weight > 0.5
    assert fitted.k == 50
    lm = KNNLanguageModel(store, model, k=50, weight=0.0)
    measured = [m.perplexity(texts, window=32, stride=16) for m in (fitted, knn, lm)]
    assert measured == sorted(measured)


# speculation


def alike(store: TokenDatastore, model: TransformersModel, prompt: str, settings: dict[str, Any], **given: Any) -> tuple[Any, Any]:
    """The same text twice, with speculation and without."""
    plain = KNNLanguageModel(store, model, speculate=False, **settings).generate(prompt, **given)
    quick = KNNLanguageModel(store, model, speculate=True, **settings).generate(prompt, **given)
    assert (quick.tokens, quick.text, quick.finish) == (plain.tokens, plain.text, plain.finish)
    return plain.trace, quick.trace


@pytest.mark.parametrize("make", [qwen2, llama, gpt2, mistral])
@pytest.mark.parametrize("seed", range(3))
def test_speculation_changes_no_token(make: Any, seed: int, tmp_path: Path) -> None:
    """Random models and stores: greedy and drawn, caches of every size, rounds of one length and of many."""
    model = model_of(make, seed=seed)
    exact = TokenDatastore.build(tmp_path / "s", model, texts_of(seed, n=8), window=32, stride=16)
    mismatches = matches = 0
    rng = np.random.default_rng(seed)
    for prompt in ("I think, therefore I", "Which passage answers", "gasket"):
        for temperature in (0.0, 0.7, 1.5):
            settings = {
                "weight": float(rng.choice([0.25, 0.6, 0.95, 1.0])),
                "tau": float(rng.choice([0.05, 1.0, 20.0])),
                "farthest": None if rng.random() < 0.7 else float(rng.choice([0.5, 4.0])),
                "k": int(rng.choice([1, 5, 64, 1024])),
                "kept": int(rng.choice([1, 4, 64])),
                "consecutive": int(rng.choice([0, 2, 8])),
                "steps": [None, 1, 3, 7][int(rng.integers(4))],
            }
            plain, quick = alike(exact, model, prompt, settings, max_tokens=30, temperature=temperature, seed=seed)
            assert plain.searches == plain.strides
            assert quick.strides == plain.strides == 1 + sum(r.kept for r in quick.rounds)
            assert quick.retrievals == 1 + sum(r.written for r in quick.rounds)
            assert quick.passes == 1 + sum(r.written for r in quick.rounds)
            assert quick.discarded == quick.retrievals - 1 - sum(r.matches for r in quick.rounds)
            mismatches += quick.mismatches
            matches += sum(r.matches for r in quick.rounds)
    assert mismatches > 3  # so that tokens were taken back
    assert matches > 20


def test_speculation_with_an_approximate_index(model: TransformersModel, tmp_path: Path) -> None:
    rough = TokenDatastore.build(
        tmp_path / "s", model, texts_of(3, n=20, length=120), window=32, stride=16, ivfpq=IVFPQ(cells=8, parts=4, probes=2)
    )
    for seed in range(4):
        settings = {"weight": 0.6, "k": 12, "kept": 2, "consecutive": 1, "steps": 4}
        alike(rough, model, "I think", settings, max_tokens=30, temperature=0.4 * seed, seed=seed)


def test_a_cache_of_everything_is_never_wrong(model: TransformersModel, store: TokenDatastore) -> None:
    """Where all true neighbours are in the cache, all guesses are right."""
    settings = {"weight": 0.7, "k": 40, "kept": 1024, "consecutive": len(store), "steps": 5}
    _, trace = alike(store, model, "I think, therefore", settings, max_tokens=40, temperature=0.9, seed=3)
    assert trace.mismatches == 0
    assert trace.cached == len(store)
    assert trace.searches == 1 + math.ceil((trace.strides - 1) / 5)
    assert json.dumps(trace.to_dict())


def test_the_cache_holds_neighbours_and_what_follows(store: TokenDatastore) -> None:
    cache = EntryCache(store, kept=2, consecutive=3, room=10)
    cache.add(np.array([[5, 20, 70], [6, 20, 71]]))
    held = [5, 6, 7, 8, 9, 20, 21, 22, 23]
    query = store.halves.view(np.float16).astype(np.float32)[21:22]
    found = cache.search(query, 50)
    assert sorted(found.entries[0].tolist()) == held
    assert found.entries[0, 0] == 21
    every = store.search(query, len(store))
    want = dict(zip(every.entries[0].tolist(), every.distances[0].tolist(), strict=True))
    assert [want[e] for e in found.entries[0].tolist()] == found.distances[0].tolist()
    cache.add(np.array([[len(store) - 2, 5]]))  # nothing stands behind the last
    assert len(cache) == 10
    assert sorted(cache.search(query, 50).entries[0].tolist()) == sorted([*held[1:], len(store) - 2, len(store) - 1])  # the first left


def test_ends_and_limits(model: TransformersModel, store: TokenDatastore, tmp_path: Path) -> None:
    """The token that ends texts ends them, guessed or not; and prompts that leave no room are refused."""
    (end,) = model.ends
    texts = [[*t[:9], end] for t in texts_of(4, n=6)]
    made = TokenDatastore.build(tmp_path / "s", model, texts, window=32, stride=16)
    finishes = []
    for seed in range(12):
        settings = {"weight": 0.95, "tau": 5.0, "k": 20, "steps": 4}
        alike(made, model, "I think", settings, max_tokens=30, temperature=1.0, seed=seed)
        finishes.append(
            KNNLanguageModel(made, model, speculate=True, **settings).generate("I think", max_tokens=30, temperature=1.0, seed=seed).finish
        )  # type: ignore[arg-type]
    assert "stop" in finishes
    one = KNNLanguageModel(store, model, speculate=True).generate("I think", max_tokens=1)
    assert len(one.tokens) == 1
    assert one.finish == "length"
    with pytest.raises(ContextOverflow, match="512"):
        KNNLanguageModel(store, model).generate("I think", max_tokens=600)
    with pytest.raises(InputError, match="max_tokens"):
        KNNLanguageModel(store, model).generate("I think", max_tokens=0)


def test_models_that_can_not_go_back_do_not_guess(tmp_path: Path) -> None:
    """They write all the same."""
    moving = model_of(llama, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
    store = TokenDatastore.build(tmp_path / "s", moving, texts_of(1)[:3], window=32, stride=16)
    with pytest.raises(InputError, match="moves with the length"):
        KNNLanguageModel(store, moving, speculate=True).generate("I think")
    assert KNNLanguageModel(store, moving).generate("I think", max_tokens=4).trace.searches in range(1, 5)


def test_drawn_texts_follow_the_mixture(model: TransformersModel, store: TokenDatastore) -> None:
    """The first two tokens of many drawn texts, against the distribution: so no guess gets in by its being guessed."""
    knn = KNNLanguageModel(store, model, weight=0.8, tau=4.0, k=12, speculate=True, kept=1, consecutive=0, steps=2)
    keys = ContextKeys(model)
    how = Interpolation(0.8, 4.0 * store.unit)
    prompt = model.encode("I think")

    def law(ids: list[int]) -> NDArray[np.float64]:
        with torch.inference_mode():
            out, seen = keys.watch(lambda: model.net.model(input_ids=torch.tensor([ids]), use_cache=False))
        found = store.search(seen[-1:], 12)
        return Sampling(0.5, 1.0, None).probabilities(
            how.mix(out.logits[:, -1].float(), found.distances[0], store.values[found.entries[0]])
        )[0]

    drawn = [knn.generate("I think", max_tokens=2, temperature=0.5, seed=seed).tokens for seed in range(600)]
    first = law(prompt)
    for token in np.argsort(-first)[:4].tolist():
        share = np.mean([t[0] == token for t in drawn])
        assert abs(share - first[token]) < 4 * math.sqrt(0.25 / len(drawn))
        behind = [t for t in drawn if t[0] == token and len(t) == 2]
        if len(behind) > 100:
            second = law([*prompt, token])
            likely = int(second.argmax())
            assert abs(np.mean([t[1] == likely for t in behind]) - second[likely]) < 4 * math.sqrt(0.25 / len(behind))
