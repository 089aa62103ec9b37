"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

from ragkit.errors import InputError

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}


def parse_size(given: int | str) -> int:
    """Bytes of a size.

    >>> parse_size("1GB"), parse_size("1.5 GiB"), parse_size(4096)
    (1000000000, 1610612736, 4096)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(given).lower())
    if found is None or found[2] not in _UNITS:
        raise InputError(f"a size is a number of bytes or a text such as '1GB' or '512MiB', got {given!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def in_words(n: float) -> str:
    """Bytes for people.

    >>> in_words(999), in_words(12_345), in_words(1_234_567_890)
    ('999 bytes', '12.3 kB', '1.2 GB')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n >= unit:
            return f"{n / unit:.1f} {name}"
    return f"{n:.0f} bytes"
