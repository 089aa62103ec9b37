"""Text analysis: words, stop words, stemming, sentences, languages."""

from __future__ import annotations

from ragkit.text.analyzer import Analyzer, TermMapper, languages
from ragkit.text.content import content_terms
from ragkit.text.counts import Counts, count
from ragkit.text.language import detect
from ragkit.text.sentences import sentence_spans
from ragkit.text.stop_words import function_words, stop_list

__all__ = [
    "Analyzer",
    "Counts",
    "TermMapper",
    "content_terms",
    "count",
    "detect",
    "function_words",
    "languages",
    "sentence_spans",
    "stop_list",
]
