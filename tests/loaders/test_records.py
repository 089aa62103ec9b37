"""JSON lines, CSV and Parquet: fields, ids, metadata, and records that can't be used."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import time
from collections.abc import Generator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError, LoadError
from ragkit.loaders import LoadOptions, iter_file, load_file
from ragkit.loaders.records import TEXT_FIELDS, document_of
from ragkit.types import Document
from tests.loaders.makers import load, load_alone, source, write


def jsonl(*records: object) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("id_field", ["id", "_id", "doc_id", "docid", "docno"])
def test_synonyms(tmp_path: Path, field: str, id_field: str) -> None:
    [document], _ = load(tmp_path, "a.jsonl", jsonl({id_field: 7, field: "Body.", "title": "T", "year": 2020}))
    assert document == Document(text="Body.", id="a.jsonl#7", title="T", meta={"year": 2020}, source="a.jsonl")


def test_ids_in_a_folder_and_alone(tmp_path: Path) -> None:
    content = jsonl({"id": "x", "text": "1"}, "", {"text": "2"})
    documents, _ = load(tmp_path, "sub/a.jsonl", content)
    assert [d.id for d in documents] == ["sub/a.jsonl#x", "sub/a.jsonl#3"]
    assert {d.source for d in documents} == {"sub/a.jsonl"}
    assert [d.id for d in load_alone(tmp_path / "sub", "a.jsonl", content)] == ["x", "a.jsonl#3"]


def test_metadata(tmp_path: Path) -> None:
    record = {
        "text": "x",
        "metadata": {"a": 1, "b": None, "title": "Nested", "deep": {"c": True, "d": []}},
        "a": 2,
        "f": 1.5,
        "nan": math.nan,
        "big": 2**70,
        "tags": ["u", "v"],
        "vector": [0.5, 1.0],
        "meta": "a string stays",
    }
    documents, reasons = load(tmp_path, "a.jsonl", jsonl(record, record | {"id": "2"}))
    assert documents[0].title == "Nested"
    assert documents[0].meta == {"a": 2, "deep": {"c": True}, "f": 1.5, "big": str(2**70), "tags": ["u", "v"], "meta": "a string stays"}
    assert reasons == [
        "the field 'vector' is a list of other things than strings, which metadata can't hold; it is left out of the metadata"
    ]


def test_bad_lines_are_reported_and_the_good_ones_kept(tmp_path: Path) -> None:
    content = (
        jsonl({"id": "a", "text": "one"}, "{broken", [1], {"flags": [3]}, {"text": 5}, {"text": " "}, {"id": [1], "text": "x"}).encode()
        + b'{"text": "caf\xe9"}\n'
        + jsonl(
            {"id": "a", "text": "again"},
            '{"text": "\\ud800"}',
            "NaN",
            "[" * 100_000,
            '{"text": "x", "k": "\\udfff"}',
            {"id": "b", "text": "two"},
        ).encode()
    )
    documents, reasons = load(tmp_path, "a.jsonl", content)
    assert [(d.id, d.text) for d in documents] == [("a.jsonl#a", "one"), ("a.jsonl#b", "two")]
    starts = [
        "line 2: not valid JSON",
        "line 3: an object was wanted, got a list",
        "line 4: no text field (wanted one of text, content,",
        "line 5: its 'text' is a number, where a string was wanted",
        "line 6: its text is empty",
        "line 7: its 'id' is a list",
        "line 8: byte 0xE9 is not valid in the file's encoding",
        "the id 'a.jsonl#a' occurs a second time",
        "line 10: holds half of a surrogate pair",
        "line 11: an object was wanted, got a number",
        "line 12: not valid JSON",
        "line 13: its 'k' holds half of a surrogate pair",
    ]
    assert len(reasons) == len(starts)
    for reason, start in zip(reasons, starts, strict=True):
        assert reason.startswith(start)


def test_problems_are_logged_where_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, "a.jsonl", jsonl({"text": "x"}, "{"))
    assert len(load_file(file)) == 1
    assert "a.jsonl: line 2: not valid JSON" in caplog.text


def test_a_file_without_one_usable_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"a\.jsonl: no document in it could be used: line 1: not valid JSON .*\(and 1 more\)"):
        load(tmp_path, "a.jsonl", '{\n "text": "x"\n')
    for name in ("a.jsonl", "a.csv"):
        for content in ("", "\n \n", "\ufeff\n"):
            with pytest.raises(LoadError, match=f"{name}: the file is empty"):
                load(tmp_path, name, content)
    with pytest.raises(LoadError, match="is empty"):
        load(tmp_path, "a.csv", "id,text\n")


@pytest.mark.parametrize(
    ("content", "filter"),
    [
        (json.dumps({"text": "x", "n": [1, 2]}, indent=2), "."),
        (json.dumps([{"text": "x"}, {"text": "y"}], indent=2), ".[]"),
        (json.dumps([{"text": "x"}, {"text": "y"}]), ".[]"),
        ('\n[{"text": "x"},\r\n{"text": "y"}]\n', ".[]"),
    ],
)
def test_a_file_that_is_one_json_value_is_refused_once(tmp_path: Path, content: str, filter: str) -> None:
    reasons: list[str] = []
    with pytest.raises(LoadError) as caught:
        load_file(write(tmp_path, "a.jsonl", content), LoadOptions(), reasons.append)
    wanted = f"a.jsonl: the file is one JSON value, not one a line; convert it, for example with jq -c '{filter}'"
    assert (str(caught.value), reasons) == (wanted, [])


def test_a_list_in_the_first_line_does_not_spoil_the_others(tmp_path: Path) -> None:
    documents, reasons = load(tmp_path, "a.jsonl", jsonl([1], {"text": "x"}))
    assert [d.text for d in documents] == ["x"]
    assert reasons == ["line 1: an object was wanted, got a list"]


def test_jsonl_records_without_a_text_field(tmp_path: Path) -> None:
    record = {"id": "p7", "title": "Pump", "summary": "Pumps oil.", "bar": 3.5, "on": True, "text": None, "note": " ", "tags": ["u"]}
    [document], reasons = load(tmp_path, "a.jsonl", jsonl(record))
    assert document.text == "id: p7\ntitle: Pump\nsummary: Pumps oil.\nbar: 3.5\non: True"
    assert (document.id, document.title) == ("a.jsonl#p7", "Pump")
    assert document.meta == {"summary": "Pumps oil.", "bar": 3.5, "on": True, "note": " ", "tags": ["u"]}
    assert reasons == []
    with pytest.raises(LoadError, match="no text field"):
        load(tmp_path, "a.jsonl", jsonl({"id": 7}))


def test_jsonl_conversations(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": "x"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "A pump."},
    ]
    records = (
        {"id": 1, "messages": messages, "lang": "en"},
        {"text": "own", "n": 1},
        {"messages": [1], "note": "x"},
        {"messages": messages[2:3]},
    )
    documents, reasons = load(tmp_path, "a.jsonl", jsonl(*records))
    assert [d.text for d in documents] == ["system: Be brief.\nuser: What is it?\nassistant: A pump.", "own", "note: x"]
    assert documents[0].meta == {"lang": "en"}
    assert [r.partition(";")[0] for r in reasons] == [
        "the field 'messages' is a list of other things than strings, which metadata can't hold",
        "line 4: its text is empty",
    ]


def test_a_title_alone_is_the_text(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.jsonl", jsonl({"title": "Only this", "text": ""}))
    assert (document.text, document.title) == ("Only this", "")


def test_other_field_names(tmp_path: Path) -> None:
    options = LoadOptions(text_fields=("question",), id_fields=("key",))
    [document], _ = load(tmp_path, "a.jsonl", jsonl({"key": 5, "question": "Why?", "text": "not this"}), options)
    assert (document.id, document.text, document.meta) == ("a.jsonl#5", "Why?", {"text": "not this"})


def test_gzip_and_encodings(tmp_path: Path) -> None:
    content = jsonl({"id": "1", "text": "Grüße"}, '{"id": "2", "text": "日本"}')
    for name, data in (
        ("a.jsonl.gz", gzip.compress(content.encode())),
        ("a.ndjson", content.encode("utf-8-sig")),
        ("a.jsonl", content.encode("utf-16")),
        ("b.jsonl", content.replace("\n", "\r\n").encode()),
    ):
        documents, reasons = load(tmp_path, name, data)
        assert reasons == []
        assert [d.text for d in documents] == ["Grüße", "日本"]
    with pytest.raises(LoadError, match="gzip data are broken"):
        load(tmp_path, "a.jsonl.gz", gzip.compress(content.encode())[:-20])
    with pytest.raises(LoadError, match="gzip data are broken"):
        load(tmp_path, "a.jsonl.gz", b"no gzip")
    with pytest.raises(LoadError, match="is binary"):
        load(tmp_path, "a.jsonl", b"\0\1\2\3")


def test_one_line_that_is_too_long_is_reported(tmp_path: Path) -> None:
    options = LoadOptions(max_bytes=100)
    content = jsonl({"id": "a", "text": "x"}, {"text": "y" * 1000}, {"id": "b", "text": "z"})
    documents, reasons = load(tmp_path, "a.jsonl", content, options)
    assert [d.id for d in documents] == ["a.jsonl#a", "a.jsonl#b"]
    assert reasons == ["line 2: longer than 100 characters; split it, or raise max_bytes"]


def test_records_are_streamed(tmp_path: Path) -> None:
    """The first document comes before the last line is parsed."""
    file = write(tmp_path, "a.jsonl", jsonl({"text": "first"}, "{"))
    reasons: list[str] = []
    documents = iter_file(file, LoadOptions(), reasons.append)
    assert next(documents).text == "first"
    assert reasons == []
    assert list(documents) == []
    assert len(reasons) == 1


def test_document_of() -> None:
    assert document_of({"text": "x"}) == Document(text="x")
    assert document_of({"content": "x", "meta": {"a": None, "b": 1}}) == Document(text="x", meta={"b": 1})
    for bad, reason in (
        ({"text": 1}, "is a number"),
        ({}, "no text field"),
        ({"text": "x", "v": [1.0]}, "'v' is a list"),
        ({"text": "\ud800"}, "half"),
    ):
        with pytest.raises(InputError, match=reason):
            document_of(bad)


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells.filter(str.strip), cells), min_size=1, max_size=6), st.sampled_from([",", "\t"]))
def test_csv_round_trip(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str) -> None:
    path = tmp_path / ("a.csv" if delimiter == "," else "a.tsv")
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f, delimiter=delimiter).writerows([("text", "note"), *rows])
    # control characters alone can make a small file look binary, which is another test's matter
    if sum(c < " " and c not in "\b\t\n\v\f\r\x1b" for row in rows for c in "".join(row)):
        return
    documents = load_file(source(path), LoadOptions(typed_csv=False))
    assert [(d.text, d.meta.get("note", "")) for d in documents] == rows


def test_csv_types(tmp_path: Path) -> None:
    content = "id,text,year,price,zip,flag,mixed,empty\n007,a,2020,1.5,01234,true,1,\n8,b,,2,99999,False,x,\n9,c,-3,1e3,1,TRUE,2,\n"
    documents, _ = load(tmp_path, "a.csv", content)
    assert [d.id for d in documents] == ["a.csv#007", "a.csv#8", "a.csv#9"]
    assert documents[0].meta == {"year": 2020, "price": 1.5, "zip": "01234", "flag": True, "mixed": "1"}
    assert documents[1].meta == {"price": 2.0, "zip": "99999", "flag": False, "mixed": "x"}
    assert type(documents[1].meta["price"]) is float
    documents, _ = load(tmp_path, "a.csv", content, LoadOptions(typed_csv=False))
    assert documents[0].meta["year"] == "2020"


def test_csv_without_a_text_column(tmp_path: Path) -> None:
    documents, _ = load(tmp_path, "a.csv", "name;price\nBolt;3\nNut;\n")
    assert [d.text for d in documents] == ["name: Bolt\nprice: 3", "name: Nut"]
    assert documents[0].meta == {"name": "Bolt", "price": 3}
    assert [d.id for d in documents] == ["a.csv#2", "a.csv#3"]


def test_csv_lines_and_problems(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftext,n\n"two\nlines",1\n\na,1,2\nb,\n"bad"x,1\ncaf\xe9,1\nc,2\n"never closed,3\n'
    documents, reasons = load(tmp_path, "a.csv", content)
    assert [(d.id, d.text) for d in documents] == [("a.csv#2", "two\nlines"), ("a.csv#6", "b"), ("a.csv#9", "c")]
    starts = ["line 5: 3 fields, where the first row names 2", "line 7: not valid CSV", "line 8: byte 0xE9", "line 10: not valid CSV"]
    assert [r.startswith(s) for r, s in zip(reasons, starts, strict=True)] == [True] * 4


def test_csv_a_header_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="first row, which names the columns, can't be read"):
        load(tmp_path, "a.csv", b"te\xe9xt,b\na,b\n")


def test_csv_columns_of_one_name(tmp_path: Path) -> None:
    [document], reasons = load(tmp_path, "a.csv", "text,notes,notes 2,notes,,notes\na,1,2,3,4,x\n")
    assert document.meta == {"notes": 1, "notes 2": 2, "notes 3": 3, "column 5": 4, "notes 4": "x"}
    assert reasons == ["columns whose names occur before are read as 'notes 3', 'notes 4'; give each column its own name"]
    [document], _ = load(tmp_path, "a.csv", "text,text\na,b\n")
    assert (document.text, document.meta) == ("a", {"text 2": "b"})


def test_csv_empty_fields_beyond_the_last_column(tmp_path: Path) -> None:
    documents, reasons = load(tmp_path, "a.csv", "text,n\na,1,\nb,2,, \nc,3,,x\n")
    assert [(d.text, d.meta) for d in documents] == [("a", {"n": 1}), ("b", {"n": 2})]
    assert reasons == ["line 4: 4 fields, where the first row names 2 (an unquoted delimiter?)"]


@pytest.mark.parametrize("header", [",".join(f"c{i}" for i in range(40_000)), ",".join(["c"] * 40_000)])
def test_csv_many_columns_are_linear(tmp_path: Path, header: str) -> None:
    content = f"{header}\n{','.join(['x'] * 40_000)}\n"
    began = time.perf_counter()
    [document], _ = load(tmp_path, "a.csv", content)
    assert len(document.meta) == 40_000
    assert time.perf_counter() - began < 2  # about 0.3 s; half a minute if each name were looked up among all others


@pytest.mark.parametrize(
    ("content", "meta"),
    [
        ("sep=|\nText|a,b;c\nx|1\n", {"Text": "x", "a,b;c": 1}),
        ('"sep=;"\r\nText;b\r\nx;1\r\n', {"Text": "x", "b": 1}),
        ("Name;Preis, netto;x\nBolt;1,50;y\nNut;2;z\n", {"Name": "Bolt", "Preis, netto": "1,50", "x": "y"}),
        ("Name\tb, c\nBolt\t1\n", {"Name": "Bolt", "b, c": 1}),
        ("Name|b\nBolt, long|1\n", {"Name": "Bolt, long", "b": 1}),
        ('Name,b\n"Bolt; long",1\nx;y,2\n', {"Name": "Bolt; long", "b": 1}),
        ("a;b,c;d\n1;2,3;4\n", {"a": 1, "b,c": "2,3", "d": 4}),
        ("a,b;c\n1,2;3\n", {"a": 1, "b;c": "2;3"}),
        ("Notes\nOne, two; three\nFour\n", {"Notes": "One, two; three"}),
        ("Notes, all\nOne\nTwo\nThree\n", {"Notes, all": "One"}),
        ("a,b,c\n1,2\n3,4\n", {"a": 1, "b": 2}),
        ("a,b\n1,2,\n3,4,\n", {"a": 1, "b": 2}),
    ],
)
def test_csv_delimiters(tmp_path: Path, content: str, meta: dict[str, object]) -> None:
    documents, reasons = load(tmp_path, "a.csv", content)
    assert documents[0].meta == meta
    assert reasons == []
    first = 3 if "sep=" in content else 2
    assert documents[0].id == f"a.csv#{first}"


def test_csv_a_tsv_file_is_split_at_tabs_alone(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.tsv", "text\tb,c,d\na, b, c\t1\n")
    assert (document.text, document.meta) == ("a, b, c", {"b,c,d": 1})


def test_csv_a_long_quoted_field_says_nothing_against_a_delimiter(tmp_path: Path) -> None:
    long = "word; word | word\n" * 10_000
    documents, reasons = load(tmp_path, "a.csv", f'text,n\n"{long}",1\nb,2\n')
    assert [(d.text, d.meta["n"]) for d in documents] == [(long, 1), ("b", 2)]
    assert reasons == []


def test_csv_fields_of_any_length_and_the_modules_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 50_000
    [document], _ = load(tmp_path, "a.csv", f"text\n{long}\n")
    assert document.text == long
    assert csv.field_size_limit() == before
    file = write(tmp_path, "a.csv", "text\na\nb\n")
    first, second = iter_file(file), iter_file(file)
    assert isinstance(first, Generator)
    assert isinstance(second, Generator)
    next(first), next(second)
    assert csv.field_size_limit() == 100_000_000
    first.close()
    assert csv.field_size_limit() == 100_000_000
    second.close()
    assert csv.field_size_limit() == before


def test_parquet(tmp_path: Path) -> None:
    zone = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    table = pa.table(
        {
            "docno": ["x", None, "x"],
            "contents": ["one", "two", "three"],
            "year": pa.array([2020, None, 1], pa.int16()),
            "when": [zone, None, None],
            "naive": [datetime(2024, 1, 2), None, None],
            "day": [date(2024, 1, 2), None, None],
            "cost": [Decimal("1.50"), None, None],
            "nested": [{"a": 1, "b": None}, None, None],
            "tags": [["u"], None, []],
            "vector": pa.array([[0.1, 0.2], None, None], pa.list_(pa.float32())),
            "blob": [b"x", None, None],
            "__index_level_0__": [0, 1, 2],
        }
    )
    documents, reasons = load(tmp_path, "a.parquet", parquet(table))
    assert [(d.id, d.text) for d in documents] == [("a.parquet#x", "one"), ("a.parquet#2", "two")]
    assert documents[0].meta == {
        "year": 2020,
        "when": zone,
        "naive": "2024-01-02T00:00:00",
        "day": "2024-01-02",
        "cost": "1.50",
        "nested": {"a": 1},
        "tags": ["u"],
    }
    assert documents[1].meta == {}
    assert [r.partition(" ")[0] + r.split("'")[1] for r in reasons] == ["thevector", "theblob", "thea.parquet#x"]


def test_parquet_without_a_text_column_and_over_several_batches(tmp_path: Path) -> None:
    n = 2500
    table = pa.table({"name": [f"n{i}" for i in range(n)], "size": list(range(n)), "v": [[float(i)] for i in range(n)]})
    documents, reasons = load(tmp_path, "a.parquet", parquet(table))
    assert len(documents) == n
    assert documents[-1].text == f"name: n{n - 1}\nsize: {n - 1}"
    assert documents[-1].id == f"a.parquet#{n}"
    assert len(reasons) == 1


def test_broken_parquet(tmp_path: Path) -> None:
    whole = parquet(pa.table({"text": ["some text"] * 100}))
    broken: list[Any] = [b"", b"PAR1", b"no parquet", whole[:-10], whole[:40] + b"\xff" * 40 + whole[80:]]
    for content in broken:
        with pytest.raises(LoadError, match=r"a\.parquet: the Parquet file is broken \("):
            load(tmp_path, "a.parquet", content)
    with pytest.raises(LoadError, match="is empty"):
        load(tmp_path, "a.parquet", parquet(pa.table({"text": pa.array([], pa.string())})))
