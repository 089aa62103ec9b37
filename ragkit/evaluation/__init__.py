"""Evaluation: measures over runs and judgements, comparisons with significance, files of both, test sets, answer scores."""

from __future__ import annotations

from ragkit.evaluation.answers import contains, exact_match, f1, normalize_answer
from ragkit.evaluation.cases import Case, Cases
from ragkit.evaluation.compare_systems import compare
from ragkit.evaluation.comparison import Comparison
from ragkit.evaluation.dataset import Dataset, load_dataset
from ragkit.evaluation.drop_self import DropSelf, without_self
from ragkit.evaluation.evaluation import Evaluation, QueryCounts, evaluate
from ragkit.evaluation.holm import holm
from ragkit.evaluation.latency import Latency
from ragkit.evaluation.measures import Measure, parse_measure, parse_measures
from ragkit.evaluation.plots import plot_latency, plot_scores
from ragkit.evaluation.queries import read_queries
from ragkit.evaluation.randomization import randomization_test
from ragkit.evaluation.statistics import auroc, bootstrap_interval
from ragkit.evaluation.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "Case",
    "Cases",
    "Comparison",
    "Dataset",
    "DropSelf",
    "Evaluation",
    "Latency",
    "Measure",
    "QueryCounts",
    "auroc",
    "bootstrap_interval",
    "compare",
    "contains",
    "evaluate",
    "exact_match",
    "f1",
    "holm",
    "load_dataset",
    "normalize_answer",
    "parse_measure",
    "parse_measures",
    "plot_latency",
    "plot_scores",
    "randomization_test",
    "read_qrels",
    "read_queries",
    "read_run",
    "without_self",
    "write_qrels",
    "write_run",
]
