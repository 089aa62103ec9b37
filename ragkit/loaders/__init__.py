"""Files to documents: one loader a format, a walk over folders, and a reason for everything that is left out.

`walk` and `load_file` are the way in; the formats are the modules of this package, each with one function
``load(path, options, report)``.
"""

from __future__ import annotations

from ragkit.loaders.beir import beir_queries, is_beir, load_beir
from ragkit.loaders.file import iter_file, load_file
from ragkit.loaders.folder import Skipped, SourceFile, walk
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.suffixes import loader_for, suffixes

__all__ = [
    "LoadOptions",
    "Report",
    "Skipped",
    "SourceFile",
    "beir_queries",
    "is_beir",
    "iter_file",
    "load_beir",
    "load_file",
    "loader_for",
    "suffixes",
    "walk",
]
