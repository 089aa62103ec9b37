"""PDF: pages, titles, encryption, and files without a text."""

from __future__ import annotations

import io
import logging
from importlib.util import find_spec
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import DictionaryObject, NameObject

from ragkit.errors import LoadError
from tests.loaders.makers import load, outcome, pdf, write


def encrypted(data: bytes, user: str, algorithm: str = "RC4-128") -> bytes:
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password=user, owner_password="owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pages_and_their_starts(tmp_path: Path) -> None:
    [document], reasons = load(tmp_path, "a.pdf", pdf(["First page.", "", "Third (page\\).".replace("(", "\\(")], info="On pages"))
    assert reasons == []
    assert document.text == "First page.\n\n\n\nThird (page)."
    assert document.page_starts == (0, 13, 15)
    assert document.text[document.page_starts[2] :] == "Third (page)."
    assert document.title == "On pages"


def test_a_sentence_over_a_page_end_is_one(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.pdf", pdf(["It runs over the", "end of the page. Hyphen-", "ated."]))
    assert document.text == "It runs over the\nend of the page. Hyphenated."
    assert document.page_starts == (0, 17, 40)


@pytest.mark.parametrize("info", ["", "untitled", "Microsoft Word - report.doc", "paper.dvi", "  "])
def test_a_title_that_a_program_put_there_is_not_one(tmp_path: Path, info: str) -> None:
    [document], _ = load(tmp_path, "my report.pdf", pdf(["x"], info=info))
    assert document.title == "my report"


def test_a_pdf_that_opens_without_a_password_is_read(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.pdf", encrypted(pdf(["Open to all."]), ""))
    assert document.text == "Open to all."


def test_an_encrypted_pdf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"a\.pdf: the PDF is encrypted; save it without its password"):
        load(tmp_path, "a.pdf", encrypted(pdf(["Secret."]), "key"))


@pytest.mark.skipif(find_spec("cryptography") is not None, reason="the package that is missed is installed")
def test_aes_needs_a_package_and_says_so(tmp_path: Path) -> None:
    filters = b"/R 4\n/CF << /StdCF << /CFM /AESV2 /AuthEvent /DocOpen /Length 16 >> >>\n/StmF /StdCF\n/StrF /StdCF"
    aes = encrypted(pdf(["Open."]), "").replace(b"/V 2", b"/V 4").replace(b"/R 3", filters)
    with pytest.raises(LoadError, match="encrypted with AES; install the package 'cryptography'"):
        load(tmp_path, "a.pdf", aes)


def test_a_pdf_without_text_is_refused(tmp_path: Path) -> None:
    for pages in ([""], ["", ""], []):
        with pytest.raises(LoadError, match="no text layer; it is probably scanned: run OCR first"):
            load(tmp_path, "scan.pdf", pdf(pages))


@pytest.mark.parametrize("content", [b"%PDF-1.4\n", b"no pdf at all", pdf(["x"])[:200], b"%PDF-1.7\n" + b"\xff\x00" * 500])
def test_a_broken_pdf_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LoadError, match=r"a\.pdf: the PDF is broken \(") as caught:
        load(tmp_path, "a.pdf", content)
    assert caught.value.__cause__ is not None


def test_a_damaged_file_gives_its_text_or_a_reason(tmp_path: Path) -> None:
    whole = pdf(["First.", "Second."])
    for cut in range(0, len(whole), 37):
        for damaged in (whole[:cut], whole[:cut] + b"\xff" * 9 + whole[cut + 9 :]):
            document = outcome(write(tmp_path, "a.pdf", damaged))
            assert document.startswith("a.pdf: ") if isinstance(document, str) else document.text.strip()


def test_one_bad_page_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(pdf(["Good.", "Bad."]))))
    fonts = DictionaryObject({NameObject("/F1"): NameObject("/NoFont")})
    writer.pages[1][NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    out = io.BytesIO()
    writer.write(out)
    [document], reasons = load(tmp_path, "a.pdf", out.getvalue())
    assert document.text.startswith("Good.")
    assert len(document.page_starts) == 2
    assert all(r.startswith("page 2 of the PDF is broken") for r in reasons)


def test_what_the_parser_repairs_is_logged_and_never_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = pdf(["Text."]).replace(b"startxref\n", b"startxref\n9")
    with caplog.at_level(logging.WARNING, logger="pypdf"):
        [document], _ = load(tmp_path, "a.pdf", damaged)
    assert document.text == "Text."
    assert caplog.records
