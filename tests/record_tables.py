"""Tables of the documentation that show what benchmarks/results holds; `python -m tests.test_docs --write` puts them in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def record(name: str) -> dict[str, Any]:
    """A stored record; empty parts where there is none yet."""
    path = RESULTS / f"{name}.json"
    stored: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"ratios": {}, "quality": {}, "context": {}}
    return stored


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def retrieval() -> str:
    """nDCG@10 of each pipeline on each set, with intervals; a minus where the hybrid loses more than 0.01 to its better leg."""
    quality = record("retrieval")["quality"]
    sets = dict.fromkeys(
        key.removesuffix(" nDCG@10 bm25") for key in quality if key.endswith(" nDCG@10 bm25") and not key.startswith("mean")
    )
    rows = [("nDCG@10", "bm25", "dense", "hybrid", "hybrid, 95 %", "to better leg", "tuned", "bm25 R@100", "dense", "hybrid")]
    for name in sets:
        cell = {s: quality[f"{name} nDCG@10 {s}"] for s in ("bm25", "dense", "hybrid")}
        low, high = cell["hybrid"]["interval"]
        gain = cell["hybrid"]["mean"] - max(cell["bm25"]["mean"], cell["dense"]["mean"])
        tuned = quality.get(f"{name} nDCG@10 tuned hybrid")
        recall = [f"{quality[f'{name} R@100 {s}']['mean']:.3f}" for s in ("bm25", "dense", "hybrid")]
        rows.append(
            (
                name, *(f"{cell[s]['mean']:.3f}" for s in ("bm25", "dense", "hybrid")), f"{low:.3f} to {high:.3f}", f"{gain:+.3f}",
                f"{tuned['mean']:.3f}" if tuned else "", *recall,
            )
        )  # fmt: skip
    means = {(m, s): f"{quality[f'mean {m} {s}']:.3f}" for m in ("nDCG@10", "R@100") for s in ("bm25", "dense", "hybrid")} if sets else {}
    if means:
        ndcg, recalls = ([means[m, s] for s in ("bm25", "dense", "hybrid")] for m in ("nDCG@10", "R@100"))
        rows.append(("mean, English", *ndcg, "", "", "", *recalls))
    return aligned(rows)


def dense() -> str:
    """Encoders, and faiss presets."""
    ratios, quality, context = (record("dense")[part] for part in ("ratios", "quality", "context"))
    if not ratios:
        return "not measured\n"
    encoders = [
        ("encoder", "texts a second", "times the plain one", "nDCG@10 on scifact", "loss"),
        (
            "sentence-transformers, plain", f"{context['sentence_transformers_texts_a_second']:.0f}", "1",
            f"{quality['ndcg_scifact_sentence_transformers']:.4f}", "",
        ),
        (
            "default, with OpenVINO", f"{context['ragkit_texts_a_second']:.0f}", f"{ratios['encode_vs_sentence_transformers']:.1f}",
            f"{quality['ndcg_scifact_ragkit']:.4f}", f"{quality['ndcg_loss_scifact']:.4f}",
        ),
        (
            "static", f"{context['static_texts_a_second']:.0f}", f"{ratios['static_encode_vs_sentence_transformers']:.0f}",
            f"{quality['ndcg_scifact_static']:.4f}", f"{quality['static_ndcg_loss_scifact']:.4f}",
        ),
    ]  # fmt: skip
    presets = [("factory", "recall@10", "faiss ms, one question", "ragkit / faiss", "the same, 64 questions", "bytes a vector beside it")]
    for name in ("exact", "graph", "balanced", "fast", "compact", "bit"):
        timed = [context.get(f"faiss_milliseconds_{name}_1"), ratios.get(f"overhead_{name}_1"), ratios.get(f"overhead_{name}_64")]
        cells = ["" if t is None else f"{t:.3f}" for t in timed]
        presets.append((name, f"{quality[f'recall_at_10_{name}']:.3f}", *cells, str(context[f"index_bytes_a_vector_{name}"])))
    return f"{aligned(encoders)}\n{aligned(presets)}"


def bm25() -> str:
    """Ratios of search and indexing times."""
    ratios, quality = (record("bm25")[part] for part in ("ratios", "quality"))
    if not ratios:
        return "not measured\n"
    return aligned(
        [("times as fast as", "ratio"), *((n, f"{v:.2f}") for n, v in ratios.items()), ("topk_equal", f"{quality['topk_equal']}")]
    )


def ingest() -> str:
    """Ratios of the time from a folder to a first hit."""
    ratios = record("ingest").get("ratios")
    return aligned([("times as fast as", "ratio"), *((n, f"{v:.2f}") for n, v in ratios.items())]) if ratios else "not measured\n"


def trust() -> str:
    """What killed writers, power cuts and readers beside a writer have shown, and what changes cost."""
    crash, race, change = record("crash"), record("concurrency"), record("mutate")
    c, p, r, q = crash["quality"], crash["context"], race["quality"], {**change["quality"], **change["ratios"]}
    rows = (
        ("writers killed; inside a commit", f"{c['kills']}; {c['kills_inside_commit']}"),
        ("  commits lost; collections that did not open", f"{c['lost_commits']}; {c['corrupt_opens']}"),
        ("  files left that belong to no version", str(c["orphans_left"])),
        ("moments at which the power was cut; states of the disk", f"{p['power_events']}; {p['power_distinct_states']}"),
        ("  states with a loss", str(c["power_cut_losses"])),
        ("searches beside a writer; versions", f"{race['context']['searches']}; {race['context']['versions_read']}"),
        ("  errors; results of no whole version", f"{r['errors']}; {r['torn_reads']}"),
        ("replacing 1 % of 100,000 passages against indexing them anew", f"{100 * q['upsert_vs_rebuild']:.1f} %"),
        ("search after 50 small commits against compacted, the slowest index", f"{q['search_fragmented']:.2f} x"),
        ("a commit of one document, median", f"{q['one_document_commit_p50_ms']:.1f} ms"),
        ("opening a million passages", f"{q['open_seconds']:.2f} s"),
        ("  memory that is not the files', of their size", f"{100 * q['anonymous_memory_share_of_bytes']:.1f} %"),
        ('indexing them with max_ram="1GB": most that was resident', f"{q['peak_resident_GB_with_max_ram_1GB']:.2f} GB"),
    )
    return aligned(rows)


def cross_encoder() -> str:
    """A cross-encoder trained on each set's training queries, on its test queries."""
    quality, context = (record("cross_encoder")[part] for part in ("quality", "context"))
    if not quality:
        return "not measured\n"
    rows = [("nDCG@10", "hybrid", "cross-encoder", "both", "gain over hybrid, 95 %", "p", "fitted to", "trained in")]
    for name in ("scifact", "cosqa"):
        hybrid, alone, both = (quality[f"{name} nDCG@10 {s}"] for s in ("hybrid", "cross-encoder", "interpolated"))
        low, high = both["gain's interval"]
        gain = f"{both['gain over hybrid']:+.4f} ({low:+.4f} to {high:+.4f})"
        fit, seconds = context[f"{name}.queries"]["fit"], context[f"{name}.seconds of training"]
        means = (f"{s['mean']:.4f}" for s in (hybrid, alone, both))
        rows.append((f"{name}, test", *means, gain, f"{both['p']:.4f}", f"{fit} queries", f"{seconds / 60:.0f} min"))
    return aligned(rows)


def reranking() -> str:
    """nDCG@10 of every reranker on the same candidates, with its costs on scifact."""
    found = record("rerank_quality")
    if not found["quality"]:
        return "not measured\n"
    keys = [key.split(" nDCG@10 ") for key in found["quality"]]
    sets, labels = (list(dict.fromkeys(k[i] for k in keys)) for i in (0, 1))
    rows = [("nDCG@10", *(s.removesuffix("-train100") for s in sets), "calls", "passes", "prompt tokens", "written")]
    for label in labels:
        cells = [found["quality"].get(f"{s} nDCG@10 {label}") for s in sets]
        cost = found["costs"].get(f"scifact {label}", {})
        spent = [f"{cost[k]:.1f}" if k in cost else "" for k in ("calls", "passes", "prompt_tokens", "generated_tokens")]
        rows.append((label, *("" if c is None else f"{c:.3f}" for c in cells), *spent))
    return aligned(rows)


def windows() -> str:
    """What single-token, generated and full ranking cost on one model."""
    found = record("rerank")
    if not found["ratios"]:
        return "not measured\n"
    rows = [("100 candidates", "seconds", "passes", "prompt tokens", "written tokens")]
    for name in ("sliding, single token", "sliding, generated", "full, single token", "full, generated"):
        c = found["quality"][name]
        rows.append((name, f"{c['seconds']:.1f}", str(c["passes"]), str(c["prompt_tokens"]), str(c["generated_tokens"])))
    return f"{aligned(rows)}\n{aligned([('ratio', ''), *((n, f'{v:.3f}') for n, v in found['ratios'].items())])}"


def listwise() -> str:
    """A small language model's order of held-out windows before and after training."""
    q = record("train_listwise")["quality"]
    if not q:
        return "not measured\n"
    low, high = q["gain's interval"]
    rows = [("300 windows of unseen passages", "before", "after", "gain, 95 %")]
    rows.append(("nDCG@10", f"{q['nDCG@10 before']:.3f}", f"{q['nDCG@10 after']:.3f}", f"{q['gain']:+.3f} ({low:+.3f} to {high:+.3f})"))
    rows.append(("wholly in order", *(f"{100 * q[f'wholly in order {when}']:.1f} %" for when in ("before", "after")), ""))
    return aligned(rows)


def ngram_retrieval() -> str:
    """nDCG@10 of BM25, of n-grams alone, and of both fused, with the p-value of what fusing changes."""
    quality = record("ngram_retrieval")["quality"]
    rows = [("nDCG@10", "bm25", "n-grams", "fused", "change", "p", "fused, words alone", "ms, bm25", "ms, n-grams")]
    for name in [key.removesuffix(" bm25") for key in quality if key.endswith(" bm25")]:
        cell = {system: quality[f"{name} {system}"] for system in ("bm25", "n-grams", "fused", "fused, words")}
        means = [f"{cell[s]['mean']:.4f}" for s in ("bm25", "n-grams", "fused")]
        change, p = cell["fused"]["mean"] - cell["bm25"]["mean"], cell["fused"]["p against bm25"]
        times = [f"{cell[s]['milliseconds']['p50']:.2f}" for s in ("bm25", "n-grams")]
        rows.append((name, *means, f"{change:+.4f}", f"{p:.4f}", f"{cell['fused, words']['mean']:.4f}", *times))
    return aligned(rows) if quality else "not measured\n"


def quotes() -> str:
    """Quotes and planted questions."""
    found = record("quotes")
    q = found["quality"]
    if not q:
        return "not measured\n"
    times = found["context"]["milliseconds a quote"]
    percent = {name: f"{100 * q[name]:.1f} %" for name in ("altered quotes flagged", "true quotes flagged", "planted questions found")}
    others = sum(q[f"other questions called {label}"] for label in ("dirty", "suspicious"))
    rows = [("over cpp-docs, 44 MB", "found", "ms each")]
    rows.append(("2,000 quotes with one character changed, flagged", percent["altered quotes flagged"], f"{times['altered']:.1f}"))
    rows.append(("2,000 true quotes, flagged", percent["true quotes flagged"], f"{times['true']:.1f}"))
    rows.append(("180 planted of 3,610 questions, found", percent["planted questions found"], ""))
    rows.append(("the other questions, called dirty or suspicious", str(others), ""))
    return aligned(rows)


def infinity_gram() -> str:
    """Agreement with the text by how much of the context was found, and perplexities."""
    q = record("infinity_gram")["quality"]
    if not q:
        return "not measured\n"
    rows = [("held-out files of cpp-docs", "next token foretold", "tokens")]
    rows.append(("all contexts", f"{100 * q['next-token agreement']:.1f} %", ""))
    rows.append(("one token alone followed", f"{100 * q['next-token agreement where sparse']:.1f} %", ""))
    for name, (share, n) in q["next-token agreement by length"].items():
        rows.append((f"{name} tokens of context found", f"{100 * share:.1f} %", f"{n:,}"))
    models = [
        ("perplexity", ""),
        *((name.removeprefix("perplexity of "), f"{q[name]:.2f}") for name in q if name.startswith("perplexity of")),
    ]
    return f"{aligned(rows)}\n{aligned(models)}"


def ngram() -> str:
    """The FM-index against a suffix array, and tokens against infini-gram."""
    found = record("ngram")
    r, q = found["ratios"], found["quality"]
    if not r:
        return "not measured\n"
    rows = [("FM-index", "bytes a byte", "count, times a suffix array's time", "many side by side", "speed-up by that, 542 MB")]
    for preset in ("compact", "fast"):
        columns = ("size_vs_text", "count_vs_suffix_array", "batch_count_vs_suffix_array", "batch_vs_loop")
        rows.append((preset, *(f"{r[f'{preset}_{column}']:.2f}" for column in columns)))
    rest = [
        ("patterns checked, mismatches", f"{found['context']['patterns checked']:,}, {q['mismatches']}"),
        ("building, times the sorting of the suffixes", f"{r['build_vs_sorting']:.2f}"),
        ("peak memory, times the text", f"{r['peak_memory_vs_text']:.2f}"),
        ("2,000 contexts of tokens as infini-gram has them", f"{100 * q['infini_gram_equal']:.1f} %"),
        ("its time: count / next tokens / infinity-gram's", " / ".join(
            f"{r[f'{way}_vs_infini_gram']:.2f}" for way in ("count", "next_tokens", "infinity_gram_next_tokens"))),
    ]  # fmt: skip
    return f"{aligned(rows)}\n{aligned(rest)}"


def speculate() -> str:
    """Every drafter alone and together, and transformers itself."""
    found = record("speculate")
    q = found["quality"]
    if not q:
        return "not measured\n"
    rows = [("docs-7m goes on from passages and a beginning", "tokens a pass", "times as fast as a token a pass")]
    for name, times in q["times as fast as plain"].items():
        per_pass = 1.0 if name in ("plain", "transformers") else q["tokens per pass"].get(name)  # transformers doesn't tell its passes
        rows.append((name, "" if per_pass is None else f"{per_pass:.2f}", f"{times:.2f}"))
    worst = [("where nothing can be copied, auto", "", f"{found['ratios']['worst_case_vs_plain']:.2f}")]
    return aligned([*rows, *worst])


def ralmspec() -> str:
    """Each way to write, for each width of vectors: times as fast as without speculation, and as the scheduler's model predicts."""
    found = record("ralmspec")
    ratios, context = found["ratios"], found["context"]
    if not ratios:
        return "not measured\n"
    tables = []
    share = ", share of retrieval in a step"
    for width in [key.removesuffix(share) for key in context if key.endswith(share)]:
        before = f"{width}, " if tables else ""  # the first width's ratios are the record's own
        rows = [(f"{width}, search {100 * context[f'{width}{share}']:.0f} % of a step", "times as fast", "of what is predicted")]
        for name in ("ralmspec", "synchronous", "asynchronous, prefetch 1", "synchronous, prefetch 1", "synchronous, always 3 strides"):
            faster, told = ("ralmspec_vs_iterative", "measured_vs_predicted") if name == "ralmspec" else (
                f"{name} vs iterative", f"{name}, measured vs predicted"
            )  # fmt: skip
            rows.append((name, f"{ratios[before + faster]:.2f}", f"{ratios[before + told]:.2f}"))
        tables.append(aligned(rows))
    return "\n".join(tables)


TABLES = {
    ("iterative.md", "What it costs and saves"): ralmspec,
    ("speculative-decoding.md", "Measured"): speculate,
    ("ngram.md", "Measured: strings"): ngram,
    ("ngram.md", "Measured: next tokens"): infinity_gram,
    ("ngram.md", "Measured: quotes"): quotes,
    ("ngram.md", "Measured: rankings"): ngram_retrieval,
    ("training-rerankers.md", "A single-token reranker, measured"): listwise,
    ("reranking.md", "Costs measured"): windows,
    ("reranking.md", "Quality measured"): reranking,
    ("training-rerankers.md", "A cross-encoder, measured"): cross_encoder,
    ("fusion.md", "Where the hybrid loses"): retrieval,
    ("dense.md", "Measured"): dense,
    ("bm25.md", "Speed"): bm25,
    ("storage-and-crashes.md", "Measured"): trust,
}
