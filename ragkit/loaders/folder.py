"""Finding the files of a folder: a stable order, no surprises through links, a reason for everything left out."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ragkit.errors import LoadError

_NOT_SOURCES = frozenset({"__pycache__", "node_modules"})
_LINK = "symbolic link; not followed (follow_links=True follows those that stay inside the folder)"


@dataclass(frozen=True, order=True)
class Skipped:
    """A file, a folder or a part of a file that was left out, and why. path is relative to the folder walked."""

    path: str
    reason: str


@dataclass(frozen=True)
class SourceFile:
    """A file that can be loaded.

    path      where it is
    relative  POSIX path relative to the folder walked; the name of a file given by itself
    size      bytes
    mtime_ns  last change, nanoseconds since 1970
    alone     it was given by itself: the records in it keep their own ids
    """

    path: Path
    relative: str
    size: int
    mtime_ns: int
    alone: bool = False

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """One file by itself; raises LoadError if it is not a regular file."""
        try:
            status = path.stat()
        except OSError as exc:
            raise LoadError(f"{path}: the file can't be read ({exc.strerror}); check the path") from exc
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(f"{path}: not a regular file; give a file or a folder of files")
        return cls(path, path.name, status.st_size, status.st_mtime_ns, alone=True)


def walk(root: Path, *, follow_links: bool = False, report: list[Skipped] | None = None) -> list[SourceFile]:
    """Every regular file under a folder, sorted by relative path; a file gives itself.

    Hidden names, ``__pycache__``, ``node_modules`` and ragkit's own collections are left out without a word.
    Links, special files and what can't be read go to `report`. Links are not followed unless asked for, and then
    only to targets inside the folder, each file once; a link that leaves the folder is never read.

    raises LoadError if root does not exist; never for what is inside
    """
    root = Path(root)
    try:
        status = root.stat()
    except OSError as exc:
        raise LoadError(f"{root}: no such file or folder ({exc.strerror}); check the path") from exc
    if not stat.S_ISDIR(status.st_mode):
        return [SourceFile.of(root)]
    walker = _Walker(root, follow_links, [] if report is None else report)
    walker.run()
    return sorted(walker.found, key=lambda f: f.relative)


class _Walker:
    """One walk: plain files and folders first, then, if wanted, the links between them."""

    def __init__(self, root: Path, follow_links: bool, report: list[Skipped]) -> None:
        self.root, self.report = root, report
        self.found: list[SourceFile] = []
        self._follow = follow_links
        self._real_root = os.path.realpath(root)
        self._seen: set[str] = set()  # real paths of files and folders, kept only when links are followed
        self._links: list[tuple[str, str]] = []

    def run(self) -> None:
        self._folder(str(self.root), "")
        while self._links:
            links, self._links = sorted(self._links), []
            for relative, path in links:
                self._link(path, relative)

    def _skip(self, relative: str, reason: str) -> None:
        shown = relative.encode("utf-8", "backslashreplace").decode("utf-8")
        self.report.append(Skipped(shown or ".", reason))

    def _new(self, path: str) -> bool:
        if not self._follow:
            return True
        real = os.path.realpath(path)
        if real in self._seen:
            return False
        self._seen.add(real)
        return True

    def _folder(self, path: str, relative: str) -> None:
        todo = [(path, relative)]
        while todo:
            path, relative = todo.pop()
            if not self._new(path):
                self._skip(relative, "the same folder was read under another name")
                continue
            try:
                with os.scandir(path) as listing:
                    entries = sorted(listing, key=lambda e: e.name)
            except OSError as exc:
                self._skip(relative, f"folder can't be read: {exc.strerror or exc}")
                continue
            if _is_collection(entries):
                if not relative:
                    self._skip(relative, "a ragkit collection, not a folder of documents; open it instead")
                continue
            prefix = relative + "/" if relative else ""
            for entry in entries:
                if not _hidden(entry.name):
                    self._entry(entry, prefix + entry.name, todo)

    def _entry(self, entry: os.DirEntry[str], relative: str, todo: list[tuple[str, str]]) -> None:
        try:
            relative.encode("utf-8")
        except UnicodeEncodeError:
            self._skip(relative, "its name is not valid UTF-8; rename it")
            return
        try:
            if entry.is_symlink():
                if self._follow:
                    self._links.append((relative, entry.path))
                else:
                    self._skip(relative, _LINK)
            elif entry.is_dir(follow_symlinks=False):
                todo.append((entry.path, relative))
            else:
                self._file(entry.path, relative, entry.stat(follow_symlinks=False))
        except OSError as exc:
            self._skip(relative, f"can't be read: {exc.strerror or exc}")

    def _file(self, path: str, relative: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._skip(relative, "not a regular file (a pipe, socket or device)")
        elif not os.access(path, os.R_OK):
            self._skip(relative, "can't be read: Permission denied")
        elif not self._new(path):
            self._skip(relative, "the same file was read under another name")
        else:
            self.found.append(SourceFile(Path(path), relative, status.st_size, status.st_mtime_ns))

    def _link(self, path: str, relative: str) -> None:
        try:
            real = os.path.realpath(path, strict=True)
            status = os.stat(real)
        except OSError as exc:
            self._skip(relative, f"symbolic link to nothing that can be read: {exc.strerror or exc}")
            return
        if os.path.commonpath([self._real_root, real]) != self._real_root:
            self._skip(relative, "symbolic link that leaves the folder; never followed")
        elif stat.S_ISDIR(status.st_mode):
            self._folder(path, relative)
        else:
            self._file(path, relative, status)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_SOURCES


def _is_collection(entries: list[os.DirEntry[str]]) -> bool:
    names = {e.name for e in entries}
    return "CURRENT" in names and any(e.name == "segments" and e.is_dir(follow_symlinks=False) for e in entries)
