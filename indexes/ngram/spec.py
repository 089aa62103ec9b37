"""NGram: the spec of an index of exact strings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ragkit.indexes.ngram.fm_index import Preset
from ragkit.indexes.ngram.part import Structure, TextPart
from ragkit.indexes.ngram.searcher import NGramSearcher
from ragkit.progress import Progress, track
from ragkit.protocols import Part
from ragkit.spec import validated
from ragkit.text.folding import Folding

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns


@validated
class NGram:
    """Finds any string of the documents' texts, also across the borders of passages.

    structure             "fm": an FM-index, compressed; "suffix-array": the fastest, in five bytes a byte of text
    preset                of an FM-index: "compact" takes 0.41 bytes a byte of English documentation, "fast" 0.71 and about half the time
    case, unicode, spaces what texts may differ in and still be the same: see `ragkit.text.folding.Folding`

    A question's phrases in quotation marks are looked for, all of them in one document, or the whole question where it has none;
    a passage's score is how many occurrences lie in it, wholly or in part.

    source  Ferragina & Manzini, Opportunistic Data Structures with Applications, FOCS 2000
    """

    structure: Structure = "fm"
    preset: Preset = "compact"
    case: bool = False
    unicode: Literal["none", "canonical", "compatible"] = "canonical"
    spaces: bool = False
    name: ClassVar[str] = "ngram"
    unit: ClassVar[str] = "document"

    @property
    def folding(self) -> Folding:
        """What counts as the same text."""
        return Folding(self.case, self.unicode, self.spaces)

    def fit(self, columns: SegmentColumns) -> NGram:
        """This spec: nothing depends on the documents."""
        return self

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write one segment's strings."""
        with track("indexing strings", columns.n_documents, progress) as tracker:
            TextPart.build(columns, self.folding, self.structure, self.preset, tracker.advance).save(folder)

    def open(self, parts: Sequence[Part]) -> NGramSearcher:
        """A searcher over the parts; for a small part without files a suffix array is made in memory, once."""
        return NGramSearcher(self.folding, [self._part(p) for p in parts])

    def _part(self, part: Part) -> TextPart:
        columns, folder = part.columns, part.folder
        if folder is None:
            key = ("ngram", self.folding)
            made: TextPart = columns.memo(key, lambda: TextPart.build(columns, self.folding, "suffix-array", self.preset))
            return made
        opened: TextPart = columns.memo(("ngram", self), lambda: TextPart.load(folder, columns, self.folding, self.structure))
        return opened
