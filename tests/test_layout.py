"""The layout's promises: import direction, declared packages, public surface, import time, few dependencies."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ragkit

ROOT = Path(__file__).parent.parent
FAMILIES = ("indexes", "rerankers", "memory", "pipelines")
HEAVY = {
    "numpy",
    "scipy",
    "numba",
    "faiss",
    "pyarrow",
    "pydantic",
    "torch",
    "transformers",
    "lxml",
    "pypdf",
    "docx",
    "tqdm",
    "click",
    "Stemmer",
}
IN_CHECKOUT = (ROOT / "indexes").is_dir()
needs_checkout = pytest.mark.skipif(not IN_CHECKOUT, reason="needs the source tree")


def modules() -> dict[str, Path]:
    """Module name of every source file, by where it is really stored."""
    found = {}
    for top in ("ragkit", *FAMILIES):
        for parent, folders, files in os.walk(ROOT / top, followlinks=False):
            folders[:] = [f for f in folders if f != "__pycache__" and not Path(parent, f).is_symlink()]
            for file in files:
                if file.endswith(".py"):
                    path = Path(parent, file)
                    parts = path.relative_to(ROOT).with_suffix("").parts
                    name = ".".join(parts if top == "ragkit" else ("ragkit", *parts))
                    found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, annotations and type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def family(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FAMILIES else "core"


@needs_checkout
def test_arrows_point_one_way() -> None:
    allowed = {"pipelines": {"pipelines", "indexes", "rerankers", "memory", "core"}, "core": {"core"}}
    lazy_surface = {"ragkit"}  # the public door names the families' classes for type checkers; it loads them on use
    wrong = []
    for name, path in modules().items():
        mine = family(name)
        for used in imports(path):
            if used.split(".")[0] == "ragkit" and family(used) not in allowed.get(mine, {mine, "core"}) and name not in lazy_surface:
                wrong.append(f"{name} imports {used}")
    assert not wrong


@needs_checkout
def test_declared_packages_are_those_on_disk() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    on_disk = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(declared) == on_disk
    assert len(declared) == len(set(declared))


@needs_checkout
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_one_name(name: str) -> None:
    out = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert f"import ragkit.{name}, not {name}" in out.stderr
    out = subprocess.run([sys.executable, "-c", f"import ragkit.{name}"], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert (ROOT / "ragkit" / name).is_symlink()


@needs_checkout
def test_files_stay_small() -> None:
    long = {name: n for name, path in modules().items() if (n := path.read_text().count("\n")) > 420}
    assert not long


def test_import_is_quick_and_light() -> None:
    script = (
        "import sys, time, json\nt = time.perf_counter()\nimport ragkit\nt = time.perf_counter() - t\n"
        "print(json.dumps([t, sorted({m.partition('.')[0] for m in sys.modules})]))"
    )
    runs = [json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    assert min(t for t, _ in runs) < 0.3
    assert not HEAVY & set(runs[0][1])


def test_public_surface() -> None:
    assert ragkit.__all__ == sorted(ragkit.__all__)
    assert set(ragkit._LAZY) | {"offline"} == set(ragkit.__all__)
    for name in ragkit.__all__:
        assert getattr(ragkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Indexx'"):
        ragkit.Indexx  # noqa: B018


def test_type_checkers_see_the_same_surface() -> None:
    tree = ast.parse(Path(ragkit.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {a.asname or a.name: f"{n.module}:{a.name}" for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert seen == ragkit._LAZY


def test_base_install_is_small() -> None:
    """At most 15 packages beyond the named ones, transitively, without extras."""
    named = {_key(r) for r in importlib.metadata.requires("ragkit") or [] if "extra ==" not in r}
    seen: set[str] = set()
    todo = list(named)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [_key(r) for r in importlib.metadata.requires(name) or [] if "extra ==" not in r and _applies(r)]
    assert named == {
        "numpy", "scipy", "numba", "llvmlite", "faiss-cpu", "pyarrow", "pydantic", "rank-bm25", "pydivsufsort", "pystemmer", "tqdm",
        "click", "filelock",
    }  # fmt: skip
    assert len(seen - named) <= 15, sorted(seen - named)


def _key(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")  # type: ignore[union-attr]


def _applies(requirement: str) -> bool:
    """Whether the marker of a requirement holds here, for the markers that occur: platform and Python version."""
    from packaging.requirements import Requirement

    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate()


@needs_checkout
def test_no_pickle_and_no_eval() -> None:
    for name, path in modules().items():
        assert not imports(path) & {"pickle", "marshal", "shelve", "dill", "joblib"}, name
        calls = {n.func.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not calls & {"eval", "exec"}, name
