"""Evaluation: measures over runs and judgements, files of both, test sets, answer scores, intervals."""

from __future__ import annotations

from ragkit.evaluation.answers import contains, exact_match, f1, normalize_answer
from ragkit.evaluation.dataset import Dataset, load_dataset
from ragkit.evaluation.evaluation import Evaluation, QueryCounts, evaluate
from ragkit.evaluation.measures import Measure, parse_measure, parse_measures
from ragkit.evaluation.statistics import auroc, bootstrap_interval
from ragkit.evaluation.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "Dataset",
    "Evaluation",
    "Measure",
    "QueryCounts",
    "auroc",
    "bootstrap_interval",
    "contains",
    "evaluate",
    "exact_match",
    "f1",
    "load_dataset",
    "normalize_answer",
    "parse_measure",
    "parse_measures",
    "read_qrels",
    "read_run",
    "write_qrels",
    "write_run",
]
