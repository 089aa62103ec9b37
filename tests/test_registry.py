"""Names of parts: built in, from plug-ins, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ragkit.errors import InputError, MissingDependencyError, RagkitError, UnknownNameError
from ragkit.indexes.bm25 import BM25
from ragkit.protocols import Chunker, IndexSpec, Reader
from ragkit.registry import BUILT_IN, names, need, resolve
from ragkit.spec import from_config, to_config


@pytest.mark.parametrize(("family", "name"), [(f, n) for f, of_one in BUILT_IN.items() for n in of_one])
def test_every_built_in_name_resolves_to_what_it_says(family: str, name: str) -> None:
    part = resolve(family, name)
    protocol = {"indexes": IndexSpec, "chunkers": Chunker, "readers": Reader}.get(family)
    if protocol is None:
        assert callable(part)
        return
    needed = ("a model",) if name in ("llm", "token_ngram") else ()  # no model is a default
    made = part(*needed)
    assert isinstance(made, protocol)
    assert made.name == name
    if family != "readers":
        assert from_config(family, to_config(made)) == made
    assert hash(made) == hash(part(*needed))


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"no index is called 'bm26'; known: bm25, dense, .*; did you mean 'bm25'"):
        resolve("indexes", "bm26")
    with pytest.raises(UnknownNameError, match="known: none"):
        resolve("nothing", "x")


def test_a_config_names_what_does_not_fit() -> None:
    for config, sentence in (
        ({"type": "bm25", "k1": "much"}, "indexes 'bm25': k1"),
        ({"type": "bm25", "k2": 1}, "k2: Unexpected keyword"),
        ({"k1": 1}, "names its part under 'type'"),
    ):
        with pytest.raises(InputError, match=sentence) as caught:
            from_config("indexes", config)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnknownNameError):
        from_config("indexes", {"type": "os:system"})
    assert to_config(BM25(k1=1.2))["k1"] == 1.2


def test_plug_ins_add_names_and_never_replace_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragkit.indexes]\nmine = plug_in:Mine\nbm25 = plug_in:Mine\n")
    (tmp_path / "plug_in.py").write_text("class Mine:\n    name = 'mine'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mine" in names("indexes")
    assert "plug_in" not in sys.modules  # listing imports nothing
    assert resolve("indexes", "mine").name == "mine"
    assert resolve("indexes", "bm25") is BM25
    monkeypatch.setenv("RAGKIT_PLUGINS", "0")
    assert "mine" not in names("indexes")
    with pytest.raises(UnknownNameError):
        resolve("indexes", "mine")


def test_only_the_absence_of_the_package_itself_is_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match=r"reading a thing needs the package 'not_there': pip install 'ragkit\[files\]'"):
        need("not_there.sub", extra="files", why="reading a thing")
    (tmp_path / "half_broken.py").write_text("import something_else_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="something_else_missing") as caught:
        need("half_broken", extra="files", why="reading a thing")
    assert not isinstance(caught.value, RagkitError)


def test_every_error_is_drawn_in_the_tree() -> None:
    from ragkit import errors

    drawn = errors.__doc__ or ""
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RagkitError)]
    for c in classes:
        assert c.__name__ in drawn
        builtin = next((b for b in c.__mro__[1:] if b.__module__ == "builtins" and b not in (Exception, BaseException, object)), None)
        line = next(x for x in drawn.splitlines() if f" {c.__name__}" in f" {x.replace('├──', '').replace('└──', '').replace('│', '')}")
        if "(" in line:
            assert builtin is not None
            assert issubclass(c, getattr(__import__("builtins"), line.split("(")[1].split(")")[0]))
