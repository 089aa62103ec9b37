"""Servers that start once for all tests of language models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.generation import loopback
from tests.generation.faults import FaultProxy


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loopback.model_folder(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def transformers_server(served_folder: Path) -> Iterator[loopback.Server]:
    with loopback.transformers_server(served_folder) as server:
        yield server


@pytest.fixture(scope="session")
def llama_server(served_folder: Path) -> Iterator[loopback.Server]:
    with loopback.llama_server(served_folder) as server:
        yield server


@pytest.fixture
def proxy(transformers_server: loopback.Server) -> Iterator[FaultProxy]:
    """A proxy of this test's own in front of the real server."""
    with FaultProxy.before(transformers_server.base_url) as made:
        yield made


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, server or proxy of the machine that runs the tests."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
