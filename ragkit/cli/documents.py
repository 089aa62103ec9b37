"""``ragkit index | sync | get | info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ragkit.cli.output import emit, need_documents, open_collection, report_sync, show_progress, told
from ragkit.errors import InputError


@click.command()
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
@click.option("--max-ram", default=None, help="Most memory that the process is to hold while it indexes, such as 1GB.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that read files and build index parts beside this one.")
@told
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
    max_ram: str | None,
    workers: int,
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
        report = collection.sync(
            paths,
            options=options,
            follow_links=follow_links,
            replace=replace,
            max_ram=max_ram,
            workers=workers,
            progress=show_progress(quiet),
        )
        report_sync(report, quiet)
        need_documents(collection, paths)
    except BaseException:
        if new:
            remove_if_empty(collection)  # the next try may choose other settings
        raise
    emit(
        {**report.to_dict(), **collection.info()},
        f"{output}: {len(collection)} documents, {collection.version.n_passages} passages",
        as_json,
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


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Drop what was indexed from folders that are not named now, or are empty now.")
@click.option("--max-ram", default=None, help="Most memory that the process is to hold while it indexes, such as 1GB.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that read files and build index parts beside this one.")
@told
def sync(collection: Path, folder: Path | None, replace: bool, max_ram: str | None, workers: int, as_json: bool, quiet: bool) -> None:
    """Bring a collection in step with its folder: reads only what changed."""
    from ragkit.collection import Collection

    opened = Collection.open(collection)
    roots = [folder] if folder else opened.version.manifest.roots
    if not roots:
        raise InputError(f"{collection} was not made from a folder; name one: ragkit sync {collection} FOLDER")
    report = opened.sync(roots, replace=replace, max_ram=max_ram, workers=workers, progress=show_progress(quiet))
    if not as_json:
        report_sync(report, quiet)
    emit({**report.to_dict(), **opened.info()}, f"{collection}: {len(opened)} documents", as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("document")
@told
def get(collection: Path, document: str, as_json: bool, quiet: bool) -> None:
    """Print the stored text of one document."""
    found = open_collection(collection, quiet).get(document)
    meta = {k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in found.meta.items()}
    emit({"id": found.id, "title": found.title, "text": found.text, "meta": meta}, found.text, as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@told
def info(collection: Path, as_json: bool, quiet: bool) -> None:
    """Counts, sizes and settings of a collection."""
    found = open_collection(collection, quiet, allow_empty=True).info()
    lines = [f"{name:<12} {json.dumps(value) if isinstance(value, dict | list) else value}" for name, value in found.items()]
    emit(found, "\n".join(lines), as_json)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--index", "indexes", multiple=True, help="Kind of index; may be repeated. Default: bm25, and dense where its encoder is installed."
)
@click.option("--model", default=None, help="Encoder of the dense index: folder, hub id, or static; default all-MiniLM-L6-v2.")
@click.option("--factory", default=None, help="Of the dense index; see index.")
@click.option("--chunker", default=None, help="auto (default), none, headings, recursive, sentences, tokens.")
@told
def estimate(
    paths: tuple[Path, ...],
    indexes: tuple[str, ...],
    model: str | None,
    factory: str | None,
    chunker: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what indexing folders or files would take on disk, in memory and in time, from a sample of them."""
    from ragkit.collection import estimate as estimate_corpus

    specs = [_spec(i, None, model, factory) for i in indexes] or None
    found = estimate_corpus(paths, indexes=specs, chunker=_chunker(chunker or "auto"), progress=show_progress(quiet))
    emit(found.to_dict(), str(found), as_json)
