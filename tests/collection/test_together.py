"""Phrases near one another, against trying all combinations of their places."""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, NGram
from ragkit.errors import InputError

TEXT = st.text(st.sampled_from("ab c"), max_size=20)
PHRASE = st.sampled_from(["a", "ab", "b c", "cc"])
CLAUSES = st.lists(st.one_of(PHRASE, st.lists(PHRASE, min_size=1, max_size=2)), min_size=1, max_size=3)


@pytest.mark.parametrize("indexed", [True, False])
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXT, max_size=4), clauses=CLAUSES, within=st.one_of(st.none(), st.integers(1, 12)), gone=st.integers(0, 4))
def test_the_smallest_stretch_of_each_document(
    indexed: bool, texts: list[str], clauses: list[str | list[str]], within: int | None, gone: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        c = Collection.create(Path(scratch, "c"), indexes=[BM25(language="none"), *([NGram(spaces=True)] if indexed else [])])
        c.add([Document(text, id=str(n)) for n, text in enumerate(texts)])
        c.delete(str(gone))
        texts = {str(n): text if indexed else " ".join(text.split(" ")) for n, text in enumerate(texts) if n != gone}  # type: ignore[assignment]
        found = c.together(clauses, within=within, k=None)
        expected = {}
        for id, text in texts.items():  # type: ignore[attr-defined]
            if not indexed and "  " in text:
                return  # without an index, runs of spaces are one
            wanted = [[clause] if isinstance(clause, str) else clause for clause in clauses]
            places = [[(i, i + len(p)) for p in clause for i in range(len(text)) if text.startswith(p, i)] for clause in wanted]
            stretches = [(min(a for a, _ in chosen), max(b for _, b in chosen)) for chosen in product(*places)]
            if stretches:
                best = min(stretches, key=lambda s: (s[1] - s[0], s[0]))
                if within is None or best[1] - best[0] <= within:
                    expected[id] = best
        assert {m.document: (m.start, m.end) for m in found} == expected
        assert (found.total, found.documents) == (len(expected), len(expected))


def test_arguments(tmp_path: Path) -> None:
    c = Collection.create(tmp_path / "c", indexes=[NGram()])
    c.add([Document("The outer gasket is changed in spring.", id="a"), Document("The outer gasket, in winter.", id="b")])
    found = c.together(["OUTER gasket", ["winter", "autumn"]], within=30)
    assert repr(found).startswith("1 occurrence in 1 document of 'OUTER gasket and (winter or autumn)'")
    assert [m.text for m in found] == ["outer gasket, in winter"]
    assert len(c.together(["gasket", "in"], k=1)) == 1
    assert [m.document for m in c.together(["gasket"], where="id == 'b'")] == ["b"]
    for wrong in ([], [[]], ["a", []]):
        with pytest.raises(InputError, match="give at least one phrase, and no empty list"):
            c.together(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give a list of phrases"):
        c.together("gasket")
    with pytest.raises(InputError, match="an empty text stands everywhere"):
        c.together(["gasket", ""])
    with pytest.raises(InputError, match="within must be a number of characters of at least 1, got 0"):
        c.together(["gasket"], within=0)
