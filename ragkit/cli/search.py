"""``ragkit search | grep | trace | ask``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragkit.cli.output import emit, open_collection, shown, told
from ragkit.errors import InputError

if TYPE_CHECKING:
    from ragkit.generation.types import Message


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
@click.argument("phrase")
@click.option("-k", type=click.IntRange(min=1), default=20, show_default=True, help="How many places to show.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--context", type=click.IntRange(min=0), default=60, show_default=True, help="Characters beside each place.")
@told
def grep(collection: Path, phrase: str, k: int, where: str | None, context: int, as_json: bool, quiet: bool) -> None:
    """Find PHRASE word for word in COLLECTION (or in a folder of documents), and how often it stands there.

    Case and white space don't matter unless the collection's n-gram index says so (--index ngram makes this fast).
    """
    matches = open_collection(collection, quiet).grep(phrase, k=k, where=where, context=context)
    emit(matches.to_dict(), repr(matches), as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("answer", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--least", type=click.IntRange(min=1), default=30, show_default=True, help="Characters of the shortest piece.")
@click.option("-k", type=click.IntRange(min=1), default=3, show_default=True, help="Places to name of each piece.")
@click.option("--quotes", is_flag=True, help="Look up what stands in quotation marks instead.")
@told
def trace(collection: Path, answer: Path, least: int, k: int, quotes: bool, as_json: bool, quiet: bool) -> None:
    """Find the longest pieces of the text in the file ANSWER (- for standard input) that stand word for word in COLLECTION.

    With --quotes, say of each quote of the text whether a document holds it.
    """
    from ragkit.quotes import verify_quotes

    try:
        text = sys.stdin.read() if str(answer) == "-" else answer.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InputError(f"{answer} is no text in UTF-8: {exc}") from exc
    opened = open_collection(collection, quiet)
    found = verify_quotes(text, opened) if quotes else opened.trace(text, least=least, k=k)
    emit(found.to_dict(), repr(found), as_json)


@click.command()
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Passages to read.")
@click.option("--where", default=None, help="Only documents for which this holds, as in: year >= 2020 and lang == 'en'.")
@click.option("--using", default=None, help="Index or pipeline to search with; default the collection's.")
@click.option("--model", default=None, help="Language model that answers: a folder, a name, or openai:NAME; default none.")
@click.option("--stream/--no-stream", default=None, help="Show the reply while it is written; default on a terminal.")
@click.option("--history", type=click.Path(path_type=Path), default=None, help="JSON lines with the turns before the question.")
@told
def ask(
    collection: Path,
    question: str,
    k: int,
    where: str | None,
    using: str | None,
    model: str | None,
    stream: bool | None,
    history: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer QUESTION from COLLECTION (or from a folder of documents), with exact citations.

    Without --model the answer is made of quoted sentences. A reply that is shown while it is written is a draft; the answer below
    it has been checked.
    """
    if stream and as_json:
        raise click.UsageError("--stream shows text while it is written and --json prints one document; give one of them")
    if history is not None and model is None:
        raise click.UsageError("--history needs --model: without one no question is understood from those before it")
    said = [] if history is None else read_history(history)
    opened = open_collection(collection, quiet)
    if model is None or as_json or not (stream if stream is not None else sys.stdout.isatty()):
        answer = opened.ask(question, k=k, where=where, using=using, model=model, history=said)
        emit(answer.to_dict(), str(answer), as_json)
        return
    from ragkit.events import Done, Token  # which load numpy, and a help text should not wait for that

    for event in opened.stream(question, k=k, where=where, using=using, model=model, history=said):
        if isinstance(event, Token):
            click.secho(shown(event.text), nl=False, dim=True)
        elif isinstance(event, Done):
            emit(event.answer.to_dict(), f"\n\n{event.answer}", as_json)


def read_history(path: Path) -> list[Message | tuple[str, str]]:
    """The turns in a file of JSON lines: ``{"question": …, "answer": …}``, as --json prints them, or ``{"role": …, "content": …}``.

    raises  InputError naming the file and the line
    """
    from ragkit.generation.types import Message

    turns: list[Message | tuple[str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is no text in UTF-8: {exc}") from exc
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            turn = json.loads(line)
        except ValueError as exc:
            raise InputError(f"{path}, line {number} is no JSON: {exc}") from exc
        match turn:
            case {"question": str(question), "answer": str(answer)}:
                turns.append((question, answer))
            case {"role": "user" | "assistant" as role, "content": str(content)}:
                turns.append(Message(role, content))
            case _:
                raise InputError(f'{path}, line {number} is no turn; write {{"question": …, "answer": …}} or {{"role": …, "content": …}}')
    return turns
