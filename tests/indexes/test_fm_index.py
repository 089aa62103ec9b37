"""The FM-index against the plainest search there is, in small texts of every kind and in texts of several superblocks."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.one_by_one import find_one_by_one
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.indexes.kernels.runs import LENGTHS, OTHER, count_runs, encode_runs, find_run
from ragkit.indexes.ngram.fm_index import LAYOUTS, FMIndex, Layout, _fits
from ragkit.indexes.ngram.suffixes import SuffixArray, end_to_end, sort_suffixes

LAYOUT = st.builds(Layout, st.integers(3, 13), st.integers(1, 70), st.integers(1, 130))
TEXT = st.one_of(
    st.binary(max_size=200),
    st.lists(st.tuples(st.sampled_from([b"a", b"ab", b"\0", b"\xff", b"ba", b"xyz"]), st.integers(1, 60)), max_size=8).map(
        lambda runs: b"".join(piece * times for piece, times in runs)
    ),
)


def positions(text: bytes, pattern: bytes) -> list[int]:
    """Where a pattern stands: the oracle."""
    return [i for i in range(len(text) - len(pattern) + 1) if text[i : i + len(pattern)] == pattern]


def array(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


@settings(max_examples=200)
@given(TEXT, LAYOUT, st.data())
def test_every_string_is_found_where_it_stands(text: bytes, layout: Layout, data: st.DataObject) -> None:
    index = FMIndex.of_suffixes(array(text), sort_suffixes(array(text)), layout)
    plain = SuffixArray.build(array(text))
    assert len(index) == len(text)
    spans = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(1, 40)), max_size=6))
    patterns = [text[start : start + length] for start, length in spans] + data.draw(st.lists(st.binary(max_size=4), max_size=6))
    patterns += [text, text + b"a", b"\0", b"\xff"]
    lows, highs = index.find(patterns)
    for pattern, low, high in zip(patterns, lows.tolist(), highs.tolist(), strict=True):
        expected = positions(text, pattern)
        assert sorted(index.locate(low, high).tolist()) == expected
        low, high = (int(rows[0]) for rows in plain.find([pattern]))
        assert sorted(plain.locate(low, high).tolist()) == [p for p in expected if p < len(text)]  # it has no row of the empty suffix
    for start, length in spans:
        assert index.extract(start, min(len(text), start + length)) == plain.extract(start, start + length) == text[start : start + length]
    assert index.extract(0, len(text)) == text


def _texts() -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    words = [bytes(rng.integers(97, 123, rng.integers(1, 9)).astype(np.uint8)) for _ in range(300)]
    return {
        "words": b" ".join(words[i] for i in rng.zipf(1.4, 60_000) % 300),
        "bytes": rng.integers(0, 256, 200_000).astype(np.uint8).tobytes(),  # runs would take more room than the bytes do
        "one byte": b"a" * 140_000,
        "separators": b"\xff" * 100_000,
        "copies": rng.integers(0, 256, 5_000).astype(np.uint8).tobytes() * 30,
        "superblock": rng.integers(97, 100, 65_536).astype(np.uint8).tobytes(),
        "all but one": rng.integers(97, 100, 131_071).astype(np.uint8).tobytes(),
    }


@pytest.mark.parametrize("preset", LAYOUTS)
@pytest.mark.parametrize("kind", _texts())
def test_texts_of_several_superblocks(kind: str, preset: str) -> None:
    text = _texts()[kind]
    index, plain = FMIndex.build(array(text), preset), SuffixArray.build(array(text))  # type: ignore[arg-type]
    rng = np.random.default_rng(4)
    starts = rng.integers(0, len(text), 400)
    patterns = [text[s : s + n] for s, n in zip(starts.tolist(), rng.integers(1, 65, 400).tolist(), strict=True)]
    patterns += [p[:-1] + bytes([p[-1] ^ 1]) for p in patterns[:100]] + [bytes([b]) for b in range(256)] + [text[-100:], text[:100]]
    lows, highs = index.find(patterns)
    shifted_lows, shifted_highs = plain.find(patterns)
    found = highs > lows
    assert ((highs - lows) == (shifted_highs - shifted_lows)).all()
    assert (lows[found] == shifted_lows[found] + 1).all()  # the row of the empty suffix comes first
    data, ends = end_to_end(patterns)
    alone = np.empty((2, len(patterns)), np.int64)
    find_one_by_one(index.fm, data, ends, *alone)
    assert (alone[1] - alone[0] == highs - lows).all()
    assert (alone[0][found] == lows[found]).all()
    for row in rng.integers(1, len(text), 100).tolist():
        assert index.locate(row, row + 1).tolist() == plain.locate(row - 1, row).tolist()
    assert index.extract(0, len(text)) == text


@pytest.mark.parametrize("preset", LAYOUTS)
def test_what_is_kept_is_small(preset: str) -> None:
    words = _texts()["words"] * 3
    size = FMIndex.build(array(words), preset).nbytes / len(words)  # type: ignore[arg-type]
    assert size < {"compact": 0.5, "fast": 0.9}[preset]
    noise = _texts()["bytes"]
    assert FMIndex.build(array(noise), preset).nbytes / len(noise) < {"compact": 1.5, "fast": 3.4}[preset]  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 300)), min_size=1, max_size=12), st.integers(0, 40), st.data())
def test_runs_count_as_their_bytes_do(runs: list[tuple[int, int]], symbol: int, data: st.DataObject) -> None:
    rows = np.concatenate([np.full(length, value, np.uint8) for value, length in runs])
    codes = np.full(256, OTHER, np.uint8)
    codes[:20] = np.arange(20)  # symbols from 20 on have none of their own
    tokens, starts = np.empty(4 * len(rows) + 8, np.uint8), np.zeros(1, np.int64)
    end = encode_runs(rows, len(rows), codes, tokens, starts)
    low = data.draw(st.integers(0, len(rows)))
    high = data.draw(st.integers(low, len(rows)))
    expected = tuple(int((rows[:n] == symbol).sum()) for n in (low, high))
    assert count_runs(tokens, 0, end, low, high, codes[symbol], symbol) == expected
    place = data.draw(st.integers(0, len(rows) - 1))
    value = int(rows[place])
    assert find_run(tokens, 0, end, place) == ((value, -1) if value < 20 else (OTHER, value))
    assert encode_runs(rows, len(rows), codes, tokens[: end - 1], starts) == -1
    assert sorted(LENGTHS) == list(LENGTHS)
    assert LENGTHS[0] == 1


def test_what_was_saved_is_mapped_and_searched(tmp_path: Path) -> None:
    for kind, text in {**_texts(), "empty": b"", "one": b"x"}.items():
        folder = tmp_path / kind
        folder.mkdir()
        FMIndex.build(array(text)).save(folder)
        index = FMIndex.load(folder, len(text))
        assert index.extract(0, len(text)) == text
        assert index.count([b"zzzz"]).tolist() == [len(positions(text, b"zzzz"))]
        with pytest.raises(CorruptCollectionError, match="that do not fit together"):
            FMIndex.load(folder, len(text) + 1)


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_or_lead_nowhere_but_never_out_of_the_arrays(tmp_path_factory: Any, data: st.DataObject) -> None:
    """Any byte of any array is changed: the index is refused, or answers, or says that it is damaged."""
    size = data.draw(st.sampled_from([70_000, 65_536]))  # of the second, the row behind the last is in no superblock
    text = _texts()["words"][:size]
    folder = tmp_path_factory.getbasetemp() / f"damaged{size}"
    if not folder.exists():
        folder.mkdir()
        FMIndex.build(array(text)).save(folder)
    index = FMIndex.load(folder, len(text))
    fields = [name for name, value in index.fm._asdict().items() if isinstance(value, np.ndarray)]
    name = data.draw(st.sampled_from(fields))
    changed = getattr(index.fm, name).copy()
    spots = changed.reshape(-1).view(np.uint8)
    for _ in range(data.draw(st.integers(1, 40))):
        spots[data.draw(st.integers(0, len(spots) - 1))] = data.draw(st.integers(0, 255)) & (1 if name == "plain" else 255)
    changed.flags.writeable = False
    damaged = index.fm._replace(**{name: changed})
    if not _fits(damaged, len(text)):
        return
    index = FMIndex(damaged)
    lows, highs = index.find([*(text[i : i + 5] for i in range(0, 60_000, 500)), *(bytes([b]) for b in set(text))])
    assert (lows <= highs).all()
    assert (highs <= len(text) + 1).all()
    with suppress(CorruptCollectionError):
        assert (index.locate(0, 200) <= len(text)).all()
    assert len(index.extract(0, 5000)) == 5000


def test_damage_that_only_a_look_finds(tmp_path: Path) -> None:
    """What stands behind the last superblock leads out of the pool, a sampling rate of its own makes endless loops."""
    text = _texts()["superblock"]
    fm = FMIndex.build(array(text)).fm
    entries = fm.entries.copy()
    entries[-1, 0, 1] = (1 << 32) - 1
    assert _fits(fm, len(text))
    for damaged in (fm._replace(entries=entries), fm._replace(every=1 << 60), fm._replace(every_row=1 << 60)):
        assert not _fits(damaged, len(text))


def test_refusals() -> None:
    index = FMIndex.build(array(b"banana"))
    with pytest.raises(InputError, match="preset must be one of compact, fast, got 'small'"):
        FMIndex.build(array(b"banana"), "small")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rows must lie in 0 to 7, got 3 to 9"):
        index.locate(3, 9)
    with pytest.raises(InputError, match="the text has 6 bytes, got the range 2 to 7"):
        index.extract(2, 7)
