"""The result cache: the same question over the same passages costs nothing, and nothing else is taken for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragkit import Query, Run
from ragkit.errors import GenerationError, InputError
from ragkit.rerankers import Listwise, Pointwise, ResultCache, SingleToken, Sliding
from ragkit.rerankers.cache import result_key
from ragkit.rerankers.reorder import Ranking
from ragkit.rerankers.templates import LISTWISE
from tests.rerankers.stub_models import StubModel, passages


def asked(stage: Any, run: Run) -> tuple[list[int], int]:
    """Rows and calls of one reranking."""
    out = stage(run)
    return out.rows.tolist(), out.report[-1].usage.calls


def test_the_second_time_costs_nothing_and_gives_the_same(tmp_path: Path) -> None:
    run = Run.from_texts("q", passages([3, 1, 9, 4]))
    for make in (lambda c: SingleToken(StubModel(), cache=c), lambda c: Pointwise(StubModel(), cache=c)):
        cache = ResultCache(tmp_path / "results.db")
        first, second = make(cache)(run), make(ResultCache(tmp_path / "results.db"))(run)
        assert first.report[-1].usage.calls > 0
        assert second.report[-1].usage.calls == 0
        assert second.report[-1].counts["cached"] == 1
        assert first.rows.tolist() == second.rows.tolist()
        assert first.scores.tolist() == second.scores.tolist()
        assert first.scale == second.scale


BASE = Run.from_texts("q", passages([3, 1, 9, 4]))


@pytest.mark.parametrize(
    ("make", "run"),
    [
        (lambda c: SingleToken(StubModel(), cache=c), Run.from_texts("another", passages([3, 1, 9, 4]))),
        (lambda c: SingleToken(StubModel(), cache=c), Run.from_texts(Query("0", "q", instruction="only pumps"), passages([3, 1, 9, 4]))),
        (lambda c: SingleToken(StubModel(), cache=c), Run.from_texts("q", [*passages([3, 1, 9])])),
        (lambda c: SingleToken(StubModel(), cache=c), Run.from_texts("q", passages([3, 1, 9, 5]))),
        (lambda c: SingleToken(StubModel(), cache=c), Run.from_texts("q", passages([3, 1, 9, 4]), ids=["a", "b", "c", "d"])),
        (lambda c: SingleToken(StubModel(name="other"), cache=c), BASE),
        (lambda c: SingleToken(StubModel(), prompt="first", cache=c), BASE),
        (lambda c: SingleToken(StubModel(), windows=Sliding(3, 1), cache=c), BASE),
        (lambda c: Listwise(StubModel(), prompt="listwise_letters", cache=c), BASE),
    ],
    ids=["query", "instruction", "fewer passages", "a text", "ids", "model", "prompt", "windows", "reranker"],
)
def test_whatever_decides_the_result_is_part_of_the_key(tmp_path: Path, make: Callable[[ResultCache], Any], run: Run) -> None:
    cache = ResultCache(tmp_path / "results.db")
    SingleToken(StubModel(), cache=cache)(BASE)
    assert asked(make(cache), run)[1] > 0


def test_what_failed_is_not_remembered(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "results.db")

    class Down(StubModel):
        def _values(self, prompt: Any) -> list[float]:
            raise GenerationError("no answer")

    Listwise(Down(), cache=cache)(BASE)
    assert len(cache) == 0
    assert asked(Listwise(StubModel(), cache=cache), BASE) == ([2, 3, 0, 1], 1)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    one = len('{"order": [0], "scores": null}') + 1
    cache = ResultCache(tmp_path / "results.db", max_bytes=3 * one)
    for key in "abc":
        cache.put({key: Ranking((0,))})
    cache.get(["a"])
    cache.put({"d": Ranking((0,))})
    assert set(cache.get(list("abcd"))) == {"a", "c", "d"}
    cache.clear()
    assert len(cache) == 0


@pytest.mark.parametrize("entry", ['{"order": [0, 0, 1, 7], "scores": null}', "not json", "[]", '{"order": ["x"], "scores": null}'])
def test_an_entry_that_fits_nothing_is_asked_again(tmp_path: Path, entry: str) -> None:
    cache = ResultCache(tmp_path / "results.db")
    stage = SingleToken(StubModel(), cache=cache)
    stage(BASE)
    with sqlite3.connect(tmp_path / "results.db") as db:
        db.execute("UPDATE results SET result = ?", (entry,))
    db.close()
    assert asked(stage, BASE) == ([2, 3, 0, 1], 1)


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 100)
    with pytest.raises(InputError, match="can't be used as a cache of results"):
        ResultCache(path)
    assert path.read_text() == "my notes " * 100
    newer = tmp_path / "newer.db"
    ResultCache(newer)
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InputError, match="format 99"):
        ResultCache(newer)
    with pytest.raises(InputError, match="max_bytes"):
        ResultCache(tmp_path / "x.db", max_bytes=0)


def test_a_cache_that_can_not_be_used_costs_no_result(tmp_path: Path) -> None:
    """Its file went, or became something else, while it was in use: the order is given, and a note says what is wrong."""
    path = tmp_path / "results.db"
    stage = SingleToken(StubModel(), cache=ResultCache(path))
    path.unlink()
    assert asked(stage, BASE) == ([2, 3, 0, 1], 1)
    assert asked(stage, BASE) == ([2, 3, 0, 1], 0)  # it was made anew
    path.write_bytes(b"something else entirely " * 50)
    out = stage(BASE)
    assert out.rows.tolist() == [2, 3, 0, 1]
    assert all("can't be used as a cache" in note for note in out.report[-1].notes)
    assert len(out.report[-1].notes) == 2  # it could be neither read nor written


def test_query_and_instruction_are_apart_in_the_key(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "results.db")
    one = Run.from_texts(Query("q", "pumps", instruction="only steel"), passages([3, 1]))
    other = Run.from_texts(Query("q", "pumps only steel"), passages([3, 1]))
    for run in (one, other):
        assert asked(SingleToken(StubModel(), cache=cache), run)[1] == 1


def test_a_prompt_counts_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = SingleToken("m")
    before = result_key(stage, "f", "q", "", ["a"], ["t"])
    assert before == result_key(SingleToken("m"), "f", "q", "", ["a"], ["t"])
    assert before != result_key(SingleToken("m", prompt="first"), "f", "q", "", ["a"], ["t"])
    monkeypatch.setitem(LISTWISE, "listwise_letters", replace(LISTWISE["listwise_letters"], tail="another wording {query}"))
    assert before != result_key(SingleToken("m"), "f", "q", "", ["a"], ["t"])


def test_a_reply_that_names_nothing_is_not_remembered(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "results.db")
    stage = Listwise(StubModel(features=(), reply=lambda order, labels: "I can't help with that."), cache=cache)
    assert [asked(stage, BASE)[1] for _ in range(2)] == [1, 1]
    assert len(cache) == 0
