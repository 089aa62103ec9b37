"""TokenNGram: the spec of an index of documents as a language model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ragkit.errors import InputError
from ragkit.indexes.ngram.fm_index import Preset
from ragkit.indexes.ngram.part import Structure
from ragkit.indexes.ngram.token_part import TokenPart
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.progress import Progress, track
from ragkit.protocols import Part
from ragkit.spec import validated

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns


@validated
class TokenNGram:
    """Documents as tokens of a language model: what a model may write word for word (`SEAL`), and what follows a text (`InfinityGram`).

    tokenizer    folder or hub id of a model or a tokenizer; its tokens are those of the models that this index serves
    structure    "suffix-array": the fastest, in eight bytes a token; "fm": an FM-index, in 1.3 bytes a token
    preset       of an FM-index; see `NGram`
    fingerprint  the tokenizer's, filled in at the first add; models with another tokenizer are refused

    Searched by itself it ranks passages by the tokens that they share with a question, as `WordNGram` does by words.
    """

    tokenizer: str
    structure: Structure = "suffix-array"
    preset: Preset = "compact"
    fingerprint: str = ""
    name: ClassVar[str] = "token_ngram"
    unit: ClassVar[str] = "document"

    def load(self) -> Any:
        """The tokenizer. Raises InputError if it is not the one that the index was made with."""
        from ragkit.generation.local.files import tokenizer_fingerprint

        found = _loaded(self.tokenizer)
        now = tokenizer_fingerprint(found)
        if self.fingerprint and now != self.fingerprint:
            raise InputError(
                f"the tokens were made by a tokenizer with the fingerprint {self.fingerprint}, and {self.tokenizer!r} now has {now}: "
                "put that tokenizer back, or index again with this one"
            )
        return found

    def fit(self, columns: SegmentColumns) -> TokenNGram:
        """This spec with its tokenizer's fingerprint."""
        from ragkit.generation.local.files import tokenizer_fingerprint

        return self if self.fingerprint else replace(self, fingerprint=tokenizer_fingerprint(self.load()))

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write one segment's tokens."""
        with track("indexing tokens", columns.n_documents, progress) as tracker:
            TokenPart.build(columns, self.load(), self.structure, self.preset, tracker.advance).save(folder)

    def open(self, parts: Sequence[Part]) -> TokenNGramSearcher:
        """A searcher over the parts; a small part without files is made in memory, once."""
        return TokenNGramSearcher(self, [(self._part(p), p.alive) for p in parts])

    def _part(self, part: Part) -> TokenPart:
        columns, folder = part.columns, part.folder
        if folder is None:
            key = ("token_ngram", self.tokenizer, self.structure)
            made: TokenPart = columns.memo(key, lambda: TokenPart.build(columns, self.load(), self.structure, self.preset))
            return made
        opened: TokenPart = columns.memo(("token_ngram", self), lambda: TokenPart.load(folder, columns, self.structure))
        return opened


_known: dict[str, Any] = {}


def _loaded(name: str) -> Any:
    """A tokenizer by its name, loaded once a process."""
    from ragkit.generation.local.files import load_tokenizer

    if name not in _known:
        _known[name] = load_tokenizer(name)
    return _known[name]
