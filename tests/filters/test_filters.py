"""Filters against plain Python: every written form, every type, values that columns can't hold."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.collection.schema import Schema, arrow_type
from ragkit.errors import InputError, SchemaError, UnknownNameError
from ragkit.filters import And, Compare, F, Filter, Not, Or, as_filter, from_haystack, from_llama_index, from_mongo, parse, to_mongo
from ragkit.filters.bind import bind
from ragkit.filters.evaluate import evaluate

KINDS = {"flag": "bool", "year": "int", "score": "float", "lang": "str", "when": "instant", "tags": "list[str]", "a.b c": "str"}
Meta = dict[str, Any]

texts = st.sampled_from(["", "a", "ab", "b", "B", "é", "e\u0301", "\U0001f600", "a'b\"\\", "null", "\n", "%_", "東京"])
ints = st.sampled_from([0, 1, -1, 2020, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
floats = st.sampled_from([0.0, -0.0, 0.5, -1.5, 1.0, 2020.0, 2.0**53, 2.0**63, -(2.0**63), 1e300, math.inf, -math.inf, math.nan])
numbers = st.one_of(ints, floats, st.sampled_from([2**63, -(2**63) - 1, 10**400, -(10**400), 2**62 + 1]))
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
instants = st.builds(
    lambda s, us, z: datetime(2024, 1, 1, tzinfo=UTC).astimezone(z) + timedelta(seconds=s, microseconds=us),
    st.sampled_from([0, 1, 86400, 19800]), st.sampled_from([0, 1, 999_999]), zones,
)  # fmt: skip
lists = st.lists(st.sampled_from(["x", "y", "", "é"]), max_size=3)
metas = st.fixed_dictionaries(
    {},
    optional={"flag": st.booleans(), "year": ints, "score": floats, "lang": texts, "when": instants, "tags": lists, "a.b c": texts},
)


@st.composite
def comparisons(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(sorted(KINDS)))
    field, kind = F[name], KINDS[name]
    ways = {"bool": ["eq", "in"], "list[str]": ["eq", "contains"]}.get(kind, ["eq", "in", "order", "text"])
    how = draw(st.sampled_from([*ways, "null"]))
    values: Any = {"bool": st.booleans(), "int": numbers, "float": numbers, "str": texts, "list[str]": lists}.get(
        kind, instants | instants.map(datetime.isoformat)
    )
    if how == "null":
        return draw(st.sampled_from([field == None, field != None, field.exists()]))  # noqa: E711
    if how == "contains":
        return field.contains(draw(texts | st.sampled_from("xy")))
    if how == "in":
        return draw(st.sampled_from([field.in_, field.not_in]))(draw(st.lists(values, max_size=4)))
    if how == "text" and kind == "str":
        return draw(st.sampled_from([field.contains, field.startswith]))(draw(texts))
    if how in ("order", "text"):
        value = draw(values)
        return draw(st.sampled_from([field < value, field <= value, field > value, field >= value]))
    value = draw(values)
    return draw(st.sampled_from([field == value, field != value]))


filters = st.recursive(
    comparisons() | st.sampled_from([And(()), Or(())]),
    lambda inner: (
        st.builds(lambda a, b: a & b, inner, inner) | st.builds(lambda a, b: a | b, inner, inner) | st.builds(lambda a: ~a, inner)
    ),
    max_leaves=6,
)


def holds(filter: Filter, meta: Meta) -> bool:
    """The oracle."""
    if isinstance(filter, And):
        return all(holds(p, meta) for p in filter.parts)
    if isinstance(filter, Or):
        return any(holds(p, meta) for p in filter.parts)
    if isinstance(filter, Not):
        return not holds(filter.part, meta)
    assert isinstance(filter, Compare)
    value, wanted = meta.get(filter.field), filter.value
    if filter.operator == "exists":
        return value is not None
    if value is None:
        return False
    if isinstance(value, datetime):
        wanted = tuple(map(moment, wanted)) if filter.operator == "in" else moment(wanted)
    if isinstance(value, list):
        value = tuple(value)
    return {
        "==": lambda: value == wanted,
        "<": lambda: value < wanted,
        "<=": lambda: value <= wanted,
        ">": lambda: value > wanted,
        ">=": lambda: value >= wanted,
        "in": lambda: any(value == w for w in wanted),
        "contains": lambda: wanted in value,
        "startswith": lambda: value.startswith(wanted),
    }[filter.operator]()


def moment(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def found(filter: Filter, metas: list[Meta]) -> list[bool]:
    schema = Schema(KINDS)
    rows = [schema.admit(m, str(n)) for n, m in enumerate(metas)]
    columns = {k: pa.array([r.get(k) for r in rows], arrow_type(kind)) for k, kind in KINDS.items() if any(k in r for r in rows)}
    mask = evaluate(bind(filter, KINDS), columns.get, len(rows))
    assert mask.dtype == np.bool_
    return mask.tolist()


@given(filters, st.lists(metas, max_size=8))
@settings(max_examples=600)
def test_a_filter_is_what_python_says(filter: Filter, documents: list[Meta]) -> None:
    assert found(filter, documents) == [holds(filter, m) for m in documents]


@given(filters, st.lists(metas, max_size=6))
@settings(max_examples=300)
def test_text_and_dict_mean_the_same(filter: Filter, documents: list[Meta]) -> None:
    want = found(filter, documents)
    assert found(parse(str(filter)), documents) == want
    assert found(from_mongo(to_mongo(filter)), documents) == want


@pytest.mark.parametrize(
    ("text", "filter"),
    [
        ('year >= 2020 and lang in ("en", "de")', (F.year >= 2020) & F.lang.in_(["en", "de"])),
        ("not year = 3 or a.b < -1.5e3", ~(F.year == 3) | (F.a.b < -1500.0)),
        ("(x <> 1) AND NOT (y is null)", (F.x != 1) & F.y.exists()),
        ("x is not NULL", F.x.exists()),
        ("x == null", ~F.x.exists()),
        ("lang not in ['a']", F.lang.not_in(["a"])),
        ("tags contains 'a' and t startswith \"b\"", F.tags.contains("a") & F.t.startswith("b")),
        ("tags not contains 'a'", ~F.tags.contains("a")),
        ("`odd ``name` exists", F["odd `name"].exists()),
        (r"x == 'it\'s \u00e9\n'", F.x == "it's é\n"),
        ("x in ()", F.x.in_([])),
        ("tags == ['a', 'b']", F.tags == ["a", "b"]),
        ("true and not false", And(()) & Not(Or(()))),
    ],
)
def test_reading_text(text: str, filter: Filter) -> None:
    assert parse(text) == filter


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "at character 0: it ends where a field was expected"),
        ("year >", "at character 6: it ends where a value"),
        ("year 2020", "at character 5: found '2020' where a comparison"),
        ("year == 1 lang == 'a'", "at character 10: found 'lang' where and, or, or the end was expected"),
        ("(year == 1", "it ends where a closing bracket was expected"),
        ("year == en", "found 'en' where a value"),
        ("year == 'en", 'at character 8: "\'en" is no part of a filter'),
        ("year; drop", "is no part of a filter"),
        ("in == 3", "found 'in' where a field was expected"),
        ("x in (1 2)", "found '2' where a comma or ) was expected"),
        ("(" * 200 + "x exists" + ")" * 200, "nested more than 100 levels deep"),
        ("x == " + "9" * 5000, "a number of at most 1000 characters"),
    ],
)
def test_a_mistake_is_shown_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as told:
        parse(text)
    assert sentence in str(told.value)


def test_a_filter_fits_its_schema() -> None:
    with pytest.raises(UnknownNameError, match=r"'yeer'.*did you mean 'year'"):
        bind(F.yeer > 3, KINDS)
    with pytest.raises(SchemaError, match="'year' is int and was compared with \"2020\"; give a number"):
        bind(F.year > "2020", KINDS)
    with pytest.raises(SchemaError, match="'flag' is bool, which can't be compared by <"):
        bind(F.flag < True, KINDS)
    with pytest.raises(SchemaError, match="give true or false"):
        bind(F.flag == 1, KINDS)
    with pytest.raises(SchemaError, match="a datetime with a zone"):
        bind(F.when > "2024-01-01", KINDS)
    with pytest.raises(SchemaError, match="'tags' is list"):
        bind(F.tags.in_(["x"]), KINDS)
    with pytest.raises(SchemaError, match="give a number"):
        bind(F.year.in_([1, True]), KINDS)


def test_misuse_is_told() -> None:
    with pytest.raises(InputError, match=r"join filters by & \| ~"):
        bool(F.a > 1)
    with pytest.raises(InputError, match="no time zone"):
        F.a > datetime(2024, 1, 1)  # noqa: B015
    with pytest.raises(InputError, match="compared with object"):
        F.a == object()  # noqa: B015
    with pytest.raises(InputError, match="give a list of values"):
        F.a.in_("en")
    with pytest.raises(InputError, match="put brackets around comparisons"):
        (F.a > 1) & 3  # type: ignore[operator]
    with pytest.raises(InputError, match="a text or a dict, got int"):
        as_filter(3)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"\$gte"):
        from_mongo({"a": {"$ge": 3}})
    with pytest.raises(InputError, match="takes a list of dicts"):
        from_mongo({"$and": {"a": 1}})


def test_dicts_of_three_kinds() -> None:
    assert from_mongo({"year": {"$gte": 2020, "$lt": 2024}, "lang": "en"}) == (F.year >= 2020) & (F.year < 2024) & (F.lang == "en")
    assert from_mongo({"a": {"b": {"$in": [1]}}}) == F.a.b.in_([1])
    assert from_mongo({"a": {"$exists": False}}) == ~F.a.exists()
    assert from_mongo({}) == And(())
    one = {"field": "meta.lang", "operator": "in", "value": ["en"]}
    haystack = {
        "operator": "AND",
        "conditions": [
            {"field": "meta.year", "operator": ">=", "value": 2020},
            {"operator": "OR", "conditions": [one, {"field": "x", "operator": "!=", "value": 1}]},
        ],
    }
    assert from_haystack(haystack) == (F.year >= 2020) & (F.lang.in_(["en"]) | (F.x != 1))
    with pytest.raises(UnknownNameError):
        from_haystack({"field": "meta.year", "operator": "~", "value": 1})


def test_llama_index_filters() -> None:
    vector_stores = pytest.importorskip("llama_index.core.vector_stores")
    made = vector_stores.MetadataFilters(
        filters=[
            vector_stores.MetadataFilter(key="year", operator=">=", value=2020),
            vector_stores.MetadataFilters(
                filters=[vector_stores.MetadataFilter(key="tags", operator="any", value=["a", "b"])], condition="or"
            ),
        ],
        condition="and",
    )
    assert from_llama_index(made) == (F.year >= 2020) & (F.tags.contains("a") | F.tags.contains("b"))
