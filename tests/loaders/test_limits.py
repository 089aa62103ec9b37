"""What is refused because it unpacks, nests or repeats far beyond a document, and the reasons given; what lies below is read."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragkit.errors import LoadError
from ragkit.loaders import LoadOptions, load_beir
from ragkit.loaders.markdown import markdown_headings
from ragkit.loaders.parquet_pages import refuse_bombs
from ragkit.loaders.pdf_work import Budget
from ragkit.loaders.thrift import CutError, ThriftError, read_struct
from tests.loaders.attacks_pdf import pdf_attacks
from tests.loaders.attacks_text import Outside
from tests.loaders.makers import load, pdf, repacked, write
from tests.loaders.test_docx import body, saved


def refused(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(LoadError) as caught:
        load(folder, name, content)
    return str(caught.value)


def test_gzip_bombs(tmp_path: Path) -> None:
    line = b'{"text": "a"}\n'
    bomb = gzip.compress(line * 500_000)
    assert f"unpacks from {len(bomb):,} to more than {max(2_000_000, 100 * len(bomb)):,} bytes" in refused(tmp_path, "a.jsonl.gz", bomb)
    assert "far more than a text has" in refused(tmp_path, "a.csv.gz", gzip.compress(b"text\n" + b" " * 50_000_000))
    documents, _ = load(tmp_path, "b.jsonl.gz", gzip.compress(line * 100_000))  # 1.4 MB: small
    assert len(documents) == 100_000


def test_names_that_are_too_long_are_cut_where_they_are_repeated(tmp_path: Path) -> None:
    name = "n" * 1000
    for file, content in (("a.csv", f"{name},b\n1,2\n"), ("a.jsonl", json.dumps({name: "1", "b": 2}))):
        [document], _ = load(tmp_path, file, content)
        assert document.text == f"{'n' * 200}…: 1\nb: 2"
        assert set(document.meta) == {name, "b"}
    _, reasons = load(tmp_path, "b.jsonl", json.dumps({"text": "t", name: [1]}))
    assert len(reasons[0]) < 400


def test_columns(tmp_path: Path) -> None:
    assert "it has 100,001 columns, more than 100,000" in refused(tmp_path, "a.csv", "a" + "," * 100_000 + "\n1\n")
    out = io.BytesIO()
    pq.write_table(pa.table({f"c{n}": ["x"] for n in range(20_001)}), out)
    assert "it has 20,001 columns, more than 20,000" in refused(tmp_path, "a.parquet", out.getvalue())


def test_metadata_that_is_nested_too_deep_is_left_out(tmp_path: Path) -> None:
    def nested(depth: int) -> str:
        return json.dumps({"_id": "1", "text": "t", "a": json.loads('{"b":' * depth + "1" + "}" * depth), "c": 1})

    [document], reasons = load(tmp_path, "a.jsonl", nested(50))
    assert reasons == []
    assert set(document.meta) == {"a", "c"}
    [document], [reason] = load(tmp_path, "a.jsonl", nested(51))
    assert document.meta == {"c": 1}
    assert "is nested more than 50 deep" in reason
    write(tmp_path, "corpus.jsonl", nested(51))
    with pytest.raises(LoadError, match="line 1: its objects are nested too deep"):
        list(load_beir(tmp_path))


def test_names_and_values_that_are_no_unicode(tmp_path: Path) -> None:
    _, [reason] = load(tmp_path, "a.jsonl", '{"text": "t", "\\ud800": 1}\n{"text": "u"}\n')
    assert reason == "line 1: the name of a field holds half of a surrogate pair, which is no character"
    for record in ('{"_id": "1", "text": "t", "title": "\\uD800"}', '{"_id": "1", "text": "t", "metadata": {"\\udfff": 1}}'):
        write(tmp_path, "corpus.jsonl", record)
        with pytest.raises(LoadError, match="line 1: holds half of a surrogate pair"):
            list(load_beir(tmp_path))


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "corpus.jsonl", "\n")
    with pytest.raises(LoadError, match=r"corpus\.jsonl: the file is empty"):
        list(load_beir(tmp_path))


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "unicode-escape"])
def test_encodings_that_only_python_knows(tmp_path: Path, name: str) -> None:
    page = f'<meta charset="{name}"><p>a'
    assert f"names the encoding '{name}', which is unknown" in refused(tmp_path, "a.html", page)


def test_encodings_whose_errors_say_little(tmp_path: Path) -> None:
    for file in ("a.txt", "a.jsonl", "a.csv"):
        with pytest.raises(LoadError, match="idna"):
            load(tmp_path, file, b"a.xn--\xff.b", LoadOptions(encoding="idna"))
        with pytest.raises(LoadError, match=r"can't be read as utf-16|is not valid utf-16"):
            load(tmp_path, file, b"\x00\xd8\x00\xd8\n", LoadOptions(encoding="utf-16"))


def test_tags_with_too_many_attributes(tmp_path: Path) -> None:
    names = " ".join(f"a{n}" for n in range(20_001))
    for tag in (f"<p {names}>", f"<p/{names.replace(' ', '/')}>", f'<p x=">" {names}>', "<p " + "a='1'" * 20_001 + ">"):
        assert "a tag of more than 20,000 attributes" in refused(tmp_path, "a.html", tag + "a")
    [document], _ = load(tmp_path, "a.html", "<p>" + "<b>a</b> " * 30_000 + "<script>if (a <b) " + "x " * 30_000 + "</script>")
    assert document.text.count("a") == 30_000


def test_markdown_in_linear_time() -> None:
    """Each of these took minutes once: a rule, the end of an item or a table was looked for again on every line."""
    n = 20_000
    assert [h.text for h in markdown_headings("- " * n + "a\n  # b\n")] == ["b"]
    assert [h.text for h in markdown_headings("- a\n" + "  <a b\n" * n + "\n  # b\n\n# c\n")] == ["b", "c"]
    assert [h.text for h in markdown_headings("a\n" * n + "a|b\n-|-\n" + "--\n" * n + "\n# c\n")] == ["c"]
    assert [h.text for h in markdown_headings("- - - -\n  # b\n- - - a\n      # c\n- * - -\n    # d\n")] == ["b", "c", "d"]


def test_docx_tags_parts_and_methods(tmp_path: Path) -> None:
    assert "more than 2,000,000 XML tags" in refused(tmp_path, "a.docx", body("<w:p/>" * 2_000_100))
    whole = saved(docx.Document())
    other = repacked(whole, "", b"").replace(b"\x08\x00", b"\x0e\x00")
    assert "packed by method 14" in refused(tmp_path, "a.docx", other)
    assert "it has no body" in refused(
        tmp_path,
        "a.docx",
        repacked(whole, "word/document.xml", b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>'),
    )


def test_docx_styles_that_are_broken(tmp_path: Path) -> None:
    names = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    styles = (
        '<w:style w:type="paragraph" w:styleId="s1"><w:name/><w:basedOn/></w:style><w:style/>'
        '<w:style w:type="paragraph" w:styleId="s2"><w:name w:val="x"/><w:basedOn w:val="&quot;]"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="s3"><w:name w:val="heading 2"/></w:style>'
    )
    paragraphs = "".join(f'<w:p><w:pPr><w:pStyle w:val="s{n}"/></w:pPr><w:r><w:t>p{n}</w:t></w:r></w:p>' for n in (1, 2, 3))
    word = repacked(body(paragraphs), "word/styles.xml", f"<w:styles {names}>{styles}</w:styles>".encode())
    [document], _ = load(tmp_path, "a.docx", word)
    assert document.text == "p1\n\np2\n\np3"
    assert [(h.level, h.text) for h in document.headings] == [(2, "p3")]


def test_pdf_pages_that_unpack_to_too_much(tmp_path: Path) -> None:
    made = pdf_attacks(Outside("", "", ""), 100_000)
    bomb = made["bomb of one string"][1]
    assert f"page 1 of the PDF is left out: the {len(bomb):,} bytes of the file unpack to more than" in refused(tmp_path, "a.pdf", bomb)
    [document], reasons = load(tmp_path, "a.pdf", made["many pages of one bomb"][1])
    assert document.text.startswith("On pumps")
    assert len(document.page_starts) == 3000
    assert len(reasons) == 1
    assert "pages 3 to 3000 of the PDF are left out" in reasons[0]
    assert "page 1 of the PDF is left out" in refused(tmp_path, "a.pdf", made["a large form, often"][1])


def test_the_work_of_a_pdf_is_that_of_its_bytes() -> None:
    from pypdf import PdfReader

    budget = Budget(1000)
    page = PdfReader(io.BytesIO(pdf(["x" * 960]))).pages[0]
    before = budget.allowed
    while budget.spend(page):
        before -= 1
    # a page costs 3,000, its font 200, its content 991: 960 letters and "BT /F1 12 Tf 72 700 Td () Tj ET"; 2,000,000 / 4,191 = 477.2
    assert budget.allowed - before == 477


def test_parquet_rows_and_pages(tmp_path: Path) -> None:
    def file(table: pa.Table, **settings: object) -> bytes:
        out = io.BytesIO()
        pq.write_table(table, out, **settings)
        return out.getvalue()

    same = file(pa.table({"text": pa.array(["a"]).take(pa.array([0] * 2_000_000))}))
    assert f"says that it has 2,000,000 rows in {len(same):,} bytes" in refused(tmp_path, "a.parquet", same)
    zeros = file(pa.table({"text": ["x" * 60_000_000]}), compression="zstd", use_dictionary=False)
    assert "far more than a table of documents" in refused(tmp_path, "a.parquet", zeros)
    long = pa.chunked_array([pa.array(["y" * 100_000] * 500)] * 3)  # 150 MB of rows, 100 kB in the file
    assert "its rows repeat" in refused(tmp_path, "a.parquet", file(pa.table({"text": long})))
    rows = pa.table({"id": [f"r{n}" for n in range(5000)], "text": [f"text {n % 7}" for n in range(5000)], "tags": [["a", "b"]] * 5000})
    for settings in ({}, {"data_page_version": "2.0", "compression": "none"}, {"use_dictionary": False, "row_group_size": 100}):
        whole = file(rows, **settings)
        totals = refuse_bombs(io.BytesIO(whole), 3, len(whole))
        # each column says 5,000 values, tags twice as many, and each dictionary of 5,000, 7 and 2 values again what it holds
        assert totals.values in (20_000, 25_009)
        assert len(load(tmp_path, "a.parquet", whole)[0]) == 5000


def test_thrift_structs() -> None:
    # field 1 = 150 (zigzag 300 = 0xAC 0x02); field 2 = a list of one struct {1: -1}; field 20 = true; then a double, passed over
    data = bytes([0x15, 0xAC, 0x02, 0x19, 0x1C, 0x15, 0x01, 0x00, 0x01, 0x28, 0x17, *bytes(8), 0x00])
    assert read_struct(data) == ({1: 150, 2: [{1: -1}], 20: True, 21: None}, len(data))
    for n in range(len(data)):
        with pytest.raises(CutError):
            read_struct(data[:n])
    for bad in (bytes([0x1B, 0x00]), bytes([0x16, *[0xFF] * 20]), bytes([0x1C]) * 50, bytes([0x1D])):
        with pytest.raises(ThriftError):
            read_struct(bad)
