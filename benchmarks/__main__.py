"""Run one benchmark by its name and print its record."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib import import_module
from pathlib import Path

import ragkit

NAMES = (
    "answers", "bm25", "chunking", "concurrency", "crash", "cross_encoder", "dense", "infinity_gram", "ingest", "knn_lm", "lossy", "mutate",
    "ngram", "ngram_retrieval", "online_draft", "quotes", "ralmspec", "rerank", "rerank_quality", "retrieval", "speculate",
    "train_listwise",
)  # fmt: skip


def main() -> None:
    """Parse the command line, run, print a table or (with --json) one JSON object as the last line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="ragkit's benchmarks",
        epilog="Options of its own, after the name: crash has --kills N and --power.",
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--size", help="of a benchmark that has sizes; the first is the default")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--save", action="store_true", help="keep the record under benchmarks/results/")
    args, rest = parser.parse_known_args()
    data = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))
    benchmark = import_module(f"benchmarks.{args.name}")
    sizes = tuple(getattr(benchmark, "SIZES", ()))
    if args.size is not None and args.size not in sizes:
        parser.error(f"{args.name} has {'the sizes ' + ', '.join(sizes) if sizes else 'no sizes'}, not {args.size!r}")
    own = argparse.ArgumentParser(prog=f"{parser.prog} {args.name}", add_help=False, allow_abbrev=False)
    getattr(benchmark, "options", lambda parser: None)(own)
    given, unknown = own.parse_known_args(rest)
    if unknown:
        parser.error(f"{args.name} has no option {' '.join(unknown)!r}")
    record = benchmark.run(data, **({"size": args.size} if args.size else {}), **vars(given))
    record["context"] = {
        **record.get("context", {}),
        "ragkit": ragkit.__version__,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    if args.save:
        target = Path(__file__).parent / "results" / f"{args.name}.json"
        target.write_text(json.dumps(record, indent=1) + "\n")
    if args.json:
        print(json.dumps(record))
    else:
        for part in ("quality", "ratios", "context"):
            for name, value in record.get(part, {}).items():
                print(f"{part:<8} {name:<44} {value}")


if __name__ == "__main__":
    main()
