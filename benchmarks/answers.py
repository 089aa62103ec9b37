"""The extractive reader on xquad and hotpotqa: does the first citation hold the answer, and does it know when there is none?

Its constants were fitted on the questions with even positions; the figures are for the odd ones, and for
all where the text says so. "Unanswerable" questions are the same ones asked without their gold passages.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ragkit import Collection, Query, Run
from ragkit.evaluation import auroc, bootstrap_interval, contains, load_dataset
from ragkit.pipelines.extractive import THRESHOLDS, Extractive
from ragkit.text import sentence_spans

LANGUAGES = ("en", "de", "es", "zh", "ar", "hi")
K = 10
DEPTH = 40  # enough that ten passages are left when a question's gold passages are taken out


def run(data: Path, languages: Sequence[str] = LANGUAGES) -> dict[str, Any]:
    """The record of both parts."""
    quality: dict[str, Any] = {}
    context: dict[str, Any] = {"k": K, "retriever": "bm25", "thresholds": THRESHOLDS}
    for language in languages:
        quality.update({f"xquad-{language}.{name}": value for name, value in _first_sentence(data / "xquad" / language).items()})
        context[f"xquad-{language}.seconds_per_question"] = quality.pop(f"xquad-{language}.seconds_per_question")
    sets = {**{f"xquad-{language}": data / "xquad" / language for language in languages}, "hotpotqa": data / "hotpotqa-train100"}
    for name, folder in sets.items():
        quality.update({f"{name}.{key}": value for key, value in _abstention(folder).items()})
    return {"benchmark": "answers", "quality": quality, "context": context}


def _index(folder: Path, scratch: str) -> Collection:
    collection = Collection.create(Path(scratch, "c"))
    collection.sync(folder)
    return collection


def _questions(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    judged = load_dataset(folder).judged()
    return [q for q in map(json.loads, lines) if q["_id"] in judged]


def _first_sentence(folder: Path) -> dict[str, Any]:
    """Share of questions whose first cited sentence contains a gold answer, against the first sentence of the top hit."""
    questions = _questions(folder)
    with tempfile.TemporaryDirectory() as scratch:
        collection = _index(folder, scratch)
        found = collection.search([Query(q["_id"], q["text"]) for q in questions], k=K)
        start = time.perf_counter()
        answers = Extractive(threshold=0).read(found)
        seconds = time.perf_counter() - start
        ours = [bool(a.citations and contains(a.citations[0].quote, q["answers"])) for a, q in zip(answers, questions, strict=True)]
        answered = [a.found for a in Extractive().read(found)]
        lead = []
        for i, q in enumerate(questions):
            top = found.passages_at(found.hits_of(i))[:1]
            spans = [sentence_spans(p.text) for p in top]
            lead.append(any(bool(contains(p.text[s[0][0] : s[0][1]], q["answers"])) for p, s in zip(top, spans, strict=True) if s))
    gain = np.array(ours, float) - np.array(lead, float)
    odd = slice(1, None, 2)
    low, high = bootstrap_interval(gain)
    return {
        "questions": len(questions),
        "first_citation_has_answer": _share(ours),
        "first_sentence_of_top_hit_has_answer": _share(lead),
        "gain_points": round(100 * float(gain.mean()), 2),
        "gain_points_95": [round(100 * low, 2), round(100 * high, 2)],
        "odd_half.first_citation_has_answer": _share(ours[odd]),
        "odd_half.first_sentence_of_top_hit_has_answer": _share(lead[odd]),
        "answered_at_default_threshold": _share(answered),
        "seconds_per_question": round(seconds / len(questions), 5),
    }


def _abstention(folder: Path) -> dict[str, Any]:
    """How well the confidence tells questions with their gold passages from the same without them."""
    questions = _questions(folder)
    qrels = load_dataset(folder).qrels
    with tempfile.TemporaryDirectory() as scratch:
        collection = _index(folder, scratch)
        found = collection.search([Query(q["_id"], q["text"]) for q in questions], k=DEPTH)
        answers = {True: Extractive().read(found.cut(K)), False: Extractive().read(_without(found, qrels).cut(K))}
    confidence = {known: np.array([a.confidence for a in given]) for known, given in answers.items()}
    even, odd = slice(0, None, 2), slice(1, None, 2)
    threshold = _best_threshold(confidence[True][even], confidence[False][even])
    scores = np.concatenate((confidence[True][odd], confidence[False][odd]))
    labels = np.concatenate((np.ones(len(confidence[True][odd])), np.zeros(len(confidence[False][odd]))))
    answered = {known: [a.found for a in given][odd] for known, given in answers.items()}
    return {
        "abstention_auroc_odd_half": round(auroc(scores.tolist(), labels.tolist()), 4),
        "threshold_from_even_half": round(threshold, 3),
        "answered_with_gold_odd_half": _share((confidence[True][odd] >= threshold).tolist()),
        "answered_without_gold_odd_half": _share((confidence[False][odd] >= threshold).tolist()),
        "answered_with_gold_odd_half_default": _share(answered[True]),
        "answered_without_gold_odd_half_default": _share(answered[False]),
    }


def _without(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Run:
    """The run less each question's gold passages."""
    ids = run.ids()
    q = np.repeat(np.arange(len(run)), np.diff(run.indptr))
    keep = np.array([ids[i] not in qrels[run.queries[q[i]].id] for i in range(len(ids))], np.bool_)
    counts = np.bincount(q[keep], minlength=len(run))
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return replace(run.take(indptr, np.flatnonzero(keep)), report=())


def _best_threshold(known: np.ndarray[Any, Any], unknown: np.ndarray[Any, Any]) -> float:
    """The threshold with the largest difference between answered known and answered unknown questions (Youden's J)."""
    cuts = np.unique(np.concatenate((known, unknown)))
    return float(max(cuts, key=lambda t: (known >= t).mean() - (unknown >= t).mean()))


def _share(values: list[bool]) -> float:
    return round(float(np.mean(values)), 4)
