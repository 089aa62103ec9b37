"""Ways to damage a file: each takes a random generator, the bytes and other files of its format, and gives new bytes."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from random import Random

LARGEST = 100_000  # bytes of a mutated file, so that thousands of them are read in minutes
Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_NUMBERS = b"0 -1 1 255 65536 2147483647 2147483648 4294967295 9223372036854775807 18446744073709551616 1e999 -1e-999 0.0 007 NaN".split()
_NUMBERS.append(b"9" * 5000)  # more digits than Python turns into an int
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_CODECS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "cp1252", "utf-7", "utf-8-sig")
_BAD = (
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80",
    b"\x85",
    b"\r",
    b"\n",
    b"\xe2\x80\xa8",
    b"\x1f",
    b"\x7f",
)


def _place(random: Random, data: bytes) -> int:
    return random.randrange(len(data) + 1)


def _range(random: Random, data: bytes) -> tuple[int, int]:
    """A block; most are short, a few are long."""
    start = _place(random, data)
    longest = random.choice((1, 4, 16, 64, 256, 4096, len(data) + 1))
    return start, min(len(data), start + random.randrange(longest) + 1)


def truncated(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


def beheaded(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[_place(random, data) :]


def bits_flipped(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16, 64)) if out else 0):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def bytes_set(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _range(random, data)
    return data[:start] + bytes((random.choice((0, 0xFF, 0x80, 0x20, random.randrange(256))),)) * (end - start) + data[end:]


def inserted(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + random.randbytes(random.choice((1, 2, 8, 100))) + data[at:]


def bad_characters(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    for _ in range(random.choice((1, 2, 8))):
        at = _place(random, data)
        data = data[:at] + random.choice(_BAD) * random.choice((1, 1, 3, 50)) + data[at:]
    return data


def deleted(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _range(random, data)
    return data[:start] + data[end:]


def repeated(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _range(random, data)
    return data[:end] + data[start:end] * random.choice((1, 2, 10, 1000)) + data[end:]


def moved(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _range(random, data)
    block, rest = data[start:end], data[:start] + data[end:]
    at = _place(random, rest)
    return rest[:at] + block + rest[at:]


def spliced(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return data[: _place(random, data)] + other[_place(random, other) :]


def inlaid(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A block of another file in place of one of this."""
    start, end = _range(random, data)
    other = random.choice(others)
    from_, to = _range(random, other)
    return data[:start] + other[from_:to] + data[end:]


def recoded(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """In another encoding, or under the byte-order mark of one."""
    if random.random() < 0.3:
        return random.choice(_MARKS) + data
    return data.decode("utf-8", "replace").encode(random.choice(_CODECS), "replace")


def renumbered(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One number as another, of those that programs trip over."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    one = random.choice(found)
    return data[: one.start()] + random.choice(_NUMBERS) + data[one.end() :]


_ELEMENT = re.compile(rb"<([A-Za-z][\w:]*)[^<>]*(?:/>|>.*?</\1>)", re.DOTALL)
_ATTRIBUTE = re.compile(rb"\s[\w:-]+=(\"[^\"]*\")")


def element_changed(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A whole element left out, said twice, put elsewhere or into itself, so that the rest stays as it should be."""
    found = list(_ELEMENT.finditer(data[:LARGEST]))
    if not found:
        return data
    one, other = random.choice(found), random.choice(found)
    tag, whole = one[1], one[0]
    inside = b"<" + tag + b">" + whole + b"</" + tag + b">"
    replaced = random.choice((b"", whole * 2, other[0], inside, whole[: len(tag) + 1] + b"/>", whole.replace(tag, other[1])))
    return data[: one.start()] + replaced + data[one.end() :]


def attribute_changed(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """An attribute left out, or with another's value."""
    found = list(_ATTRIBUTE.finditer(data))
    if not found:
        return data
    one, other = random.choice(found), random.choice(found)
    if random.random() < 0.3:
        return data[: one.start()] + data[one.end() :]
    value = random.choice((other[1], b'""', b'"-1"', b'"99999999999"', b'"\'"', b'"&#x1F600;"'))
    return data[: one.start(1)] + value + data[one.end(1) :]


MUTATIONS: tuple[Mutation, ...] = (
    truncated,
    beheaded,
    bits_flipped,
    bits_flipped,
    bytes_set,
    inserted,
    bad_characters,
    deleted,
    repeated,
    moved,
    spliced,
    inlaid,
    recoded,
    renumbered,
    renumbered,
)


def words_of_format(words: Sequence[bytes]) -> Mutation:
    """A mutation that puts words of a format where they don't belong."""

    def worded(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
        for _ in range(random.choice((1, 1, 3, 10))):
            at = _place(random, data)
            end = at + random.choice((0, 0, 1, 8))
            data = data[:at] + random.choice(words) * random.choice((1, 1, 1, 2, 40)) + data[end:]
        return data

    return worded


def mutate(random: Random, data: bytes, others: Sequence[bytes], mutations: Sequence[Mutation]) -> tuple[bytes, list[str]]:
    """A damaged file of at most `LARGEST` bytes, and the names of what was done to it."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        one = random.choice(mutations)
        data = one(random, data, others)[:LARGEST]
        done.append(one.__name__)
    return data, done


def mutate_in_place(random: Random, data: bytes, others: Sequence[bytes], mutations: Sequence[Mutation]) -> tuple[bytes, list[str]]:
    """A Parquet file in which a few bytes of the pages or of the footer are others, and none has another place."""
    out = bytearray(data)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    start, end = random.choice(((4, footer), (4, footer), (footer, len(data) - 8)))
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(start, end)
        out[at] = random.choice((out[at] ^ 1 << random.randrange(8), random.randrange(256), 0, 0xFF, 0x80, out[at] + 1 & 255))
    return bytes(out), ["in place"]


# files inside files: damage to the outer one is mostly noticed by its checksums, so the inner one is damaged, too


def mutate_zip(random: Random, data: bytes, others: Sequence[bytes], mutations: Sequence[Mutation]) -> tuple[bytes, list[str]]:
    """A zip file one of whose entries was damaged, then packed as it should be."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    name = "word/document.xml" if random.random() < 0.5 and "word/document.xml" in entries else random.choice(sorted(entries))
    entries[name], done = mutate(random, entries[name], [*entries.values()], mutations)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        for entry, content in entries.items():
            new.writestr(zipfile.ZipInfo(entry), content, new.compression)  # without the time of day
    return out.getvalue(), [f"{name}:", *done]


def mutate_gzip(random: Random, data: bytes, others: Sequence[bytes], mutations: Sequence[Mutation]) -> tuple[bytes, list[str]]:
    plain, done = mutate(random, gzip.decompress(data), [gzip.decompress(o) for o in others if o[:2] == b"\x1f\x8b"], mutations)
    return packed(plain), ["inside:", *done]


def packed(data: bytes) -> bytes:
    """Gzipped, without the time of day."""
    return gzip.compress(data, 6, mtime=0)
