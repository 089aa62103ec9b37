"""Documents end to end: what is found in them, and where it stands in the text as it was written."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragkit.indexes.ngram.documents import Documents, documents_at
from ragkit.indexes.ngram.fm_index import FMIndex
from ragkit.text.folding import Folding

TEXT = st.text(st.sampled_from("aAbB \n\téÉe\u0301ßş각ﬁ\0"), max_size=14)
FOLDING = st.builds(Folding, st.booleans(), st.sampled_from(["none", "canonical", "compatible"]), st.booleans())


@given(st.lists(TEXT, max_size=5), FOLDING, st.data())
def test_what_is_found_is_the_same_text(texts: list[str], folding: Folding, data: st.DataObject) -> None:
    documents = Documents.of(texts, folding)
    index = FMIndex.build(documents.text)
    source = data.draw(st.sampled_from([*texts, "ab"]))
    start = data.draw(st.integers(0, len(source)))
    wanted = source[start : start + data.draw(st.integers(1, 5))]
    if not wanted:
        return
    pattern = folding.pattern(wanted)
    low, high = (int(rows[0]) for rows in index.find([pattern]))
    found = sorted(zip(*(a.tolist() for a in documents_at(documents.starts, index.locate(low, high))), strict=True))
    folded = [folding.fold(t).encode() for t in texts]
    assert found == [(d, i) for d, text in enumerate(folded) for i in range(len(text)) if text[i : i + len(pattern)] == pattern]
    for document, place in found:
        first, last = folding.place(texts[document], place, len(pattern))
        assert folding.fold(wanted) in folding.fold(texts[document][first:last])


def test_a_hundred_thousand_empty_documents() -> None:
    documents = Documents.of([""] * 100_000, Folding())
    index = FMIndex.build(documents.text)
    assert index.count([b"a"]).tolist() == [0]
    assert documents_at(documents.starts, np.array([0, 99_999]))[0].tolist() == [0, 99_999]
    assert FMIndex.build(Documents.of([], Folding()).text).count([b"a"]).tolist() == [0]
