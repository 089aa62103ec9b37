"""Chunkers: cut a document into the spans that are indexed and cited.

Every chunker keeps the same promises: spans come in order and hold, together, every character of the body
that is not white space; none is empty, begins or ends in white space, or has more than `size` tokens.
"""

from __future__ import annotations

from ragkit.chunking.headings import Headings
from ragkit.chunking.recursive import Recursive
from ragkit.chunking.sentences import Sentences
from ragkit.chunking.size import count_tokens
from ragkit.chunking.tokens import Tokens
from ragkit.protocols import Chunker
from ragkit.types import Document

__all__ = ["Headings", "Recursive", "Sentences", "Tokens", "chunker_for", "count_tokens"]


def chunker_for(document: Document) -> Chunker:
    """The chunker that suits a document: by its headings where it has some, else by paragraphs."""
    return Headings() if document.headings else Recursive()
