"""Word documents: order, headings, tables, and packages made to do harm."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import pytest

from ragkit.errors import LoadError
from ragkit.loaders import LoadOptions
from tests.loaders.makers import load, outcome, repacked, write

_MAIN = "word/document.xml"


def saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()


def body(xml: str) -> bytes:
    """A Word file whose body is the given XML."""
    names = (
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    )
    return repacked(saved(docx.Document()), _MAIN, f'<?xml version="1.0"?><w:document {names}><w:body>{xml}</w:body></w:document>'.encode())


def test_paragraphs_headings_lists_and_tables_in_order(tmp_path: Path) -> None:
    word = docx.Document()
    word.add_paragraph("The title", style="Title")
    word.add_paragraph("Intro\twith  tab")
    word.add_heading("First", level=1)
    word.add_paragraph("one", style="List Bullet")
    word.add_paragraph("two", style="List Bullet")
    word.add_paragraph("after\nbreak")
    table = word.add_table(rows=2, cols=2)
    for n, cell in enumerate(c for row in table.rows for c in row.cells):
        cell.text = f"c{n}"
    table.rows[1].cells[1].add_paragraph("more")
    word.add_heading("Deep", level=4)
    word.add_paragraph("end")
    [document], reasons = load(tmp_path, "a.docx", saved(word))
    assert reasons == []
    assert document.text == ("The title\n\nIntro with tab\n\nFirst\n\none\ntwo\n\nafter\nbreak\n\nc0 | c1\nc2 | c3 more\n\nDeep\n\nend")
    assert [(h.level, h.text) for h in document.headings] == [(1, "The title"), (1, "First"), (4, "Deep")]
    assert all(document.text.startswith(h.text + "\n\n", h.start) for h in document.headings)
    assert document.title == "The title"


def test_titles(tmp_path: Path) -> None:
    word = docx.Document()
    word.add_heading("Chapter", level=1)
    word.core_properties.title = ""
    assert load(tmp_path, "a.docx", saved(word))[0][0].title == "Chapter"
    word.core_properties.title = "Of its properties"
    assert load(tmp_path, "a.docx", saved(word))[0][0].title == "Of its properties"
    plain = docx.Document()
    plain.core_properties.title = "Word Document"
    plain.add_paragraph("x")
    assert load(tmp_path, "stem.docx", saved(plain))[0][0].title == "stem"


def test_a_style_based_on_a_heading_is_one(tmp_path: Path) -> None:
    word = docx.Document()
    style = word.styles.add_style("Our chapter", 1)
    style.base_style = word.styles["Heading 2"]
    word.add_paragraph("Chapter", style="Our chapter")
    [document], _ = load(tmp_path, "a.docx", saved(word))
    assert [(h.level, h.text) for h in document.headings] == [(2, "Chapter")]


def test_changes_controls_links_and_text_boxes(tmp_path: Path) -> None:
    def run(text: str) -> str:
        return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'

    xml = (
        f"<w:p>{run('kept ')}<w:ins>{run('inserted ')}</w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        f"<w:hyperlink>{run('link')}</w:hyperlink></w:p>"
        f"<w:sdt><w:sdtContent><w:p>{run('control')}</w:p></w:sdtContent></w:sdt>"
        f"<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p>{run('box')}</w:p></w:txbxContent></mc:Choice>"
        f"<mc:Fallback><w:txbxContent><w:p>{run('box')}</w:p></w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>"
        f"<w:tbl><w:tr><w:tc><w:tbl><w:tr><w:tc><w:p>{run('in')}</w:p></w:tc><w:tc><w:p>{run('ner')}</w:p></w:tc></w:tr></w:tbl><w:p/></w:tc>"
        f"<w:tc><w:p>{run('outer')}</w:p></w:tc></w:tr></w:tbl>"
    )
    [document], _ = load(tmp_path, "a.docx", body(xml))
    assert document.text == "kept inserted link\n\ncontrol\n\nbox\n\nin ner | outer"


def test_formulas_and_hidden_text(tmp_path: Path) -> None:
    def run(text: str, hidden: str) -> str:
        return f'<w:r><w:rPr>{hidden}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'

    shown, one, two = '<w:vanish w:val="false"/>', "<w:vanish/>", '<w:vanish w:val="1"/>'
    xml = (
        "<w:p><w:r><w:t>Flow </w:t></w:r><m:oMath><m:r><m:t>Q=</m:t></m:r><m:f><m:num><m:r><m:t>V</m:t></m:r></m:num>"
        "<m:den><m:r><m:t>t</m:t></m:r></m:den></m:f></m:oMath></w:p><w:p><m:oMathPara><m:oMath><m:r><m:t>E=m</m:t></m:r></m:oMath></m:oMathPara></w:p>"
        f"<w:p>{run('seen', shown)}{run(' secret', one)}{run(' end', '')}</w:p>"
        f"<w:p>{run('secret', two)}</w:p>"
    )
    [document], _ = load(tmp_path, "a.docx", body(xml))
    assert document.text == "Flow Q=Vt\n\nE=m\n\nseen end"


def test_a_table_of_contents_is_left_out(tmp_path: Path) -> None:
    word = docx.Document()
    toc = word.styles.add_style("toc 1", 1)
    word.styles.add_style("Contents entry", 1).base_style = toc
    word.styles.add_style("Toccata", 1)
    for text, style in (("Contents", "TOC Heading"), ("Pumps\t3", "toc 1"), ("Valves\t4", "Contents entry"), ("Bach", "Toccata")):
        word.add_paragraph(text, style=style)
    word.add_heading("Pumps", level=1)
    [document], _ = load(tmp_path, "a.docx", saved(word))
    assert document.text == "Bach\n\nPumps"
    assert [h.text for h in document.headings] == ["Pumps"]


def test_an_empty_document_is_refused(tmp_path: Path) -> None:
    for content in (saved(docx.Document()), b""):
        with pytest.raises(LoadError, match=r"a\.docx: the file is empty"):
            load(tmp_path, "a.docx", content)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = saved(docx.Document())
    bad = [b"no zip", whole[:1000], repacked(whole, _MAIN, b"<w:document"), repacked(whole, "[Content_Types].xml", b"")]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("a.txt", "a zip, but no Word document")
    for content in [*bad, archive.getvalue()]:
        with pytest.raises(LoadError, match=r"a\.docx: the Word document is broken \(") as caught:
            load(tmp_path, "a.docx", content)
        assert caught.value.__cause__ is not None


def test_encrypted_and_old_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"encrypted, or a \.doc by another name"):
        load(tmp_path, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))


def test_a_package_that_unpacks_to_far_too_much_is_never_unpacked(tmp_path: Path) -> None:
    bomb = repacked(saved(docx.Document()), _MAIN, b" " * 60_000_000)
    assert len(bomb) < 200_000
    with pytest.raises(LoadError, match=r"unpacks from .* far more than a document has"):
        load(tmp_path, "a.docx", bomb)
    with pytest.raises(LoadError, match="unpacks from"):  # a smaller one, above ten times the limit
        load(tmp_path, "a.docx", repacked(saved(docx.Document()), _MAIN, b" " * 2_500_000), LoadOptions(max_bytes=200_000))


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))

    def word(entities: str, used: str) -> bytes:
        xml = (
            f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "lol">{entities}]>'
            '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
            f"<w:p><w:r><w:t>a</w:t></w:r><w:r><w:t>{used}</w:t></w:r></w:p></w:body></w:document>"
        )
        return repacked(saved(docx.Document()), _MAIN, xml.encode())

    [document], _ = load(tmp_path, "a.docx", word('<!ENTITY x SYSTEM "file:///etc/passwd">', "&l0;&x;"))
    assert document.text == "a"
    refused = outcome(write(tmp_path, "a.docx", word(laughs, "&l9;")))
    assert isinstance(refused, str) or refused.text == "a"  # by the age of the parser
