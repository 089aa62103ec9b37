"""Documents end to end: what is found in them, and where it stands in the text as it was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.indexes.ngram.documents import Documents, documents_at, pattern_of, place_in_text
from ragkit.indexes.ngram.fm_index import FMIndex
from ragkit.indexes.ngram.folding import Folding

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
    pattern = pattern_of(wanted, folding)
    low, high = (int(rows[0]) for rows in index.find([pattern]))
    found = sorted(zip(*(a.tolist() for a in documents_at(documents.starts, index.locate(low, high))), strict=True))
    folded = [folding.fold(t).encode() for t in texts]
    assert found == [(d, i) for d, text in enumerate(folded) for i in range(len(text)) if text[i : i + len(pattern)] == pattern]
    for document, place in found:
        first, last = place_in_text(texts[document], folding, place, len(pattern))
        assert folding.fold(wanted) in folding.fold(texts[document][first:last])


def test_patterns_that_no_text_holds() -> None:
    with pytest.raises(InputError, match="an empty text stands everywhere"):
        pattern_of("", Folding())
    with pytest.raises(InputError, match="the byte 255 separates documents"):
        pattern_of(b"a\xffb", Folding())
    assert pattern_of("ÿ", Folding(unicode="none")) == b"\xc3\xbf"


def test_a_hundred_thousand_empty_documents() -> None:
    documents = Documents.of([""] * 100_000, Folding())
    index = FMIndex.build(documents.text)
    assert index.count([b"a"]).tolist() == [0]
    assert documents_at(documents.starts, np.array([0, 99_999]))[0].tolist() == [0, 99_999]
    assert FMIndex.build(Documents.of([], Folding()).text).count([b"a"]).tolist() == [0]
