"""Durable files: the only place where a collection writes, renames and syncs.

A commit is safe against a power cut only if every new file and every folder that gained a name was
synced before ``CURRENT`` is swapped; having one place for it makes that order testable.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import CorruptCollectionError

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import ReadableBuffer


_BUFFER = 1 << 20


class NewFile(io.RawIOBase):
    """A file being written: every byte goes through `os.write`, and none is lost where that takes fewer than it was given.

    NumPy, Arrow and faiss write through it too. None of them is given a mapped file to fill: on a full disk a store into
    a mapping kills the process, while a write raises OSError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """All of the data, at the end of the file; raises OSError where the disk is full or broken."""
        left = memoryview(data).cast("B")
        total = len(left)
        while left:
            left = left[os.write(self._fd, left) :]
        return total

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Give the file back; it is not flushed to the device by this, see `sync_tree`."""
        if not self.closed:
            os.close(self._fd)
        super().close()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a new .npy file."""
    with NewFile(path) as f:
        np.save(f, array, allow_pickle=False)


def save_rows(path: Path, blocks: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Write a new .npy file of that shape whose rows come in blocks."""
    with NewFile(path) as f:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(f, header)
        for block in blocks:
            if len(block):
                f.write(np.ascontiguousarray(block, dtype).data)


def save_batch(path: Path, batch: pa.RecordBatch) -> None:
    """Write a new Arrow file of one batch."""
    import pyarrow as pa

    with io.BufferedWriter(NewFile(path), _BUFFER) as f, pa.ipc.new_file(f, batch.schema) as writer:  # Arrow writes in small pieces
        writer.write_batch(batch)


def open_array(path: Path) -> NDArray[Any]:
    """Map a .npy file; raises CorruptCollectionError where it is none."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as exc:  # of a damaged header NumPy raises whatever its tokenizer does
        raise _unreadable(path, "array", exc) from exc


def open_batch(path: Path) -> pa.RecordBatch:
    """Map an Arrow file of one batch; raises CorruptCollectionError where it is none, or where it points outside of itself."""
    import pyarrow as pa

    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate()
        for column in batch.columns:
            _check_offsets(column)
    except Exception as exc:  # of damaged metadata Arrow raises errors of several kinds
        raise _unreadable(path, "Arrow file", exc) from exc
    return batch


def _unreadable(path: Path, what: str, exc: Exception) -> CorruptCollectionError:
    return CorruptCollectionError(
        f"{path} is no readable {what} ({' '.join(str(exc).split())[:120]}); restore it from a backup, or index again"
    )


def _check_offsets(column: pa.Array) -> None:
    """Raise ValueError unless strings and lists lie one after the other in their values: Arrow reads them without a look at bounds."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_large_string(kind) or pa.types.is_large_list(kind)) or not len(column):
        return
    nested = pa.types.is_large_list(kind)
    offsets = np.frombuffer(column.buffers()[1], np.int64)[: len(column) + 1]
    size = len(column.values) if nested else column.buffers()[2].size if column.buffers()[2] is not None else 0
    if offsets[0] != 0 or offsets[-1] > size or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets are not in order")
    if nested:
        _check_offsets(column.values)


def sync_file(path: Path) -> None:
    """Flush a file's content to the device."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Flush a folder's names to the device."""
    if os.name == "nt":  # Windows has no handle of a folder to flush; its renames are journaled
        return
    sync_file(path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, all of them to stay."""
    new = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new or [path]:  # another process may have made it a moment ago, and not have come to this
        sync_folder(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it; its folder still has to be synced."""
    with NewFile(path) as f:
        f.write(content)
        os.fsync(f.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Put new content under an existing name in one step: readers see the old or the new, whole."""
    temporary = path.with_name(path.name + ".new")
    write_file(temporary, content)
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_tree(folder: Path) -> list[Path]:
    """Flush every file and folder below a folder, and it; returns the files, sorted."""
    files: list[Path] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            sync_file(path)
            files.append(path)
        sync_folder(Path(parent))
    return sorted(files)


def sha256_bytes(content: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(words: str) -> bytes:
    """A line with a digest of itself at its end, so that a flipped bit in it is noticed; see `unsealed`.

    >>> unsealed(sealed("a b")), unsealed(sealed("a b").replace(b"a", b"c")), unsealed(b"")
    ('a b', None, None)
    """
    return f"{words} {sha256_bytes(words.encode())[:8]}\n".encode()


def unsealed(line: bytes) -> str | None:
    """The words of a sealed line; None if it is not whole."""
    words = line.rpartition(b" ")[0].decode("ascii", "replace")
    return words if line == sealed(words) else None


def check_size(path: Path, size: int) -> None:
    """Raise CorruptCollectionError unless the file is there with exactly this many bytes."""
    try:
        actual = path.stat().st_size
    except OSError as exc:
        raise CorruptCollectionError(f"{path} is missing or unreadable ({exc.strerror}); restore it from a backup, or index again") from exc
    if actual != size:
        raise CorruptCollectionError(f"{path} has {actual} bytes where {size} were written; restore it from a backup, or index again")


def inside(root: Path, names: Iterable[str]) -> None:
    """Raise CorruptCollectionError if a stored name would lead out of its folder."""
    for name in names:  # POSIX paths, as the writer made them; a drive or a backslash is Windows' way out
        if not name or name[0] == "/" or "\\" in name or ":" in name or ".." in name.split("/"):
            raise CorruptCollectionError(
                f"{root}: the manifest names {name!r}, which is outside the collection; do not use this collection"
            )
