"""``ragkit eval``."""

from __future__ import annotations

from pathlib import Path

import click

from ragkit.cli.output import emit, notice, open_collection, show_progress, told


@click.command("eval")
@click.argument("collection", required=False, type=click.Path(path_type=Path))
@click.option("--beir", "folder", default=None, type=click.Path(path_type=Path), help="Test set: a folder in BEIR layout.")
@click.option("--split", default=None, help="Which qrels of the test set to use; default test.")
@click.option("--queries", default=None, type=click.Path(path_type=Path), help="For COLLECTION: JSON lines as of BEIR, or id<TAB>text.")
@click.option("--qrels", default=None, type=click.Path(path_type=Path), help="For COLLECTION: judgements in the format of TREC or BEIR.")
@click.option(
    "--pipeline",
    "pipelines",
    multiple=True,
    help="An index or a pipeline; several are compared with the first. Default bm25, or that of COLLECTION.",
)
@click.option("-m", "--measure", "measures", multiple=True, default=("nDCG@10", "R@100"), show_default=True, help="May be repeated.")
@click.option("-k", type=click.IntRange(min=1), default=1000, show_default=True, help="Depth of each ranking, in documents.")
@click.option("--drop-self", is_flag=True, help="Leave out the document whose id is the query's id; sets that declare it need no flag.")
@click.option(
    "--run",
    "run_file",
    default=None,
    type=click.Path(path_type=Path),
    help="Write the ranking as a TREC run; of several pipelines one file each.",
)
@told
def evaluate(
    collection: Path | None,
    folder: Path | None,
    split: str | None,
    queries: Path | None,
    qrels: Path | None,
    pipelines: tuple[str, ...],
    measures: tuple[str, ...],
    k: int,
    drop_self: bool,
    run_file: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure retrieval on a test set or on COLLECTION, and compare pipelines.

    A test set is a folder in BEIR layout, whose documents are indexed whole; for COLLECTION give queries and judgements of your own.
    """
    from ragkit.evaluation import read_qrels, read_queries
    from ragkit.evaluation.retrieval import evaluate_collection, evaluate_dataset

    if folder is not None:
        if collection is not None or queries is not None or qrels is not None:
            raise click.UsageError("--beir names a whole test set: give it without COLLECTION, --queries and --qrels")
        found = evaluate_dataset(
            folder,
            pipelines or ("bm25",),
            measures,
            split=split or "test",
            k=k,
            drop_self=drop_self or None,
            progress=show_progress(quiet),
        )
    else:
        if collection is None or queries is None or qrels is None or split is not None:
            raise click.UsageError("give a test set with --beir FOLDER, or COLLECTION with --queries FILE and --qrels FILE")
        asked, judged = read_queries(queries), read_qrels(qrels)
        opened = open_collection(collection, quiet)
        found = evaluate_collection(
            opened, asked, judged, pipelines or None, measures, k=k, drop_self=drop_self, progress=show_progress(quiet)
        )
    written = found.write_runs(run_file) if run_file is not None else []
    if not quiet:
        for file in written:
            notice(f"wrote {file}")
    emit(found.to_dict(), str(found), as_json)
