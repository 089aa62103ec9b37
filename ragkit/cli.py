"""The command line: ``ragkit index | sync | search | ask | eval | get | info``.

With ``--json`` one JSON document goes to stdout; progress and notices always go to stderr. The exit
code is 0 only on success, 2 on wrong usage, 1 otherwise, with one sentence on stderr (``--debug``
shows the traceback).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragkit.errors import InputError, RagkitError

if TYPE_CHECKING:
    from ragkit.collection import Collection, SyncReport

_SHOWN = 10


def _emit(data: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(_finite(data), ensure_ascii=False, allow_nan=False) if as_json else text)


def _finite(data: Any) -> Any:
    """The data with null for NaN and infinities, which JSON has no words for."""
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _notice(text: str) -> None:
    click.echo(text, err=True)


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what goes wrong into one sentence on stderr and exit code 1; adds --json, --quiet and --debug."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("--quiet", is_flag=True, help="No progress and no notices.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def run(*args: Any, debug: bool, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (RagkitError, OSError) as exc:
            if debug:
                raise
            _notice(f"ragkit: {' '.join(str(exc).split())}")
            sys.exit(1)

    return run


def _report(report: SyncReport, quiet: bool, *, files: bool = True) -> None:
    """Say on stderr what a sync did, if it did anything; with files, what it skipped and why."""
    if quiet or not (report.added or report.changed or report.removed or report.unchanged or report.skipped):
        return
    _notice(str(report) + ("" if files or not report.skipped else " (ragkit index or sync say why)"))
    if not files:
        return
    for s in report.skipped[:_SHOWN]:
        _notice(f"  skipped {s.path}: {s.reason}")
    if len(report.skipped) > _SHOWN:
        _notice(f"  … and {len(report.skipped) - _SHOWN} more (--json lists all)")


def _open(path: Path, quiet: bool, *, allow_empty: bool = False) -> Collection:
    """A collection, or the synced collection of a documents folder; refuses one with nothing in it."""
    from ragkit.collection import open_folder

    collection = open_folder(path, progress=_progress(quiet))
    done = collection.last_sync
    if done is not None and (done.skipped or done.added or done.changed or done.removed):
        _report(done, quiet, files=False)
    if not allow_empty:
        _need_documents(collection, [path])
    return collection


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ragkit")
def main() -> None:
    """Index documents, search them, and get answers with exact citations; all on this machine."""


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the collection; made if it is new.")
@click.option(
    "--index",
    "indexes",
    multiple=True,
    help="Kind of index of a new collection; may be repeated. Default: bm25, and dense where its encoder is installed.",
)
@click.option("--language", default=None, help="Language of a new collection (ISO 639-1); default decided by the documents.")
@click.option("--model", default=None, help="Encoder of a new dense index: folder, hub id, or static; default all-MiniLM-L6-v2.")
@click.option("--factory", default=None, help="Of a new dense index: exact (default), graph, balanced, fast, compact, bit, or faiss's own.")
@click.option("--chunker", default=None, help="Of a new collection: auto (default), none, headings, recursive, sentences, tokens.")
@click.option("--encoding", default=None, help="Encoding of text files that are not UTF-8.")
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    default=100_000_000,
    show_default=True,
    help="Skip files larger than this, if one file is one document.",
)
@click.option("--follow-links", is_flag=True, help="Follow symbolic links that stay inside the folder.")
@click.option("--replace", is_flag=True, help="Drop what was indexed from folders that are not named now, or are empty now.")
@_told
def index(
    paths: tuple[Path, ...],
    output: Path,
    indexes: tuple[str, ...],
    language: str | None,
    model: str | None,
    factory: str | None,
    chunker: str | None,
    encoding: str | None,
    max_bytes: int,
    follow_links: bool,
    replace: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Index folders or files of documents into a collection, or bring it up to date."""
    from ragkit.collection.home import default_indexes, open_or_create, remove_if_empty
    from ragkit.collection.manifest import is_collection
    from ragkit.loaders import LoadOptions

    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a folder of documents or a file")
    options = LoadOptions(encoding=encoding, max_bytes=max_bytes)
    new = not is_collection(output)
    if not new and (indexes or language or chunker or model or factory):
        raise InputError(f"{output} is a collection already, and keeps the settings it was made with; leave them out, or name a new folder")
    kinds = indexes or (("bm25", "dense") if model or factory else tuple(spec.name for spec in default_indexes()) if new else ("bm25",))
    if (model or factory) and "dense" not in kinds:
        raise InputError(
            f"--model and --factory are settings of a dense index, and the indexes named are {', '.join(kinds)}; add --index dense"
        )
    specs = [_spec(i, language, model, factory) for i in kinds]
    collection = open_or_create(output, indexes=specs, chunker=_chunker(chunker or "auto"))
    try:
        report = collection.sync(paths, options=options, follow_links=follow_links, replace=replace, progress=_progress(quiet))
        _report(report, quiet)
        _need_documents(collection, paths)
    except BaseException:
        if new:
            remove_if_empty(collection)  # the next try may choose other settings
        raise
    _emit(
        {**report.to_dict(), **collection.info()},
        f"{output}: {len(collection)} documents, {collection.version.n_passages} passages",
        as_json,
    )


def _progress(quiet: bool) -> bool:
    """Bars are for people who watch."""
    return not quiet and sys.stderr.isatty()


def _need_documents(collection: Collection, paths: Sequence[Path]) -> None:
    if not len(collection):
        skipped = len(collection.last_sync.skipped) if collection.last_sync else 0
        raise InputError(
            f"{', '.join(map(str, paths))} holds no readable documents ({skipped} files skipped); "
            "give a folder with text, Markdown, HTML, PDF, docx, JSONL or CSV files"
        )


def _spec(name: str, language: str | None, model: str | None, factory: str | None) -> Any:
    """A spec of that kind, with those of the settings that it knows."""
    from ragkit.registry import resolve

    kind = resolve("indexes", name)
    given = {"language": language, "model": model, "factory": factory}
    return kind(**{n: v for n, v in given.items() if v and n in kind.__dataclass_fields__})


def _chunker(name: str) -> Any:
    from ragkit.registry import resolve

    return {"auto": "auto", "none": None}[name] if name in ("auto", "none") else resolve("chunkers", name)()


@main.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Drop what was indexed from folders that are not named now, or are empty now.")
@_told
def sync(collection: Path, folder: Path | None, replace: bool, as_json: bool, quiet: bool) -> None:
    """Bring a collection in step with its folder: reads only what changed."""
    from ragkit.collection import Collection

    opened = Collection.open(collection)
    roots = [folder] if folder else opened.version.manifest.roots
    if not roots:
        raise InputError(f"{collection} was not made from a folder; name one: ragkit sync {collection} FOLDER")
    report = opened.sync(roots, replace=replace, progress=_progress(quiet))
    if not as_json:
        _report(report, quiet)
    _emit({**report.to_dict(), **opened.info()}, f"{collection}: {len(opened)} documents", as_json)


@main.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many hits.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--using", default=None, help="Index or pipeline to search with; default the collection's.")
@click.option("--group-by", type=click.Choice(["document"]), default=None, help="One hit a document.")
@_told
def search(collection: Path, query: str, k: int, where: str | None, using: str | None, group_by: Any, as_json: bool, quiet: bool) -> None:
    """Find the best passages for QUERY in COLLECTION (or in a folder of documents)."""
    hits = _open(collection, quiet).search(query, k=k, where=where, using=using, group_by=group_by)
    _emit(hits.to_dict(), repr(hits), as_json)


@main.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Passages to read.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--using", default=None, help="Index or pipeline to search with; default the collection's.")
@_told
def ask(collection: Path, question: str, k: int, where: str | None, using: str | None, as_json: bool, quiet: bool) -> None:
    """Answer QUESTION from COLLECTION (or from a folder of documents), with exact citations."""
    answer = _open(collection, quiet).ask(question, k=k, where=where, using=using)
    _emit(answer.to_dict(), str(answer), as_json)


@main.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("document")
@_told
def get(collection: Path, document: str, as_json: bool, quiet: bool) -> None:
    """Print the stored text of one document."""
    found = _open(collection, quiet).get(document)
    meta = {k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in found.meta.items()}
    _emit({"id": found.id, "title": found.title, "text": found.text, "meta": meta}, found.text, as_json)


@main.command()
@click.argument("collection", type=click.Path(path_type=Path))
@_told
def info(collection: Path, as_json: bool, quiet: bool) -> None:
    """Counts, sizes and settings of a collection."""
    found = _open(collection, quiet, allow_empty=True).info()
    lines = [f"{name:<12} {json.dumps(value) if isinstance(value, dict | list) else value}" for name, value in found.items()]
    _emit(found, "\n".join(lines), as_json)


@main.command("eval")
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
@_told
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
            progress=_progress(quiet),
        )
    else:
        if collection is None or queries is None or qrels is None or split is not None:
            raise click.UsageError("give a test set with --beir FOLDER, or COLLECTION with --queries FILE and --qrels FILE")
        asked, judged = read_queries(queries), read_qrels(qrels)
        opened = _open(collection, quiet)
        found = evaluate_collection(opened, asked, judged, pipelines or None, measures, k=k, drop_self=drop_self, progress=_progress(quiet))
    written = found.write_runs(run_file) if run_file is not None else []
    if not quiet:
        for file in written:
            _notice(f"wrote {file}")
    _emit(found.to_dict(), str(found), as_json)


@main.command()
@click.argument("model")
@_told
def fetch(model: str, as_json: bool, quiet: bool) -> None:
    """Download MODEL from the Hugging Face hub into the local model cache, to be used offline."""
    from ragkit.encoders.folder import fetch as fetch_model

    folder = fetch_model(model)
    _emit({"model": model, "folder": str(folder)}, f"{model}: {folder}", as_json)
