"""Which loader reads which file: one table from suffix to registered loader name, then plug-ins.

A plug-in is a loader under the entry-point group ``ragkit.loaders`` whose function has an attribute
``suffixes: tuple[str, ...]``; it adds suffixes and never replaces one of these.
"""

from __future__ import annotations

from pathlib import Path

from ragkit.registry import BUILT_IN, names, resolve

_TABLE = {
    "text": "txt text log out lst srt vtt json json5 geojson asc adoc asciidoc org textile",
    "markdown": "md markdown mdown mkd mdx qmd rmd",
    "rst": "rst rest",
    "html": "html htm xhtml",
    "pdf": "pdf",
    "docx": "docx docm",
    "jsonl": "jsonl ndjson jsonl.gz ndjson.gz",
    "csv": "csv tsv csv.gz tsv.gz",
    "parquet": "parquet pq",
    "code": "py pyi pyx js mjs cjs jsx ts tsx java kt kts scala groovy gradle c h cc cpp cxx hh hpp hxx inl cu cuh m mm cs fs vb go rs rb"
    " php swift dart sh bash zsh fish ps1 bat cmd sql r jl lua pl pm tcl hs ml mli clj cljs ex exs erl elm nim zig v sv vhd vhdl asm s f"
    " f90 f95 pas d proto thrift graphql yaml yml toml ini cfg conf properties env xml xsd xsl xslt css scss sass less vue svelte tex bib"
    " cls sty cmake make mk dockerfile tf bzl rules patch diff",
}
_BUILT_IN = {f".{suffix}": loader for loader, suffixes in _TABLE.items() for suffix in suffixes.split()}

_TEXT_NAMES = "readme license licence copying copyright notice authors contributors maintainers changelog changes history news todo install"
_CODE_NAMES = "makefile gnumakefile dockerfile containerfile vagrantfile jenkinsfile procfile gemfile rakefile build workspace"
_NAMES = {**dict.fromkeys(_TEXT_NAMES.split(), "text"), **dict.fromkeys(_CODE_NAMES.split(), "code")}


def _plugin_suffixes() -> dict[str, str]:
    table: dict[str, str] = {}
    for name in names("loaders"):
        if name not in BUILT_IN["loaders"]:
            for suffix in getattr(resolve("loaders", name), "suffixes", ()):
                table.setdefault(suffix.lower(), name)
    return table


def suffixes() -> dict[str, str]:
    """Every suffix that can be read, and the registered name of its loader; plug-ins are imported for it.

    >>> suffixes()[".md"], suffixes()[".jsonl.gz"]
    ('markdown', 'jsonl')
    """
    return {**_plugin_suffixes(), **_BUILT_IN}


def loader_for(path: Path) -> str | None:
    """The registered name of a path's loader; None if its suffix is unknown.

    A file without a suffix is text, or code by its name; whether its content really is text shows when it is read.

    >>> loader_for(Path("a/Notes.MD")), loader_for(Path("Makefile")), loader_for(Path("photo.jpeg"))
    ('markdown', 'code', None)
    """
    parts = [s.lower() for s in path.suffixes]
    if not parts:
        return _NAMES.get(path.name.lower(), "text")
    candidates = ("".join(parts[-2:]), parts[-1])
    for table in (_BUILT_IN, None):
        known = _plugin_suffixes() if table is None else table
        for suffix in candidates:
            if suffix in known:
                return known[suffix]
    return None
