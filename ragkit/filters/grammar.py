"""The text form of filters: ``year >= 2020 and lang in ("en", "de")``.

::

    or      = and {"or" and}
    and     = not {"and" not}
    not     = "not" not | "(" or ")" | "true" | "false" | comparison
    comparison = field ("==" | "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
               | field ["not"] ("in" list | "contains" value | "startswith" value | "exists")
               | field "is" ["not"] "null"
    list    = "(" [value {"," value}] ")", or with square brackets
    value   = "string" | 'string' | number | inf | -inf | nan | true | false | null | list of strings
    field   = name {"." name} | `any name`
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from ragkit.errors import InputError
from ragkit.filters.expression import KEYWORDS, And, Field, Filter, Or

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?!\w)|-inf(?!\w))
    |(?P<quoted>`(?:[^`]|``)+`)
    |(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
    |(?P<sign>==|!=|<>|<=|>=|[=<>()\[\],])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_DEPTH = 100
_DIGITS = 1000
_CLOSING = {"(": ")", "[": "]"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Filter:
    """Read a filter; raises InputError with the place of a mistake."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._next, self._depth = text, list(_tokens(text)), 0, 0

    def whole(self) -> Filter:
        made = self._or()
        if self._peek().kind != "end":
            self._wrong("and, or, or the end")
        return made

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _is(self, *words: str) -> bool:
        """Whether the next token is one of these words or signs."""
        token = self._peek()
        return token.kind in ("name", "sign") and token.text.lower() in words

    def _took(self, *words: str) -> bool:
        found = self._is(*words)
        self._next += found
        return found

    def _wrong(self, wanted: str) -> NoReturn:
        token = self._peek()
        found = f"found {token.text!r}" if token.kind != "end" else "it ends"
        raise InputError(f"the filter {self._text!r} can't be read at character {token.at}: {found} where {wanted} was expected")

    def _or(self) -> Filter:
        self._depth += 1
        if self._depth > _DEPTH:
            raise InputError(f"the filter {self._text[:60]!r}… is nested more than {_DEPTH} levels deep; write it flatter")
        made = self._and()
        while self._took("or"):
            made = made | self._and()
        self._depth -= 1
        return made

    def _and(self) -> Filter:
        made = self._not()
        while self._took("and"):
            made = made & self._not()
        return made

    def _not(self) -> Filter:
        negated = False
        while self._took("not"):
            negated = not negated
        if self._took("("):
            made = self._or()
            if not self._took(")"):
                self._wrong("a closing bracket")
        elif self._is("true", "false"):
            made = And(()) if self._take().text.lower() == "true" else Or(())
        else:
            made = self._comparison()
        return ~made if negated else made

    def _comparison(self) -> Filter:
        token = self._peek()
        if token.kind == "quoted":
            field = Field(token.text[1:-1].replace("``", "`"))
        elif token.kind == "name" and token.text.lower() not in KEYWORDS:
            field = Field(token.text)
        else:
            self._wrong("a field")
        self._next += 1
        if self._took("=", "=="):
            return _equal(field, self._value())
        if self._took("!=", "<>"):
            return ~_equal(field, self._value())
        for sign, compare in (("<=", field.__le__), (">=", field.__ge__), ("<", field.__lt__), (">", field.__gt__)):
            if self._took(sign):
                return compare(self._value())
        if self._took("is"):
            negated = self._took("not")
            if not self._took("null", "none"):
                self._wrong("null")
            return field.exists() if negated else ~field.exists()
        negated = self._took("not")
        if self._took("in"):
            made = field.in_(self._list())
        elif self._took("contains"):
            made = field.contains(self._value())
        elif self._took("startswith"):
            made = field.startswith(self._value())
        elif self._took("exists"):
            made = field.exists()
        else:
            self._wrong("a comparison (== != < <= > >= in contains startswith exists is)")
        return ~made if negated else made

    def _list(self) -> list[Any]:
        if not self._is("(", "["):
            self._wrong("a list in brackets")
        closing, values = _CLOSING[self._take().text], []
        while not self._took(closing):
            values.append(self._value())
            if not self._took(",") and not self._is(closing):
                self._wrong(f"a comma or {closing}")
        return values

    def _value(self) -> Any:
        token = self._peek()
        if self._is("(", "["):
            return self._list()
        if token.kind == "string":
            value: Any = _unescaped(token.text[1:-1])
        elif token.kind == "number":
            if len(token.text) > _DIGITS:
                self._wrong(f"a number of at most {_DIGITS} characters")
            value = int(token.text) if token.text.lstrip("+-").isdigit() else float(token.text)
        elif self._is("inf", "nan"):
            value = float(token.text)
        elif self._is("true", "false"):
            value = token.text.lower() == "true"
        elif self._is("null", "none"):
            value = None
        else:
            self._wrong("a value (a quoted text, a number, true, false or null)")
        self._next += 1
        return value


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(one, text)


def _equal(field: Field, value: Any) -> Filter:
    made: Filter = field == value
    return made


def _tokens(text: str) -> list[_Token]:
    made, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].lstrip()
            if not rest:
                break
            raise InputError(
                f"the filter {text!r} can't be read at character {len(text) - len(rest)}: {rest[:20]!r} is no part of a filter"
            )
        kind = str(match.lastgroup)
        made.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return [*made, _Token("end", "", len(text))]
