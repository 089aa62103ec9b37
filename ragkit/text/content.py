"""Content terms: what a question is about, without the words that only make it a question."""

from __future__ import annotations

from ragkit.text.analyzer import Analyzer
from ragkit.text.stop_words import function_words


def content_terms(text: str, analyzer: Analyzer) -> list[str]:
    """The terms of a text less the function and question words of the analyzer's language, in order.

    >>> content_terms("What does the /permissive- compiler option do?", Analyzer())
    ['permiss', 'compil', 'option']
    """
    little = function_words(analyzer.language)
    mapper = analyzer.open()
    return [term for word in analyzer.split(text) if word not in little and (term := mapper.term(word)) is not None]
