"""One input of the fuzzing: a mutation by its number, or an attack by its name, both the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from ragkit.loaders import LoadOptions
from tests.loaders.attacks_docx import docx_attacks
from tests.loaders.attacks_parquet import parquet_attacks
from tests.loaders.attacks_pdf import pdf_attacks
from tests.loaders.attacks_records import beir_attacks, csv_attacks, jsonl_attacks
from tests.loaders.attacks_text import SIZE, Attacks, Outside, html_attacks, markdown_attacks, rst_attacks, text_attacks
from tests.loaders.fuzz_seeds import seeds
from tests.loaders.fuzz_words import WORDS
from tests.loaders.mutations import (
    MUTATIONS,
    attribute_changed,
    element_changed,
    mutate,
    mutate_gzip,
    mutate_in_place,
    mutate_zip,
    words_of_format,
)

_ATTACKS: dict[str, Callable[[Outside, int], Attacks]] = {
    "text": text_attacks,
    "code": lambda outside, n: text_attacks(outside, n, ".py"),
    "markdown": markdown_attacks,
    "rst": rst_attacks,
    "html": html_attacks,
    "csv": csv_attacks,
    "jsonl": jsonl_attacks,
    "parquet": parquet_attacks,
    "docx": docx_attacks,
    "pdf": pdf_attacks,
    "beir": beir_attacks,
}
_OPTIONS = (
    *[LoadOptions()] * 12,
    LoadOptions(encoding="cp1252"),
    LoadOptions(encoding="utf-16"),
    LoadOptions(encoding="utf-7"),
    LoadOptions(encoding="idna"),
    LoadOptions(max_bytes=50, typed_csv=False),
    LoadOptions(text_fields=("a", "note"), id_fields=("b", "n")),
)


class Case(NamedTuple):
    """An input, and a sentence on how it was made."""

    file_name: str
    data: bytes
    options: LoadOptions
    how: str


def mutated(loader: str, number: int) -> Case:
    """The input of a number, from 0."""
    random = Random(f"7 {loader} {number}")
    files = seeds(loader)
    name = random.choice(sorted(files))
    data, others = files[name], [*files.values()]
    mutations = [*MUTATIONS, *[words_of_format(WORDS[loader])] * 3]
    if loader in ("docx", "html"):
        mutations += [element_changed, attribute_changed] * 6
    change = mutate
    if random.random() < 0.75:
        change = {b"PK": mutate_zip, b"PA": mutate_in_place, b"\x1f\x8b": mutate_gzip}.get(data[:2], mutate)
    data, done = change(random, data, others, mutations)
    options = random.choice(_OPTIONS)
    return Case(name, data, options, f"{name}: {' '.join(done)}{'' if options == LoadOptions() else f' with {options}'}")


def attacks(loader: str, outside: Outside, n: int = SIZE) -> dict[str, Case]:
    """The attacks on a loader by their names; n is how often they repeat what they repeat."""
    return {name: Case(file, data, LoadOptions(), name) for name, (file, data) in _ATTACKS[loader](outside, n).items()}
