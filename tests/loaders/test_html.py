"""HTML: what a reader of the page sees, and pages made to do harm."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragkit.errors import LoadError
from ragkit.loaders import LoadOptions
from ragkit.types import Document
from tests.loaders.makers import load, outcome, source


def page(tmp_path: Path, html: str) -> Document:
    [document], reasons = load(tmp_path, "page.html", html)
    assert reasons == []
    return document


def test_blocks_lines_and_headings(tmp_path: Path) -> None:
    document = page(
        tmp_path,
        """<!DOCTYPE html><html><head><title> The
        page </title><style>p {}</style></head><body>
        <nav><a>Menu</a></nav>
        <h1>Top <em>of</em> all<a class="headerlink" href="#t">¶</a></h1>
        <p>One   <b>two</b>,
        three&nbsp;&lt;4&gt;.</p>tail
        <ul><li>first<ul><li>inner</li></ul></li><li><p>second</p></li></ul>
        <h2></h2><h2>Sub<br>title</h2>
        <pre>
def f():
    return  1
</pre>
        <p>a<br>b</p><script>evil()</script><!-- comment -->end
        </body></html>""",
    )
    assert document.text == (
        "Top of all\n\nOne two, three <4>.\n\ntail\n\nfirst\ninner\nsecond\n\nSub title\n\ndef f():\n    return  1\n\n\na\nb\n\nend"
    )
    assert document.title == "The page"
    assert [(h.level, h.text) for h in document.headings] == [(1, "Top of all"), (2, "Sub title")]
    for heading in document.headings:
        assert document.text[heading.start :].startswith(heading.text + "\n")


def test_tables(tmp_path: Path) -> None:
    data = (
        "<table><caption>Sizes</caption><thead><tr><th>name<th>size</tr></thead>"
        "<tr><td><p>a</p><p>b</p><td>1<ul><li>x</li></ul></tr></table>after"
    )
    assert page(tmp_path, data).text == "Sizes\n\nname | size\n\na b | 1 x\n\nafter"
    layout = "<table><tr><td><h2>Left</h2><p>text</p></td><td>right<table><tr><td>1</td><td>2</td></tr></table></td></tr></table>"
    document = page(tmp_path, layout)
    assert document.text == "Left\n\ntext\n\nright\n\n1 | 2"
    assert document.headings[0].text == "Left"
    assert page(tmp_path, "<table><td>loose</table><tr><td>lost").text.split() == ["loose", "lost"]


def test_listings_with_line_numbers(tmp_path: Path) -> None:
    pygments = (
        '<p>See:</p><table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>1\n2</pre></div></td>'
        '<td class="code"><div><pre>def f():\n    return  1</pre></div></td></tr></table><p>after</p>'
    )
    assert page(tmp_path, pygments).text == "See:\n\ndef f():\n    return  1\n\nafter"
    hexo = '<table><tr><td class="gutter"><pre>1<br>2</pre></td><td class="code"><pre>a = 1<br>  b</pre></td></tr></table>'
    assert page(tmp_path, hexo).text == "a = 1\n  b"
    assert page(tmp_path, '<pre><span class="linenos">1</span>x = 1</pre>').text == "x = 1"


def test_menus_and_permalinks(tmp_path: Path) -> None:
    html = (
        '<div role="navigation"><a>Home</a></div><h2><a class="anchor" href="#a">#</a>Alpha</h2>'
        '<p>see <a class="anchor" href="#a">Alpha</a><a class="permalink">§</a></p>'
    )
    assert page(tmp_path, html).text == "Alpha\n\nsee Alpha"


def test_what_is_not_seen_is_left_out(tmp_path: Path) -> None:
    html = (
        "<body style='display:none'>seen<script>1</script> <noscript>2</noscript><template>3</template><p hidden>4</p>"
        "<p style='color:red; DISPLAY : none'>5</p><span aria-hidden='true'>6</span><nav>7</nav><svg><title>8</title><text>9</text></svg>"
        "<select><option>10</select><iframe>11</iframe><button>12</button> still</body>"
    )
    document = page(tmp_path, html)
    assert document.text == "seen still"
    assert document.title == "page"


def test_titles(tmp_path: Path) -> None:
    assert page(tmp_path, "<h2>b</h2><h1>A  <i>x</i></h1>").title == "A x"
    assert page(tmp_path, "<title></title>text").title == "page"


@pytest.mark.parametrize(
    "declared", ["<meta charset='cp1251'>", '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">']
)
def test_the_declared_encoding_is_used(tmp_path: Path, declared: str) -> None:
    [document], _ = load(tmp_path, "a.html", f"{declared}<p>Привет".encode("cp1251"))
    assert document.text == "Привет"
    [document], _ = load(tmp_path, "a.html", f"{declared}<p>Привет".encode("utf-8-sig"))
    assert document.text == "Привет"


def test_encodings_that_fail(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"not valid utf-8 .* offset 3"):
        load(tmp_path, "a.html", b"<p>\xe9")
    with pytest.raises(LoadError, match="names the encoding 'x-nonsense', which is unknown"):
        load(tmp_path, "a.html", b"<meta charset=x-nonsense><p>\xe9")
    [document], _ = load(tmp_path, "a.html", "<meta charset=utf-16><p>é".encode())
    assert document.text == "é"


def test_xhtml_and_xml_declarations(tmp_path: Path) -> None:
    xml = '<?xml version="1.0" encoding="latin-1"?>\n<html><head>{}</head><body><p>é–<br/>x</p></body></html>'
    for content in (xml.format("").encode("cp1252"), xml.format('<meta charset="utf-8"/>').encode()):
        [document], _ = load(tmp_path, "a.xhtml", content)
        assert document.text == "é–\nx"


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("iso-8859-1", "cp1252", "“caf\xe9” – 5 €"),
        ("us-ascii", "cp1252", "it’s"),
        ("latin1", "cp1252", "it’s"),
        ("GB2312", "gb18030", "朱镕基 €"),
        ("gbk", "gb18030", "㐀"),
        ("shift_jis", "cp932", "①髙"),
        ("x-sjis", "cp932", "①"),
        ("euc-kr", "cp949", "똠방각하"),
        ("ks_c_5601-1987", "cp949", "똠"),
        ("iso-8859-9", "cp1254", "ığ – “ş”"),
        ("windows-1253", "cp1253", "αβγ"),
        ("big5", "big5hkscs", "香港㗎"),
    ],
)
def test_charsets_are_read_as_browsers_read_them(tmp_path: Path, label: str, codec: str, text: str) -> None:
    [document], reasons = load(tmp_path, "a.html", f"<meta charset='{label}'><p>{text}".encode(codec))
    assert (document.text, reasons) == (text, [])


def test_bytes_that_an_encoding_leaves_open(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.html", b"<meta charset=iso-8859-1><p>a\x81b")
    assert document.text == "a\x81b"
    with pytest.raises(LoadError, match=r"not valid cp1253 \(byte 0xD2"):
        load(tmp_path, "a.html", b"<meta charset=windows-1253><p>a\xd2b")
    with pytest.raises(LoadError, match="not valid cp932"):
        load(tmp_path, "a.html", b"<meta charset=shift_jis><p>a\x81")
    with pytest.raises(LoadError, match=r"not valid cp1252 \(byte 0x81"):  # only what the page says is read so
        load(tmp_path, "a.html", b"<p>a\x81b", LoadOptions(encoding="cp1252"))


def test_entities_of_the_page_are_not_expanded(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY l0 "lol">{laughs}<!ENTITY x SYSTEM "file:///etc/passwd">]><p>&l11;&x; end</p>'
    text = page(tmp_path, bomb).text
    assert text.endswith("end")
    assert len(text) < 30
    assert "lol" not in text
    # as XML it is text like any other source file
    [document], _ = load(tmp_path, "bomb.xml", bomb)
    assert document.text == bomb


@pytest.mark.parametrize("html", ["<html><body></body></html>", "<script>x</script>", "<!-- x -->", "<nav>menu</nav>", "<title>t</title>"])
def test_a_page_without_text_is_empty(tmp_path: Path, html: str) -> None:
    with pytest.raises(LoadError, match=r"page\.html: the file is empty"):
        page(tmp_path, html)


def test_deep_nesting_is_read_or_refused_but_never_cut(tmp_path: Path) -> None:
    for depth, readable in ((500, True), (100_000, False)):
        for tag in ("div", "b", "table><tr><td", "ul><li"):
            html = f"<{tag}>" * depth + "deep<p>after"
            if readable:
                assert page(tmp_path, html).text.split() == ["deep", "after"]
            else:
                with pytest.raises(LoadError, match="nested too deep"):
                    page(tmp_path, html)


def test_a_long_text_is_whole(tmp_path: Path) -> None:
    text = page(tmp_path, "<p>" + "word " * 3_000_000 + "<p>after").text
    assert len(text) == 5 * 3_000_000 - 1 + 2 + 5


def test_cost_is_linear(tmp_path: Path) -> None:
    for unit in ("<table><tr><td>x</td></tr></table>", "<p hidden>x</p>y", "<li>x", "<h2>x</h2>"):
        began = time.perf_counter()
        page(tmp_path, unit * 20_000 + "end")
        assert time.perf_counter() - began < 10, unit  # well below a second; minutes if each looked at all others


_SOUP = """<p>|</p>|<div>|</div>|<h1>|</h2>|<table>|<tr>|<td>|</td>|</table>|<ul>|<li>|</ul>|<pre>|</pre>|<br>|<script>|</script>|<b>|</i>
text|more|&amp;|&bad|<!--|-->|<title>|<svg>|</svg>|<caption>|<template>|</template>|<select>|<option>|\xa0"""
soup = st.lists(st.sampled_from(_SOUP.replace("\n", "|").split("|")), max_size=40).map(" ".join)


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(soup)
def test_tag_soup_gives_a_text_or_a_reason(tmp_path: Path, html: str) -> None:
    path = tmp_path / "soup.html"
    path.write_text(html, encoding="utf-8")
    document = outcome(source(path))
    if isinstance(document, str):
        assert "is empty" in document
        return
    assert document.text.strip()
    assert not document.text.startswith("\n")
    for heading in document.headings:
        assert document.text.startswith(heading.text, heading.start)
        assert heading.start == 0 or document.text[heading.start - 2 : heading.start] == "\n\n"
