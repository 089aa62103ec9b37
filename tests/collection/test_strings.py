"""Exact strings in a collection: with every kind of index and with none the same places as plain search finds in the folded texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, F, NGram, Phrases, Query, Retrieve, Tokens, verify_quotes
from ragkit.errors import CorruptCollectionError, InputError, SchemaError, SnapshotGone
from ragkit.indexes.ngram.part import TextPart
from ragkit.protocols import IndexSpec
from ragkit.text.folding import Folding
from ragkit.text.phrases import split_phrases

BM = BM25(language="en")
SPECS: dict[str, IndexSpec | None] = {
    "fm": NGram(),
    "fast": NGram(preset="fast"),
    "suffix-array": NGram(structure="suffix-array"),
    "none": None,
}
TEXT = st.text(st.sampled_from("ab \nBÉe\u0301ß猫가각\u11a8"), max_size=24)
MANY = 300
"""Documents that make a segment large enough for files of its own."""


def collection(folder: Path, spec: IndexSpec | None, size: int = 4) -> Collection:
    return Collection.create(folder, indexes=[BM] if spec is None else [BM, spec], chunker=Tokens(size, overlap=1), schema={"odd": "int"})


def expected(texts: dict[str, str], wanted: str, folding: Folding) -> list[tuple[str, int]]:
    """(document, byte in its folded text) of every place."""
    pattern = folding.pattern(wanted)
    found = []
    for id, text in texts.items():
        data = folding.encode(text)
        found += [(id, i) for i in range(len(data)) if data[i : i + len(pattern)] == pattern]
    return found


@pytest.mark.parametrize("kind", SPECS)
@settings(max_examples=25)
@given(first=st.lists(TEXT, max_size=5), second=st.lists(TEXT, max_size=3), gone=st.sets(st.integers(0, 5)), data=st.data())
def test_what_plain_search_finds(kind: str, first: list[str], second: list[str], gone: set[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        c = collection(Path(scratch, "c"), SPECS[kind])
        texts = {f"{n:03d}": text for n, text in enumerate([*first, *second])}
        for batch in (range(len(first)), range(len(first), len(texts))):
            c.add([Document(texts[f"{n:03d}"], id=f"{n:03d}", meta={"odd": n % 2}) for n in batch])
        dead = [f"{n:03d}" for n in gone if f"{n:03d}" in texts]
        c.delete(dead)
        texts = {id: text for id, text in texts.items() if id not in dead}
        source = data.draw(st.sampled_from([*first, *second, "ab"]))
        start = data.draw(st.integers(0, len(source)))
        wanted = source[start : start + data.draw(st.integers(1, 6))]
        if not wanted:
            return
        holding = expected(texts, wanted, Folding())
        assert c.occurrences(wanted) == len(holding)
        matches = c.grep(wanted, k=None)
        assert (matches.total, matches.documents, len(matches)) == (len(holding), len({id for id, _ in holding}), len(holding))
        assert [m.document for m in matches] == [id for id, _ in holding]
        for m in matches:
            assert texts[m.document][m.start : m.end] == m.text
            assert Folding().fold(wanted) in Folding().fold(m.text)
        ids = {id for id, _ in holding}
        assert {d.id for d in c.iter(F.text.contains(wanted))} == ids
        assert {d.id for d in c.iter(~F.text.contains(wanted))} == texts.keys() - ids
        odd = [id for id, _ in holding if int(id) % 2]
        assert c.occurrences(wanted, where=F.odd == 1) == len(odd)
        assert [m.document for m in c.grep(wanted, k=2, where="odd == 1")] == odd[:2]


@pytest.fixture(scope="module", params=[NGram(), NGram(structure="suffix-array", case=True)], ids=["fm", "suffix-array"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    rng = np.random.default_rng(8)
    c = collection(tmp_path_factory.mktemp("strings") / "c", request.param, size=8)
    words = ["pump", "Valve", "gasket", "boiler", "é", "of", "the", "\n"]
    c.add([Document(" ".join(rng.choice(words, int(rng.integers(0, 40))).tolist()), id=f"{n:04d}") for n in range(MANY)])
    c.delete([f"{n:04d}" for n in range(0, MANY, 7)])
    return c


def test_a_segment_with_files_of_its_own(large: Collection) -> None:
    spec: Any = large.version.spec("ngram")
    assert large.version.views[0].entry.indexes == ("bm25", "ngram")
    texts = {d.id: d.text for d in large}
    for wanted in ("gasket", "valve the", "Valve the", "pump \n", "é of", "k", "p b", "nowhere"):
        assert [m.document for m in large.grep(wanted, k=None)] == [id for id, _ in expected(texts, wanted, spec.folding)]
        assert large.occurrences(wanted) == len(expected(texts, wanted, spec.folding))


def test_hits_are_the_passages_that_cover_an_occurrence(large: Collection) -> None:
    folding = large.version.spec("ngram").folding  # type: ignore[attr-defined]
    texts = {d.id: d.text for d in large}
    for wanted in ("gasket", "pump pump", "boiler é of", "et\nof"):
        places = [(id, *folding.place(texts[id], at, len(folding.pattern(wanted)))) for id, at in expected(texts, wanted, folding)]
        hits = large.search(wanted, using="ngram", k=10_000)
        for hit in hits:
            mine = [(a, b) for id, a, b in places if id == hit.id and a < hit.passage.end and b > hit.passage.start]
            assert hit.score == len(mine) > 0
            covered = {i for a, b in mine for i in range(max(a, hit.passage.start), min(b, hit.passage.end))}
            assert covered == {i for a, b in hit.highlights for i in range(a, b)}
        assert {h.id for h in hits} == {id for id, _, _ in places}
        both = large.search(f'"{wanted}" "the" -"boiler boiler"', using="ngram", k=10_000)
        assert {h.id for h in both} == {
            id
            for id, text in texts.items()
            if all(expected({id: text}, t, folding) for t in (wanted, "the")) and not expected({id: text}, "boiler boiler", folding)
        }


def test_phrases_make_a_filter_for_any_pipeline(tmp_path: Path) -> None:
    c = collection(tmp_path / "c", NGram(), size=50)
    c.add([Document("The outer  gasket is replaced in winter.", id="a"), Document("An outer ring. The gasket is new.", id="b"),
           Document("Outer gasket, every year.", id="c")])  # fmt: skip
    hits = c.search('which "outer gasket" is replaced', using=Phrases() >> Retrieve("bm25"))
    assert [h.id for h in hits] == ["a", "c"]
    assert [hits[0].text[a:b] for a, b in hits[0].highlights] == ["outer  gasket"]
    assert "<mark>outer  gasket</mark>" in hits._repr_html_()
    assert hits.to_dict()["hits"][0]["highlights"] == [[4, 17]]
    assert [h.id for h in c.search('gasket -"in winter"', using=Phrases() >> Retrieve("bm25"))] == ["b", "c"]
    plain = c.search(["gasket ring"], using=Phrases() >> Retrieve("bm25"))
    assert plain.queries == (Query("0", "gasket ring"),)
    assert c.search("gasket", where=F.text.contains("outer ring"))[0].highlights == ((3, 13),)
    assert c.count(where='text contains "OUTER gasket"') == 2
    assert c.delete(where=F.text.contains("in winter")) == 1
    assert c.count({"text": {"$contains": "gasket"}}) == 2


@pytest.mark.parametrize(
    ("text", "plain", "wanted", "unwanted"),
    [
        ('a "b c" d', "a b c d", ("b c",), ()),
        ("“b” «c» „d“ -«e f»", "b c d", ("b", "c", "d"), ("e f",)),
        ('a 5" pipe', 'a 5" pipe', (), ()),
        ('a-"b"', "a-b", ("b",), ()),
        ('"" " "', '" "', (), ()),
    ],
)
def test_phrases_of_a_question(text: str, plain: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> None:
    assert split_phrases(text) == (plain, wanted, unwanted)


def test_a_segment_in_several_shards(large: Collection) -> None:
    columns = large.version.views[0].columns
    folding = Folding()
    whole, cut = (TextPart.build(columns, folding, "suffix-array", "compact", limit=n) for n in (1 << 20, 500))
    assert (len(whole.shards), len(cut.shards) > 5) == (1, True)
    patterns = [folding.pattern(t) for t in ("gasket", "the pump", "é", "x")]
    assert cut.count(patterns).tolist() == whole.count(patterns).tolist()
    for one, other in zip(cut.find(patterns), whole.find(patterns), strict=True):
        np.testing.assert_array_equal(one, other)


def test_damaged_places_are_refused(tmp_path: Path) -> None:
    c = collection(tmp_path / "c", NGram())
    c.add([Document(f"gasket {n}", id=str(n)) for n in range(MANY)])
    columns, part = c.version.views[0].columns, c.version.views[0].folder / "ngram"
    assert TextPart.load(part, columns, Folding(), "fm").count([b"gasket"]).tolist() == [MANY]
    cut = {"passages.npy": np.s_[:, 1:], "shards.npy": np.s_[:0], "0/starts.npy": np.s_[1:], "0/firsts.npy": np.s_[1:]}
    for name, some in cut.items():
        whole = np.load(part / name)
        np.save(part / name, whole[some])
        with pytest.raises(CorruptCollectionError):
            TextPart.load(part, columns, Folding(), "fm")
        np.save(part / name, whole)
    starts = np.load(part / "0" / "starts.npy")
    starts[1] = starts[2]
    np.save(part / "0" / "starts.npy", starts)
    with pytest.raises(CorruptCollectionError, match="does not say where 300 documents begin"):
        TextPart.load(part, columns, Folding(), "fm")


@pytest.mark.parametrize("kind", SPECS)
def test_odd_patterns_and_corpora(kind: str, tmp_path: Path) -> None:
    c = collection(tmp_path / "c", SPECS[kind])
    assert (c.occurrences("a"), len(c.grep("a"))) == (0, 0)
    c.add([Document("x", id="one byte")])
    assert (c.occurrences("X"), c.occurrences("xx")) == (1, 0)
    c.add([Document("aaaaaaaaaa", id="repeated")])
    assert c.occurrences("aaa") == 8
    if SPECS[kind] is not None:
        assert [h.span for h in c.search("aaa", using="ngram")] == [(0, 10)]
    assert c.occurrences("a" * 10_000_000) == 0
    assert c.occurrences("ÿ\0") == 0
    for wrong, says in (("", "an empty text stands everywhere"), (b"\xff", "must be a text, got bytes"), (None, "must be a text")):
        with pytest.raises(InputError, match=says):
            c.grep(wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=says):
            c.occurrences(wrong)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="give a text of at least one character"):
        c.count(F.text.contains(""))
    with pytest.raises(SchemaError, match="'text' is text, which can't be compared by =="):
        c.count(F.text == "x")
    assert c.count(F.text.exists()) == 2
    with pytest.raises(InputError, match="k must be a whole number"):
        c.grep("a", k=0)
    with pytest.raises(InputError, match="context must be a number of characters"):
        c.grep("a", context=-1)


@pytest.mark.parametrize("kind", SPECS)
def test_characters_are_no_parts_of_others(kind: str, tmp_path: Path) -> None:
    c = collection(tmp_path / "c", SPECS[kind])
    c.add([Document("서울시각, the Café", id="a"), Document("서울시가", id="b")])
    assert [m.document for m in c.grep("서울시가")] == ["b"]
    assert (c.occurrences("cafe"), c.occurrences("cafe\u0301"), c.occurrences("가")) == (0, 1, 1)


def test_what_was_purged_is_not_read_on(tmp_path: Path) -> None:
    c = collection(tmp_path / "c", NGram())
    c.add([Document("a secret formula", id="a"), Document("all else", id="b")])
    reader = Collection.open(c.folder)
    assert reader.occurrences("secret") == 1
    c.delete("a")
    c.compact(purge=True)
    looks: list[Callable[[str], object]] = [
        reader.grep, reader.occurrences, lambda t: reader.trace(t, least=5), lambda t: reader.together([t]),
        lambda t: verify_quotes(f"“{t}”", reader),
    ]  # fmt: skip
    for look in looks:
        with pytest.raises(SnapshotGone):
            look("secret formula")


def test_a_field_of_that_name_comes_first(tmp_path: Path) -> None:
    c = collection(tmp_path / "c", NGram())
    c.add([Document("gasket", id="a", meta={"text": "valve"})])
    assert (c.count(F.text == "valve"), c.count(F.text.contains("gasket"))) == (1, 0)


def test_how_matches_print(tmp_path: Path) -> None:
    c = collection(tmp_path / "c", NGram())
    c.add([Document("The <outer>\ngasket. A gasket.", id="a.md", title="Pumps")])
    found = c.grep("gasket", k=1, context=6)
    assert repr(found) == "2 occurrences in 1 document of 'gasket'; the first 1\na.md:12-18  uter> [gasket]. A ga"
    assert "uter&gt; <mark>gasket</mark>" in found._repr_html_()
    assert found.to_dict()["matches"] == [
        {"document": "a.md", "start": 12, "end": 18, "title": "Pumps", "before": "uter>\n", "text": "gasket", "after": ". A ga"}
    ]
