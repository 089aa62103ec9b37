"""Filters in a collection: searches, counts, facets and deletions over several segments with deleted documents."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragkit import BM25, Collection, Dense, Document, F, Query
from ragkit.errors import InputError, SchemaError, UnknownNameError
from ragkit.filters import Filter, parse
from tests.filters.test_filters import holds

WORDS = ("pump", "valve", "gasket", "boiler", "seal")
FILTERS: list[Filter] = [
    F.year >= 2015,
    (F.year < 2010) | ~F.lang.exists(),
    F.lang.in_(["de", "fr"]) & F.tags.contains("x"),
    F.score > 0.5,
    F.id.startswith("1"),
    F.when < datetime(2024, 3, 1, tzinfo=UTC),
    parse("not (year == 2003 or tags == ('y',)) and title contains 'even'"),
    F.year == 1850,
    F.year != 1850,
]


def document(n: int, rng: np.random.Generator) -> Document:
    meta: dict[str, Any] = {"year": int(2000 + n % 20), "tags": [t for t in "xy" if rng.random() < 0.5]}
    if n % 3:
        meta["lang"] = ("en", "de", "fr")[n % 7 % 3]
    if n % 2:
        meta["score"] = float(rng.random()) if n > 60 else int(n % 3)  # an int field that widens
    if n % 5:
        meta["when"] = datetime(2024, 1 + n % 12, 1, tzinfo=UTC)
    text = " ".join(rng.choice(WORDS, 12).tolist())
    return Document(text, id=f"{n}", title=f"{'even' if n % 2 == 0 else 'odd'} page", meta=meta)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    rng = np.random.default_rng(3)
    c = Collection.create(tmp_path_factory.mktemp("where") / "c", indexes=[BM25(language="en"), Dense(vectors="v")])
    for start, stop in ((0, 50), (50, 90), (90, 120)):
        documents = [document(n, rng) for n in range(start, stop)]
        c.add(documents, vectors={"v": rng.normal(size=(len(documents), 8)).astype(np.float32)})
    c.delete([str(n) for n in range(0, 120, 11)])
    changed = [document(n, rng) for n in (5, 61)]
    c.upsert(changed, vectors={"v": rng.normal(size=(2, 8)).astype(np.float32)})
    return c


def own(d: Document) -> dict[str, Any]:
    return {"id": d.id, "title": d.title, "source": d.source, **d.meta}


def passing(c: Collection, where: Filter) -> list[str]:
    return [d.id for d in c if holds(where, own(d))]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_counts_and_documents_are_those_of_python(made: Collection, where: Filter) -> None:
    want = passing(made, where)
    assert [d.id for d in made.iter(where)] == want
    assert made.count(where) == made.count(str(where)) == len(want)


@pytest.mark.parametrize("index", ["bm25", "dense"])
@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_a_filtered_search_is_the_search_of_what_passes(made: Collection, where: Filter, index: str) -> None:
    queries = [Query(str(n), w, vectors={"v": np.eye(8, dtype=np.float32)[n]}) for n, w in enumerate(WORDS)]
    want, whole = set(passing(made, where)), made.search(queries, k=1000, using=index)
    for k in (3, 1000):
        got = made.search(queries, k=k, where=where, using=index)
        for n in range(len(queries)):
            mine, all_of = got.hits_of(n), whole.hits_of(n)
            keep = np.array([i in want for i in whole.ids()[all_of]], bool)
            assert got.rows[mine].tolist() == whole.rows[all_of][keep][:k].tolist()
            np.testing.assert_allclose(got.scores[mine], whole.scores[all_of][keep][:k], rtol=1e-5)


def test_each_question_has_its_own_filter(made: Collection) -> None:
    filters = [F.year >= 2010, None, F.lang == "de", F.year >= 2010, F.year == 1850]
    queries = [Query(str(n), w, where=f) for n, (w, f) in enumerate(zip(WORDS, filters, strict=True))]
    together = made.search(queries, k=5, using="bm25")
    for n, query in enumerate(queries):
        alone = made.search([query], k=5, using="bm25")
        assert together.rows[together.hits_of(n)].tolist() == alone.rows.tolist()
    both = made.search(queries[0], k=50, where=F.lang == "en", using="bm25")
    assert {h.id for h in both} <= set(passing(made, (F.year >= 2010) & (F.lang == "en")))
    assert both


def test_facets_count_documents(made: Collection) -> None:
    where = F.year >= 2010
    for field in ("lang", "year"):
        values = [d.meta[field] for d in made if field in d.meta and holds(where, own(d))]
        want = sorted(((v, values.count(v)) for v in set(values)), key=lambda pair: (-pair[1], pair[0]))
        assert list(made.facets(field, where=where).items()) == want
    tags = [t for d in made for t in d.meta["tags"]]
    assert made.facets("tags") == {t: tags.count(t) for t in set(tags)}


def test_deletion_by_filter(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    c = Collection.create(tmp_path / "c")
    c.add([document(n, rng) for n in range(30)])
    gone = passing(c, F.year < 2005)
    assert c.delete(where="year < 2005") == len(gone) > 0
    assert len(c) == 30 - len(gone)
    assert c.count("year < 2005") == 0
    assert c.delete(where="year < 2005") == 0
    with pytest.raises(InputError, match="ids or a filter"):
        c.delete(["7"], where="year > 2000")
    with pytest.raises(InputError, match="an empty filter"):
        c.delete(where={})
    assert len(c) == 30 - len(gone)
    assert c.delete(where="true") == 30 - len(gone)
    assert len(c) == 0


def test_what_does_not_fit_is_told(made: Collection) -> None:
    with pytest.raises(UnknownNameError, match=r"no metadata field is called 'yaer'.*did you mean 'year'"):
        made.search("pump", where="yaer > 2000")
    with pytest.raises(SchemaError, match="'year' is int and was compared with"):
        made.count("year > '2000'")
    with pytest.raises(UnknownNameError, match="'colour'"):
        made.facets("colour")
    with pytest.raises(InputError, match="can't be read at character"):
        made.ask("Which pump?", where="year >")
