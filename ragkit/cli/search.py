"""``ragkit search | ask``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ragkit.cli.output import emit, open_collection, told


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many hits.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--using", default=None, help="Index or pipeline to search with; default the collection's.")
@click.option("--group-by", type=click.Choice(["document"]), default=None, help="One hit a document.")
@told
def search(collection: Path, query: str, k: int, where: str | None, using: str | None, group_by: Any, as_json: bool, quiet: bool) -> None:
    """Find the best passages for QUERY in COLLECTION (or in a folder of documents)."""
    hits = open_collection(collection, quiet).search(query, k=k, where=where, using=using, group_by=group_by)
    emit(hits.to_dict(), repr(hits), as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Passages to read.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--using", default=None, help="Index or pipeline to search with; default the collection's.")
@told
def ask(collection: Path, question: str, k: int, where: str | None, using: str | None, as_json: bool, quiet: bool) -> None:
    """Answer QUESTION from COLLECTION (or from a folder of documents), with exact citations."""
    answer = open_collection(collection, quiet).ask(question, k=k, where=where, using=using)
    emit(answer.to_dict(), str(answer), as_json)
