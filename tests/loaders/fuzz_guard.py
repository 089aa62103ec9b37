"""What a load may not do while it is watched: write anywhere, read beside its folder, use the network, take too much.

Python's own calls are seen by an audit hook; those of C libraries by inotify, and by an address that nobody should call.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import socket
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.loaders.attacks_text import Outside

MARK = "words of a file beside the folder"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = ("socket.", "subprocess.", "tempfile.", "shutil.", "urllib.", "pty.", "winreg.", "ftplib.", "http.client.", "smtplib.")
_CALLS = """chflags chmod chown exec fork forkpty kill killpg link lockf mkdir posix_spawn putenv remove rename rmdir setxattr spawn
    startfile symlink system truncate unsetenv utime"""
_FORBIDDEN_OS = frozenset(f"os.{name}" for name in _CALLS.split())
_CODE = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), os.getcwd()}
_READABLE = (*_CODE, "/usr/share/zoneinfo")
_IN_ACCESS, _IN_OPEN, _IN_ISDIR = 0x1, 0x20, 0x40000000
_CHANGES = 0x2 | 0xC0 | 0x100 | 0x600  # IN_MODIFY, IN_MOVE, IN_CREATE, IN_DELETE and IN_DELETE_SELF
_PAGE = resource.getpagesize()


class Guard:
    """Watches the loads of one process; folder is that of the files, inside `root`, which holds nothing else of its business."""

    def __init__(self, root: Path, memory: int, cpu: float, wall: float, tracebacks: IO[bytes]) -> None:
        self.folder = root / "folder"
        self.folder.mkdir()
        (root / "beside.txt").write_text(MARK)
        (root / "beside.dtd").write_text(f'<!ENTITY canary "{MARK}">')
        os.chdir(root)  # where relative names would lead
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
            os.environ[name] = str(root)
        self._memory, self._cpu, self._wall, self._tracebacks = memory, cpu, wall, tracebacks
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.outside = Outside(
            str(root / "beside.txt"), str(root / "beside.dtd"), f"http://127.0.0.1:{self._server.getsockname()[1]}/a.dtd"
        )
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watched: dict[int, Path] = {}
        self._watch(self.folder, _CHANGES)
        self._watch(root, _CHANGES | _IN_ACCESS | _IN_OPEN)
        self._seen: list[str] = []
        self._active = False
        faulthandler.register(signal.SIGPROF, self._tracebacks, chain=True)  # what the process was at when its time was over
        sys.addaudithook(self._audit)

    def _watch(self, path: Path, mask: int) -> None:
        watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(path), mask)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        self._watched[watch] = path

    def _audit(self, event: str, args: tuple[object, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _WRITES:
                self._seen.append(f"opened {path!r} for writing")
            elif isinstance(path, (str, bytes)) and not os.path.realpath(os.fsdecode(path)).startswith((str(self.folder), *_READABLE)):
                self._seen.append(f"read {path!r}")
        elif event in _FORBIDDEN_OS or event.startswith(_FORBIDDEN):
            self._seen.append(f"{event} {args!r:.200}")

    def _events(self) -> list[str]:
        """What inotify saw since it was asked last."""
        found = []
        try:
            data = os.read(self._inotify, 1 << 16)
        except BlockingIOError:
            return []
        while data:
            watch, mask, length = (int.from_bytes(data[a:b], sys.byteorder) for a, b in ((0, 4), (4, 8), (12, 16)))
            if not mask & _IN_ISDIR or mask & _CHANGES:  # that other programs list folders is none of our business
                found.append(f"event 0x{mask:x} on {self._watched.get(watch)}/{os.fsdecode(data[16 : 16 + length].rstrip(bytes(1)))}")
            data = data[16 + length :]
        return found

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Around one load; the list holds, afterwards, what it did that it may not do."""
        self._events()
        violations: list[str] = []
        self._seen = []
        held = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        self._events()
        resource.setrlimit(resource.RLIMIT_AS, (held + self._memory, resource.RLIM_INFINITY))
        faulthandler.dump_traceback_later(self._wall, exit=True, file=self._tracebacks)
        signal.setitimer(signal.ITIMER_PROF, self._cpu)
        self._active = True
        try:
            yield violations
        finally:
            self._active = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            violations += dict.fromkeys(self._seen + self._events())
            try:
                self._server.accept()[0].close()
                violations.append(f"called {self.outside.url}")
            except BlockingIOError:
                pass
