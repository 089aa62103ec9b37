"""Plots: the data that is drawn; no screen, no global state, and matplotlib only when one is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragkit import BM25, Collection, Document, Query
from ragkit.errors import InputError
from ragkit.evaluation import compare, plot_latency, plot_scores
from ragkit.indexes.rank_bm25 import RankBM25

RUN = {"q1": {"a": 3.0, "b": 1.0, "c": 0.0}, "q2": {"a": 2.0, "b": 4.0}, "unjudged": {"a": 99.0}}
QRELS = {"q1": {"a": 2, "b": 0}, "q2": {"b": 1}, "q3": {"a": 1}}


def test_measure_against_latency(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", indexes=[BM25(language="en"), RankBM25()], chunker=None)
    collection.add([Document("red apple", id="a"), Document("blue sky", id="b")])
    systems = {"bm25": "bm25", "other": "rank_bm25", "ready": {"q": {"b": 1.0}}}
    found = compare(systems, {"q": "apple", "r": "red blue"}, {"q": {"a": 1}, "r": {"b": 1}}, ["R@1", "RR"], on=collection)
    for percentile in ("p50", "p99"):
        axes = plot_latency(found, "RR", percentile=percentile).axes[0]
        points = {c.get_label(): tuple(float(v[0]) for v in c.lines[0].get_data()) for c in axes.containers}
        expected = {n: (getattr(s.latency, percentile), s.scores["RR"].mean) for n, s in found.systems.items() if s.latency}
        assert points == expected
        assert list(points) == ["bm25", "other"], "a ready run has no latency"
        assert axes.get_ylabel() == "RR"
        assert percentile in axes.get_xlabel()
    figure = plot_latency(found)
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="percentile"):
        plot_latency(found, percentile="p75")
    with pytest.raises(InputError, match="has no P@5: it has R@1, RR"):
        plot_latency(found, "P@5")
    with pytest.raises(InputError, match="no system of this comparison has a latency"):
        plot_latency(compare({"r": RUN}, None, QRELS, "RR"))


def histograms(axes: Any) -> dict[str, list[float]]:
    """Label → heights of the bars."""
    labels = axes.get_legend_handles_labels()[1]
    return {label: [float(p.get_height()) for p in bars.patches] for label, bars in zip(labels, axes.containers, strict=True)}


def test_scores_of_relevant_and_other_hits(tmp_path: Path) -> None:
    axes = plot_scores(RUN, QRELS, bins=4).axes[0]
    heights = histograms(axes)
    # bins of width 1 over 0 to 4: others 1, 0, 2; relevant 3, 4 (the last bin takes its right end)
    assert heights == {"other (3)": pytest.approx([1 / 3, 1 / 3, 1 / 3, 0]), "relevant (2)": [0, 0, 0, 1]}
    collection = Collection.create(tmp_path / "c", chunker=None)
    collection.add([Document("red apple", id="a"), Document("blue apple", id="b")])
    run = collection.search([Query("q1", "apple")], k=5)
    axes = plot_scores(run, QRELS).axes[0]
    assert axes.get_xlabel() == "score (bm25)"
    assert set(histograms(axes)) == {"other (1)", "relevant (1)"}
    assert list(histograms(plot_scores({"q1": {"a": 1.0}}, QRELS).axes[0])) == ["relevant (1)"]
    with pytest.raises(InputError, match="no judged query"):
        plot_scores({"other": {"a": 1.0}}, QRELS)
    with pytest.raises(InputError, match="bins"):
        plot_scores(RUN, QRELS, bins=0)


def test_matplotlib_is_loaded_on_request_only() -> None:
    script = (
        "import sys, ragkit.evaluation as e\n"
        "e.compare({'a': {'q': {'d': 1.0}}}, None, {'q': {'d': 1}}, 'RR')\n"
        "assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules\n"
        "e.plot_scores({'q': {'d': 1.0}}, {'q': {'d': 1}})\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
