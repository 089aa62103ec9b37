"""Sentences of plain text and Markdown, as exact spans.

One regular expression finds every mark and line end that could close a sentence; rules decide which of
them do. A heading, a list item, a table row, a blank line and a code fence always end a sentence, a
single line break inside a paragraph does not. The time is linear in the text, whatever it holds.
"""

from __future__ import annotations

import re

MAX_SENTENCE = 2000  # characters; a longer one is cut, at white space where there is some
MAX_FENCE = 1000  # characters; a longer code block is split at its blank lines


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ABBREVIATIONS = _listed(
    """mr mrs ms dr prof sr jr st mt ft gen col sgt capt lt rev hon pres gov sen rep messrs mme mlle al approx vs cf viz ca resp est
    dept univ assn bros inc ltd co corp fig figs eq eqs sec sect ch chap vol vols ed eds pp para def ref refs tab
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri ave blvd rd e.g i.e eg ie a.k.a
    bzw ggf evtl inkl exkl zzgl vgl hr fr frl str abb abs bspw sog z.b d.h u.a o.ä i.d.r m.e v.a u.u s.o geb gest jh jhd ing dipl
    sra srta ud uds pág págs ee.uu p.ej núm dra av avda cía mm mgr cie env hab boul éd
    т.е т.к др см рис стр гг тыс млн млрд им ул"""
)
_BEFORE_NUMBER = _listed("no nos nr nrs p art op n º § bd kap ziff par")  # abbreviations only in front of a digit
_ENDING = _listed("etc usw a.m p.m т.д т.п")  # abbreviations which often close a sentence: a capital decides
_OPENERS = _listed(
    """the this that these those it its he she they we you i in on at for if when while after before as a an and but so there here
    what how why where who however because since from with to by all some many most no one der die das es ein eine el la los las le les
    il en un une"""
)  # words which, capitalised, open a sentence far more often than they continue a name
_AFTER_ORDINAL = _listed("januar februar märz april mai juni juli august september oktober november dezember jahrhundert")

_BREAKS = "\n\r\u2028\u2029"
_FULL = "。！？｡।॥؟۔"  # marks that close a sentence wherever they stand
_GAP = rf"[^\S{_BREAKS}]"  # white space inside a line
_ALONE = r"(?: \#{1,6}(?:\s|\Z) | \| | ::: )"  # a heading, a table row, a directive
_RULE = r"(?: -{3,}+ | ={3,}+ | _{3,}+ | \*{3,}+ | ~{3,}+ | \^{3,}+ ) [ \t]*+ (?: [\r\n] | \Z )"  # a rule, an underline
_EVENT = re.compile(
    rf"""
    [.!?…{_FULL}{_BREAKS}]
    (?:
      (?<=[{_BREAKS}]) (?: (?<=\r)\n )?+
      (?P<blank> (?: {_GAP}*+ (?: \r\n | [{_BREAKS}] ) )++ )?+
      {_GAP}*+
      (?= (?P<line> {_ALONE} ) | (?P<rule> {_RULE} ) | (?P<item> [-*+•‣◦]\s | \d{{1,3}}[.)]\s ) | (?P<fence> ```|~~~ ) | )
      (?P<newline>)
    |
      (?<=[{_FULL}]) [.!?…{_FULL}]*+ [\"'”’»›\)\]}}」』）】〉》*_`]*+ (?P<full>)
    |
      [.!?…{_FULL}]*+ [\"'”’»›\)\]}}」』）】〉》*_`]*+ (?:\[\w{{1,6}}\])*+ (?: (?=\s|\Z) (?P<mark>) )?
    )
    """,
    re.VERBOSE,
)
_FIRST_LINE = re.compile(rf"\s*+ (?: (?P<fence> ```|~~~ ) | {_ALONE} | {_RULE} )", re.VERBOSE)
_CLOSING_FENCE = re.compile(r"[\r\n][ \t>]*+(`{3,}+|~{3,}+)[ \t]*+(?=[\r\n]|\Z)")
_FENCE = re.compile(r"`+|~+")
_LINE_END = re.compile(r"[\r\n]|\Z")
_BLANK_LINE = re.compile(r"(?:\r\n?|\n)[ \t]*+(?=[\r\n])")
_NEXT_WORD = re.compile(r"\s++[\"'“‘„«‹(\[¿¡*_`]*+(\w*+)")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The sentences of ``text[start:end]``: (start, end) of each, in code points of text.

    In order, not overlapping, without white space at either end, none empty; together they hold every
    character of the range that is not white space.

    >>> text = "Dr. Smith came at 3.15 p.m. today. He left.\\n\\n# Notes\\nSee main.cpp! 完。好。"
    >>> [text[s:e] for s, e in sentence_spans(text)]
    ['Dr. Smith came at 3.15 p.m. today.', 'He left.', '# Notes', 'See main.cpp!', '完。', '好。']
    """
    end = len(text) if end is None else min(end, len(text))
    start = max(start, 0)
    return _Splitter(text, start, end).run() if start < end else []


class _Splitter:
    """The state of one pass over a text."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.start, self.end = text, start, end
        self.spans: list[tuple[int, int]] = []
        self.closing: dict[str, int] = {}  # fence character -> length that no closing fence further on exceeds

    def run(self) -> list[tuple[int, int]]:
        text, end, open_at = self.text, self.end, self.start
        single = False  # does the current line end a sentence by itself, as a heading does?
        fence = -1  # where a code block opens
        first = _FIRST_LINE.match(text, open_at, end)
        if first is not None:
            single, fence = True, first.start("fence")
        while True:
            if fence >= 0:
                open_at, single, fence = self._fence(fence), True, -1
            for event in _EVENT.finditer(text, open_at, end):
                kind = event.lastgroup
                if kind == "mark":
                    if self._closes(open_at, event.start(), event.end()):
                        self._add(open_at, event.end())
                        open_at = event.end()
                elif kind == "newline":
                    blank, line, item, fence = event.start("blank"), event.start("line"), event.start("item"), event.start("fence")
                    if single or blank >= 0 or line >= 0 or item >= 0 or fence >= 0:
                        self._add(open_at, event.start())
                        open_at = event.end()
                        if fence >= 0:
                            break
                    single = line >= 0 or event.start("rule") >= 0
                elif kind == "full":
                    self._add(open_at, event.end())
                    open_at = event.end()
            if fence < 0:
                break
        self._add(open_at, end)
        return self.spans

    def _add(self, start: int, end: int) -> None:
        """Keep text[start:end] without the white space around it, in pieces of at most MAX_SENTENCE characters."""
        text = self.text
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        while end - start > MAX_SENTENCE:
            window = text[start : start + MAX_SENTENCE + 1]
            head = len(window.rsplit(None, 1)[0])
            cut = start + (head if head < MAX_SENTENCE + 1 else MAX_SENTENCE)
            self.spans.append((start, cut))
            start = cut
            while text[start].isspace():
                start += 1
        if start < end:
            self.spans.append((start, end))

    def _closes(self, start: int, mark: int, after: int) -> bool:
        """Does the mark at text[mark:after], which white space follows, close the sentence that began at start?"""
        text = self.text
        following = _NEXT_WORD.match(text, after, min(self.end, after + 64))
        word = following[1] if following is not None else ""
        if word[:1].islower() and not text[start : start + 8].lstrip()[:1].islower():
            return False  # an abbreviation, an ellipsis, or quoted speech that goes on
        if text[mark] != "." or text[mark + 1 : mark + 2] == ".":
            return True
        before = text[max(start, mark - 24) : mark].rsplit(None, 1)
        last = before[-1].lstrip("([{\"'“‘„«*_`") if before else ""
        if last.isdigit():
            numbers_line = len(before) == 1 and mark - start <= 24
            return not numbers_line and not (len(last) <= 2 and word.lower() in _AFTER_ORDINAL)
        lower = last.lower()
        opens = word[:1].isupper() and word.lower() in _OPENERS
        if lower in _ENDING:
            return not word[:1].isdigit()
        if lower in _ABBREVIATIONS:
            return opens
        if lower in _BEFORE_NUMBER:
            return not word[:1].isdigit()
        if (len(last) == 1 and last.isupper()) or _DOTTED.fullmatch(last):
            return opens or word == ""  # initials, U.S.
        return True

    def _fence(self, start: int) -> int:
        """Keep the code block whose opening fence stands at start; returns where it ends.

        A fence that nothing closes is a line of its own.
        """
        text = self.text
        mark = _FENCE.match(text, start, self.end)
        opening, character, end = (mark.end() if mark is not None else start) - start, text[start], -1
        longest = 0
        if opening <= self.closing.get(character, opening):
            for closing in _CLOSING_FENCE.finditer(text, start, self.end):
                if closing[1][0] == character:
                    longest = max(longest, len(closing[1]))
                    if longest >= opening:
                        end = closing.end()
                        break
            else:
                self.closing[character] = longest
        if end < 0:
            line = _LINE_END.search(text, start, self.end)
            end = line.start() if line is not None else self.end
        elif end - start > MAX_FENCE:
            for blank in _BLANK_LINE.finditer(text, start, end):
                self._add(start, blank.start())
                start = blank.end()
        self._add(start, end)
        return end
