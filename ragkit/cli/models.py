"""``ragkit fetch``."""

from __future__ import annotations

import click

from ragkit.cli.output import emit, told


@click.command()
@click.argument("model")
@told
def fetch(model: str, as_json: bool, quiet: bool) -> None:
    """Download MODEL from the Hugging Face hub into the local model cache, to be used offline."""
    from ragkit.encoders.folder import fetch as fetch_model

    folder = fetch_model(model)
    emit({"model": model, "folder": str(folder)}, f"{model}: {folder}", as_json)
