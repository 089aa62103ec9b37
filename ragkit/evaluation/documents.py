"""Looks documents up by their ids in the sources of the systems that are compared."""

from __future__ import annotations

from collections.abc import Iterable

from ragkit.errors import UnknownNameError
from ragkit.run import Source, TextTable


class Documents:
    """Texts of documents by id, from collections and text tables; those of another source are unknown."""

    def __init__(self, sources: Iterable[Source | None]) -> None:
        self._sources = list({s.key: s for s in sources if s is not None}.values())
        self._tables = [dict(zip(s.table_ids, s.table_texts, strict=True)) for s in self._sources if isinstance(s, TextTable)]

    def text(self, id: str) -> str | None:
        """Title and text of a document; None where no source holds it."""
        for source in self._sources:
            get = getattr(source, "get", None)
            if get is None:
                continue
            try:
                found = get(id)
            except UnknownNameError:
                continue
            return f"{found.title}\n{found.text}" if found.title else str(found.text)
        return next((table[id] for table in self._tables if id in table), None)

    def missing(self, ids: Iterable[str]) -> int | None:
        """How many of the documents no collection holds; None without a collection, as a run names only what it found."""
        finds = [find for find in (getattr(s, "find", None) for s in self._sources) if find is not None]
        if not finds:
            return None
        return sum(all(find(id) is None for find in finds) for id in set(ids))
