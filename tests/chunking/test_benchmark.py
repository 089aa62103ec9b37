"""The record of chunking-eval: the default beats fixed passages, the manual shows what was recorded, and a fresh run gives the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chunking import CHUNKERS, Bench, run

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "chunking.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def record() -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / "chunking.json").read_text())


def test_the_default_beats_fixed_passages_on_both(record: Any) -> None:
    for measure in ("recall", "iou"):
        low, high = record["quality"][f"dense.auto_over_fixed.{measure}_points_95"]
        assert 0 < low < high
        assert record["quality"][f"dense.auto_over_fixed.{measure}_p"] < 0.05


def test_the_manual_shows_the_record(record: Any) -> None:
    figures = {**record["context"], **record["quality"]}
    rows = {m[1]: m[2].split(" | ") for m in re.finditer(r"^\| `(\w+)` \| (\d[\d,]* \| .*) \|$", PAGE, re.MULTILINE)}
    assert set(rows) == set(CHUNKERS)
    for name, shown in rows.items():
        wanted = [f"{figures[f'{name}.passages']:,}"]
        for retriever in ("dense", "hybrid", "bm25"):
            wanted += [f"{figures[f'{retriever}.{name}.recall']:.3f}", f"{figures[f'{retriever}.{name}.iou']:.4f}"]
        assert shown == wanted, name
    for name in ("dense.auto", "hybrid.auto", "bm25.auto", "dense.auto_titled"):
        for measure in ("recall", "iou"):
            low, high = figures[f"{name}_over_fixed.{measure}_points_95"]
            assert f"{figures[f'{name}_over_fixed.{measure}_points']:+.2f} ({low:.2f} to {high:.2f})" in PAGE


def test_a_fresh_run_gives_what_is_recorded(data: Path, record: Any) -> None:
    """The part that needs no encoder: every figure of the default and of fixed passages under BM25."""
    context = run(data, ("auto", "fixed"), ("bm25",))["context"]
    assert len(context) == 48
    assert context == {key: record["context"][key] for key in context}


def test_whole_documents_hold_every_reference(data: Path) -> None:
    bench = Bench(data / "chunking-eval", ("bm25",))
    texts = {d.id: d.text for d in bench.documents}
    for question in bench.questions:
        for r in question["references"]:
            assert texts[question["corpus"]][r["start_index"] : r["end_index"]] == r["content"]
    whole = [(d, 0, len(texts[d])) for d in texts]
    scores = bench.scores([[bench.range(*r) for r in whole]] * len(bench.questions))
    assert (scores[:, 0] == 1).all()
    assert ((scores[:, 1] > 0) & (scores[:, 1] < 0.01)).all()
