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
    """mr mrs ms dr prof sr jr messrs mme mlle al approx vs cf viz ca resp dept univ assn bros inc ltd co corp fig figs eq eqs ed eds
    mon tue tues wed thu thur thurs fri e.g i.e eg ie a.k.a
    bzw ggf evtl inkl exkl zzgl vgl bspw sog z.b d.h u.a o.ä i.d.r m.e v.a u.u s.o geb ing dipl
    sra srta ud uds ee.uu p.ej dra av avda cía mgr cie boul éd т.е т.к см им ул"""
)
_CAPITALISED = _listed("gen col sgt capt lt rev hon pres gov sen rep mt ft st hr fr frl mm")  # abbreviations only with a capital: 10 ft.
_BEFORE_NUMBER = _listed(
    """no nos nr nrs p pp art op n º § bd kap ziff par sec sect ch chap vol vols para def ref refs tab est ave blvd rd
    jan feb mar apr jun jul aug sep sept oct nov dec abb abs str gest jh jhd pág págs núm env hab рис стр гг тыс млн млрд др
    etc usw a.m p.m т.д т.п"""
)  # abbreviations, and words which end sentences: in front of a capital they do
_KNOWN = _ABBREVIATIONS | _CAPITALISED | _BEFORE_NUMBER
_ALWAYS = _listed("mr mrs dr prof")  # abbreviations in capitals too, where VS, IE and CA are names
_ROMAN = _listed("II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX")
_DIVISIONS = _listed(
    "section article chapter part appendix annex clause rule step figure fig table example note abschnitt kapitel artikel §"
)
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
_NUMBER = r"(?: \d{1,3}[.)]\s | \(\d{1,3}\)\s | \(?(?:[a-zA-Z]|[ivx]{2,5})\)\s )"  # of a list item, where one can stand
_EVENT = re.compile(
    rf"""
    [.!?…{_FULL}{_BREAKS}]
    (?:
      (?<=[{_BREAKS}]) (?: (?<=\r)\n )?+
      (?P<blank> (?: {_GAP}*+ (?: \r\n | [{_BREAKS}] ) )++ )?+
      {_GAP}*+
      (?= (?P<line> {_ALONE} ) | (?P<rule> {_RULE} ) | (?P<item> [-*+•‣◦]\s ) | (?P<number> {_NUMBER} ) | (?P<fence> ```|~~~ ) | )
      (?P<newline>)
    |
      (?<=[{_FULL}]) [.!?…{_FULL}]*+ [\"'”’»›\)\]}}」』）】〉》*_`]*+ (?P<full>)
    |
      [.!?…{_FULL}]*+ [\"'”’»›\)\]}}」』）】〉》*_`]*+ (?:\[\w{{1,6}}\])*+ (?: (?=\s|\Z) (?P<mark>) )?
    )
    """,
    re.VERBOSE,
)
_FIRST_LINE = re.compile(rf"\s*+ (?: (?P<fence> ```|~~~ ) | (?P<item> [-*+•‣◦]\s | {_NUMBER} ) | {_ALONE} | {_RULE} )", re.VERBOSE)
_CLOSING_FENCE = re.compile(r"[\r\n][ \t>]*+(`{3,}+|~{3,}+)[ \t]*+(?=[\r\n]|\Z)")
_FENCE = re.compile(r"`+|~+")
_LINE_END = re.compile(r"[\r\n]|\Z")
_BLANK_LINE = re.compile(r"(?:\r\n?|\n)[ \t]*+(?=[\r\n])")
_NEXT_WORD = re.compile(r"\s++([\"'“‘„«‹(\[¿¡*_`]*+)(\w*+)")
_QUOTES = re.compile(r"[`\"'“‘„«‹]|\*\*")  # what sets a lower-case name off, at the start of a sentence
_QUOTED = re.compile(r"[`\"'”’»]")
_NUMBERING = re.compile(r"(?:[A-Z]\.)?\d++(?:\.\d++)*")  # 12, 3.2, A.1
_BEFORE_ITEM = ".:;!?…。：；！？।؛؟"  # a line that ends in one of these can have a list after it
_CLOSERS = " \t\"'”’»)]*_`"
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
        listed = False  # is the current line part of a list item?
        first = _FIRST_LINE.match(text, open_at, end)
        if first is not None:
            listed, fence = first.start("item") >= 0, first.start("fence")
            single = not listed
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
                    blank, line, rule, item, number, code = event.group("blank", "line", "rule", "item", "number", "fence")
                    borders = single or blank or line or item or code
                    if number and (borders or listed or self._starts_list(event.start(), event.start("number"))):
                        borders = item = number
                    if borders:
                        self._add(open_at, event.start())
                        open_at = event.end()
                        listed = bool(item) or (listed and not (blank or line))
                        if code:
                            fence = event.start("fence")
                            break
                    single = bool(line or rule)
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
        opener, word = following.groups() if following is not None else ("", "")
        pause = text[mark] == "…" or text[mark + 1 : mark + 2] == "."
        if (
            word[:1].islower()
            and not text[start : start + 8].lstrip()[:1].islower()
            and (pause or not _QUOTES.search(opener) or _QUOTED.search(text, mark, after))
        ):
            return False  # an abbreviation, an ellipsis, or quoted speech that goes on
        if text[mark] != "." or pause:
            return True
        before = text[max(start, mark - 24) : mark].rsplit(None, 1)
        last = before[-1].lstrip("([{\"'“‘„«*_`") if before else ""
        digit = last[-1:].isdigit()
        opening = None  # the sentence so far, where that matters
        if (digit or len(last) == 1) and mark - start <= 40:
            opening = text[start:mark].lstrip(" \t\r\n#>-+*_•")
        if digit and _NUMBERING.fullmatch(last):
            numbers_line = opening == last or (opening is not None and opening.rpartition(" ")[0].strip().lower() in _DIVISIONS)
            return not numbers_line and not (len(last) <= 2 and word.lower() in _AFTER_ORDINAL)
        return self._ends(last, opening == last, opener, word)

    @staticmethod
    def _ends(last: str, alone: bool, opener: str, word: str) -> bool:
        """Does a full stop after the word ``last``, in front of ``word``, end a sentence? ``alone``: nothing stands before last."""
        lower = last.lower()
        if len(last) > 1 and lower not in _KNOWN and "." not in last:
            return True
        opens = word[:1].isupper() and word.lower() in _OPENERS
        if lower in _BEFORE_NUMBER:
            lower_case = word[:1].islower() and lower != "no" and not _QUOTES.search(opener)
            return not (word[:1].isdigit() or word in _ROMAN or lower_case)
        if lower in _CAPITALISED:
            return opens or not (last[:1].isupper() or word[:1].islower())
        if lower in _ABBREVIATIONS:
            name = last.isalpha() and last.isupper() and len(last) > 1 and lower not in _ALWAYS and not word.isupper()
            return opens or (name and word[:1].isupper())
        if len(last) == 1 and alone:
            return False  # the letter of a list item, Q. and A.
        if (len(last) == 1 and last.isupper()) or _DOTTED.fullmatch(last):
            return opens or word == ""  # initials, U.S.
        return True

    def _starts_list(self, line_end: int, number: int) -> bool:
        """Can the line whose item number stands at number begin a list, right below a line of prose that ends at line_end?

        A number may be the wrapped end of "Section 12.", so the prose has to be complete; only a plain 1 needs no mark above it,
        as in CommonMark.
        """
        text = self.text
        above = text[max(self.start, line_end - 16) : line_end].rstrip(_CLOSERS)
        return above[-1:] in _BEFORE_ITEM or text.startswith(("1. ", "1) "), number)

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
