"""``ragkit check | repair | compact | export | snapshot``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ragkit.cli.output import emit, show_progress, told


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Compare sizes alone, not digests.")
@told
def check(collection: Path, quick: bool, as_json: bool, quiet: bool) -> None:
    """Verify every file of COLLECTION; exit code 1 and the names of those that are damaged, if any is."""
    from ragkit.collection import check as check_collection

    report = check_collection(collection, quick=quick, progress=show_progress(quiet))
    emit(report.to_dict(), str(report), as_json)
    if not report.ok:
        sys.exit(1)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@told
def repair(collection: Path, as_json: bool, quiet: bool) -> None:
    """Make anew what is damaged in COLLECTION and can be derived from its documents; exit code 1 if damage is left."""
    from ragkit.collection import repair as repair_collection

    report = repair_collection(collection, progress=show_progress(quiet))
    emit(report.to_dict(), str(report), as_json)
    if report.left:
        sys.exit(1)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.option("--purge", is_flag=True, help="Remove older versions at once, and with them all that was deleted.")
@told
def compact(collection: Path, purge: bool, as_json: bool, quiet: bool) -> None:
    """Rewrite COLLECTION without deleted documents, in as few segments as possible."""
    from ragkit.collection import Collection

    report = Collection.open(collection).compact(purge=purge, progress=show_progress(quiet))
    emit(report.to_dict(), str(report), as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@told
def export(collection: Path, file: Path, where: str | None, as_json: bool, quiet: bool) -> None:
    """Write the documents of COLLECTION to FILE, which ends in .jsonl or .parquet."""
    from ragkit.collection import Collection

    n = Collection.open(collection).export(file, where=where, progress=show_progress(quiet))
    emit({"file": str(file), "documents": n}, f"{file}: {n} documents", as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@told
def snapshot(collection: Path, folder: Path, as_json: bool, quiet: bool) -> None:
    """Copy the live version of COLLECTION into a new FOLDER, while others may write."""
    from ragkit.collection import Collection

    opened = Collection.open(collection)
    opened.snapshot(folder, progress=show_progress(quiet))
    generation = Collection.open(folder).version.manifest.generation
    emit({"folder": str(folder), "generation": generation}, f"{folder}: version {generation} of {collection}", as_json)
