"""What every test relies on: no network, a home of its own, and where the real data is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import ragkit

settings.register_profile("ragkit", derandomize=True, deadline=None)
settings.load_profile("ragkit")


@pytest.fixture(scope="session", autouse=True)
def _sockets_blocked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGKIT_OFFLINE", "1")  # for the processes that tests start
        with ragkit.offline():
            yield


@pytest.fixture(scope="session")
def encoders_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where converted encoders are kept: one folder for all tests, for a conversion takes seconds."""
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, encoders_home: Path) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "encoders").symlink_to(encoders_home)
    monkeypatch.setenv("RAGKIT_HOME", str(home))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real test sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (RAGKIT_DATA)")
    return folder
