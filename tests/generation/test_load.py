"""Models by name: each is loaded once, under a lock of its own, and anew when what it was made of has changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragkit.errors import InputError, ServerError
from ragkit.generation import llm, load
from ragkit.generation.calling import CallableModel
from ragkit.protocols import LanguageModel
from tests.generation import faults
from tests.generation.faults import FaultProxy
from tests.generation.loopback import Server
from tests.generation.tiny_models import qwen2

MADE: list[str] = []
GATE = threading.Event()


def plain(**settings: Any) -> LanguageModel:
    MADE.append("plain")
    return CallableModel(lambda prompt: "x", name="plain")


def chained(**settings: Any) -> LanguageModel:
    """Is made of another model."""
    return CallableModel(
        lambda prompt: llm("plain", of="chained").generate(["x"])[0].text, name=f"chained {llm('plain', of='chained').name}"
    )


def circular(**settings: Any) -> LanguageModel:
    return llm("circular", **settings)


def slow(**settings: Any) -> LanguageModel:
    MADE.append("slow")
    assert GATE.wait(20)
    return CallableModel(lambda prompt: "x", name="slow")


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution's metadata in a folder on the path; its factories are those above."""
    info = tmp_path / "site" / "models_of_tests-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: models-of-tests\nVersion: 1.0\n")
    named = "\n".join(f"{f.__name__} = {__name__}:{f.__name__}" for f in (plain, chained, circular, slow))
    (info / "entry_points.txt").write_text(f"[ragkit.models]\n{named}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    MADE.clear()
    GATE.clear()


def begun(ask: Callable[[], LanguageModel], got: list[LanguageModel]) -> threading.Thread:
    thread = threading.Thread(target=lambda: got.append(ask()), daemon=True)
    thread.start()
    return thread


def test_a_model_may_load_another_while_it_is_loaded() -> None:
    got: list[LanguageModel] = []
    begun(lambda: llm("chained"), got).join(20)
    assert [m.name for m in got] == ["chained plain"]
    assert llm("chained") is got[0]


def test_a_model_that_asks_for_itself_is_told() -> None:
    for _ in range(2):  # and leaves nothing behind
        with pytest.raises(InputError, match="the model 'circular' asks for itself while it is loaded"):
            llm("circular")


def test_a_slow_load_blocks_no_other_and_happens_once() -> None:
    waiting: list[LanguageModel] = []
    quick: list[LanguageModel] = []
    threads = [begun(lambda: llm("slow"), waiting) for _ in range(3)]
    begun(lambda: llm("plain", beside="slow"), quick).join(20)
    assert [m.name for m in quick] == ["plain"]
    assert waiting == []
    GATE.set()
    for thread in threads:
        thread.join(20)
    assert len(waiting) == 3
    assert len({id(m) for m in waiting}) == 1
    assert MADE.count("slow") == 1


def test_a_key_that_is_set_later_is_used(proxy: FaultProxy, transformers_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"openai:{transformers_server.model}"
    monkeypatch.setenv("OPENAI_BASE_URL", proxy.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first-secret")
    proxy.next(faults.status(401))
    with pytest.raises(ServerError, match="refused the key"):
        llm(name).generate(["x"], max_tokens=1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-second-secret")
    assert llm(name).generate(["x"], max_tokens=1)
    assert proxy.authorizations == ["Bearer sk-first-secret", "Bearer sk-second-secret"]
    assert llm(name) is llm(name)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert llm(name).base_url == "http://127.0.0.1:9/v1"  # type: ignore[attr-defined]
    llm(name, api_key="sk-third-secret")
    assert "secret" not in repr(load._loaded)


def test_a_folder_that_is_trained_anew_is_loaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(folder: Path, seed: int) -> None:
        model, tokenizer = qwen2(seed=seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    trained(tmp_path / "model", 7)
    before = llm(str(tmp_path / "model"), device="cpu")
    assert llm(str(tmp_path / "model"), device="cpu") is before
    trained(tmp_path / "model", 8)
    after = llm(str(tmp_path / "model"), device="cpu")
    assert after.fingerprint != before.fingerprint
    assert llm(str(tmp_path / "model"), device="cpu") is after
    trained(tmp_path / "elsewhere" / "model", 7)
    monkeypatch.chdir(tmp_path)
    assert llm("model", device="cpu").fingerprint == after.fingerprint
    os.chdir("elsewhere")  # the same name is another folder there
    assert llm("model", device="cpu").fingerprint == before.fingerprint
