"""What a reranker reads of a passage: its title, then its text."""

from __future__ import annotations

from ragkit.types import Passage


def passage_text(passage: Passage) -> str:
    """Title and text with a space between; the text alone where there is no title, or where the text begins with it.

    >>> passage_text(Passage("They last ten years.", "a.md", 0, 20, title="Pumps"))
    'Pumps They last ten years.'
    """
    if not passage.title or passage.text.startswith(passage.title):
        return passage.text
    return f"{passage.title} {passage.text}"
