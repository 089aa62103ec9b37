"""Offline mode: no network access, enforced where every Python socket passes.

``RAGKIT_OFFLINE=1`` or `offline()` refuse name look-ups and connections to anything but this machine's
loopback addresses and Unix sockets. The check sits in an audit hook of the interpreter, so code that
kept its own reference to `socket.create_connection` is refused too. Libraries that open sockets in
C are told through their own switches (the Hugging Face hub).
"""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ragkit.errors import OfflineError

_HUB = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_WATCHED = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}

_lock = threading.Lock()
_depth = 0
_installed = False
_saved: dict[str, str | None] = {}


def is_offline() -> bool:
    """True while the network is refused."""
    return _depth > 0


@contextmanager
def offline() -> Iterator[None]:
    """Refuse every network access of this process inside the block; nests.

    >>> import socket
    >>> with offline():
    ...     socket.create_connection(("example.org", 80))
    Traceback (most recent call last):
    ragkit.errors.OfflineError: network access to 'example.org' was refused: ragkit is offline (RAGKIT_OFFLINE=1 or ragkit.offline())
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    """The first block to go offline saves the hub's switches and sets them."""
    global _depth
    with _lock:
        _install()
        if _depth == 0:
            _saved.update({name: os.environ.get(name) for name in _HUB})
            os.environ.update(_HUB)
        _depth += 1


def _leave() -> None:
    """The last block to leave restores them."""
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            for name, value in _saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def obey_environment() -> None:
    """Go offline for good if ``RAGKIT_OFFLINE`` is set to anything but 0; called when ragkit is imported."""
    if os.environ.get("RAGKIT_OFFLINE", "0") not in ("", "0"):
        _enter()


def _install() -> None:
    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _depth and event in _WATCHED:
        if event.startswith("socket.get"):
            host = args[0]
        else:
            address = args[1]
            if not isinstance(address, tuple):  # a Unix socket's path, or a connected datagram
                return
            host = address[0]
        if not _is_loopback(host):
            raise OfflineError(f"network access to {host!r} was refused: ragkit is offline (RAGKIT_OFFLINE=1 or ragkit.offline())")


def _is_loopback(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback or str(host) in ("0.0.0.0", "::")
    except ValueError:
        return False
