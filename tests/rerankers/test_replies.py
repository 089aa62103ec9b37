"""Replies: hand cases, 13,773 real ones, two slow readers written apart, fuzz, laws, and time that grows no faster than the text."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.rerankers.replies import LETTERS, OUTCOMES, Identifiers, Reading, parse_permutation, plain, plain_character, strict_permutation

FILE = Path(os.environ.get("RAGKIT_DATA", "../shared/data")) / "llm-rerank-responses" / "responses.jsonl.gz"
needs_data = pytest.mark.skipif(not FILE.is_file(), reason="no data")
MODELS = ("output_v2_aug_vicuna_7b", "output_v2_vicuna_7b", "vicuna-7b-checkpoint-800", "vicuna-7b-v1.5", "vicuna-13b-v1.5")
N = 20


@cache
def replies() -> dict[str, list[str]]:
    """The real replies of each model."""
    found: dict[str, list[str]] = {model: [] for model in MODELS}
    with gzip.open(FILE, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            assert record["n_candidates"] == N
            found[record["model"]].append(record["response"])
    return found


def real() -> list[str]:
    return [reply for model in MODELS for reply in replies()[model]]


# Oracles: slow, without regular expressions, ASCII alone.


def strict_oracle(text: str, n: int) -> list[int] | None:
    """``[a] > [b] > …`` by a look at every character in turn."""
    if n == 0:
        return [] if text.strip() == "" else None
    order = []
    for part in map(str.strip, text.split(">")):
        if part[:1] != "[" or part[-1:] != "]":
            return None
        inside = part[1:-1].strip()
        if inside == "" or any(c not in "0123456789" for c in inside) or inside[0] == "0" or len(inside) > 9:
            return None
        order.append(int(inside) - 1)
    return order if sorted(order) == list(range(n)) else None


def bracketed_oracle(text: str) -> list[int]:
    """The numbers of every bracket that holds digits, commas, plus signs and white space alone."""
    found = []
    for start in range(len(text)):
        if text[start] == "[":
            end = start + 1
            while end < len(text) and (text[end] in "0123456789,+" or text[end].isspace()):
                end += 1
            if end < len(text) and text[end] == "]":
                found += [int(number) for number in text[start + 1 : end].replace(",", " ").replace("+", " ").split()]
    return found


def order_oracle(numbers: list[int], n: int) -> list[int]:
    order: list[int] = []
    for number in numbers:
        if 1 <= number <= n and number - 1 not in order:
            order.append(number - 1)
    return order + [place for place in range(n) if place not in order]


def digits_once(text: str) -> bool:
    """Whether the runs of digits in the text are 1 to 20, each once, whatever stands between them."""
    return sorted(int(run) for run in "".join(c if c in "0123456789" else " " for c in text).split()) == list(range(1, N + 1))


def check(reading: Reading, n: int) -> None:
    """What holds for any reading."""
    assert sorted(reading.order) == list(range(n))
    assert all(type(place) is int for place in reading.order)
    rest = list(reading.order[n - reading.missing :])
    assert rest == sorted(rest)  # those not named keep their order
    assert min(reading.repetition, reading.missing, reading.out_of_range) >= 0
    assert reading.missing <= n
    assert reading.outcome == reading.outcomes[0]
    assert set(reading.outcomes) <= set(OUTCOMES)
    assert ("ok" in reading.outcomes) == (reading.outcomes == ("ok",))


# Real replies


@needs_data
def test_malformed_replies_of_each_model() -> None:
    """The published counts read "each of 1..20 once" off the runs of digits; the chain itself is a stricter matter.

    Five replies tell the readings apart: four of checkpoint-800 and one of output_v2_aug_vicuna_7b (given its bracket back) name
    every number once, the four in another form: "11 > [1] > …", "[5] [1] > …", "[6] [7] [11] …", "[3] [7] > …".
    """
    sizes = {model: len(found) for model, found in replies().items()}
    digits = {model: sum(not digits_once(r) for r in found) for model, found in replies().items()}
    as_written = {model: sum(strict_permutation(r, N) is None for r in found) for model, found in replies().items()}
    prefilled = {model: sum(strict_permutation(r, N, "[") is None for r in found) for model, found in replies().items()}
    assert sizes == dict(zip(MODELS, (9115, 387, 2723, 387, 1161), strict=True))
    assert digits == dict(zip(MODELS, (394, 386, 1081, 381, 1161), strict=True))
    assert as_written == dict(zip(MODELS, (395, 387, 1085, 381, 1161), strict=True))
    assert prefilled == dict(zip(MODELS, (394, 386, 1085, 381, 1161), strict=True))
    apart = [r for r in real() if digits_once(r) and strict_permutation(r, N, "[") is None]
    assert len(apart) == 4
    assert all(r in replies()["vicuna-7b-checkpoint-800"] for r in apart)
    assert [parse_permutation(r, N).outcomes for r in apart] == [("wrong_format", "missing"), *[("wrong_format",)] * 3]


@needs_data
@pytest.mark.parametrize("prefill", ["", "["])
def test_every_real_reply(prefill: str) -> None:
    well = 0
    for reply in real():
        reading = parse_permutation(reply, N, prefill=prefill)
        check(reading, N)
        text = reply if reply.lstrip().startswith("[") else prefill + reply
        strict = strict_oracle(text, N)
        assert strict_permutation(reply, N, prefill) == (None if strict is None else tuple(strict))
        assert (reading.outcome == "ok") == (strict is not None)
        if strict is not None:
            well += 1
            assert list(reading.order) == strict
        numbers = bracketed_oracle(text)
        assert list(reading.order) == order_oracle(numbers, N) or not numbers
        if numbers:
            inside = [k for k in numbers if 1 <= k <= N]
            assert reading.out_of_range == len(numbers) - len(inside)
            assert reading.repetition == len(inside) - len(set(inside))
            assert reading.missing == N - len(set(inside))
    assert well == 13_773 - (3407 if prefill else 3409)


@needs_data
def test_outcomes_add_up_to_a_report() -> None:
    readings = [parse_permutation(reply, N, prefill="[") for reply in real()]
    first = Counter(r.outcome for r in readings)
    assert sum(first.values()) == 13_773
    assert first == {"ok": 10_366, "wrong_format": 2031, "repetition": 1350, "missing": 26}
    assert Counter(o for r in readings for o in r.outcomes) == {"ok": 10_366, "wrong_format": 2031, "repetition": 1539, "missing": 1488}


@needs_data
def test_prose_moves_nothing() -> None:
    """Of the 1,158 replies without a bracketed identifier one names two documents; the others leave the order as it was."""
    prose = [reply for reply in real() if not bracketed_oracle(reply)]
    assert len(prose) == 1158
    moved = {reply for reply in prose if parse_permutation(reply, N).order != tuple(range(N))}
    assert moved == {"20 passages are provided, so the ranking should be from 1 to 20."}


# Hand cases


@pytest.mark.parametrize(
    ("reply", "n", "order", "outcomes"),
    [
        ("[2] > [3] > [1]", 3, (1, 2, 0), ("ok",)),
        ("\n [2]>[ 3 ]\t>\n[1]  ", 3, (1, 2, 0), ("ok",)),
        ("[2] > [3] > [1].", 3, (1, 2, 0), ("wrong_format",)),
        ("[2] [3] [1]", 3, (1, 2, 0), ("wrong_format",)),
        ("[2] > [3] > [1] >", 3, (1, 2, 0), ("wrong_format",)),
        ("The ranking is: [2] > [3] > [1]", 3, (1, 2, 0), ("wrong_format",)),
        ("1. [3]\n2. [1]\n3. [2]", 3, (2, 0, 1), ("wrong_format",)),  # the list's own numbers are not identifiers
        ("1. [1] > [2] > [3]", 3, (0, 1, 2), ("wrong_format",)),
        ("[2] > [2] > [3] > [1]", 3, (1, 2, 0), ("repetition",)),
        ("[2] > [1]", 4, (1, 0, 2, 3), ("missing",)),
        ("[9] > [2] > [1]", 2, (1, 0), ("out_of_range",)),
        ("[0] > [2] > [1]", 2, (1, 0), ("wrong_format", "out_of_range")),
        ("[-1] > [2] > [+1]", 2, (1, 0), ("wrong_format", "out_of_range")),
        ("[2] > [2] > [7]", 3, (1, 0, 2), ("repetition", "missing", "out_of_range")),
        ("[03] > [1] > [2]", 3, (2, 0, 1), ("wrong_format",)),
        ("[1] = [2]", 2, (0, 1), ("wrong_format",)),
        ("[2] = [1]", 2, (1, 0), ("wrong_format",)),
        ("[2, 3, 1]", 3, (1, 2, 0), ("wrong_format",)),
        ("[3, 1] > [2]", 3, (2, 0, 1), ("wrong_format",)),
        ("[[2] > [1]]", 2, (1, 0), ("wrong_format",)),
        ("[[[2]]] > [[1]]", 2, (1, 0), ("wrong_format",)),
        ("[1 [2] 3]", 3, (1, 0, 2), ("wrong_format", "missing")),
        ("[3-1]", 3, (2, 0, 1), ("wrong_format", "missing")),
        ("[2", 3, (1, 0, 2), ("wrong_format", "missing")),  # cut off: a bare number that is the reply's one word
        ("3] > [2] > [1]", 3, (1, 0, 2), ("wrong_format", "missing")),  # without the prefill 3] is no identifier
        ("3 > 1 > 2", 3, (2, 0, 1), ("wrong_format",)),
        ("3, 1, 2", 3, (2, 0, 1), ("wrong_format",)),
        ("- 3\n- 1\n-2", 3, (2, 0, 1), ("wrong_format",)),
        ("doc3 > doc1", 3, (2, 0, 1), ("wrong_format", "missing")),
        ("3", 3, (2, 0, 1), ("wrong_format", "missing")),
        (" 3.\n", 3, (2, 0, 1), ("wrong_format", "missing")),
        ("20 passages are provided.", 20, tuple(range(20)), ("wrong_format", "missing")),
        ("[5] of 20 passages", 20, (4, 0, 1, 2, 3, *range(5, 20)), ("wrong_format", "missing")),
        ("[99] then 2, 1", 2, (0, 1), ("wrong_format", "missing", "out_of_range")),  # a bracket occurs: nothing bare is read
        ("I'm sorry, I can't do that.", 3, (0, 1, 2), ("wrong_format", "missing")),
        ("[] > []", 3, (0, 1, 2), ("wrong_format", "missing")),
        ("ðŸ˜Š", 3, (0, 1, 2), ("wrong_format", "missing")),
        ("", 3, (0, 1, 2), ("wrong_format", "missing")),
        ("[" + "9" * 10_000 + "] > [2] > [1]", 2, (1, 0), ("out_of_range",)),
        ("[" + "0" * 10_000 + "2] > [1]", 2, (1, 0), ("wrong_format",)),
        ("9" * 10_000 + " 2 1", 2, (1, 0), ("wrong_format", "out_of_range")),
        ("", 0, (), ("ok",)),
        (" \n", 0, (), ("ok",)),
        ("[1]", 0, (), ("out_of_range",)),
        ("none", 0, (), ("wrong_format",)),
        ("[1]", 1, (0,), ("ok",)),
        ("[1] > [1]", 1, (0,), ("repetition",)),
        ("what?", 1, (0,), ("wrong_format", "missing")),
        ("\ud800[2]\udfff > [1]", 2, (1, 0), ("wrong_format",)),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else "",
)
def test_hand_cases(reply: str, n: int, order: tuple[int, ...], outcomes: tuple[str, ...]) -> None:
    reading = parse_permutation(reply, n)
    check(reading, n)
    assert (reading.order, reading.outcomes) == (order, outcomes)
    assert strict_permutation(reply, n) == (order if outcomes == ("ok",) else None)


@pytest.mark.parametrize(
    ("reply", "order", "outcomes"),
    [
        ("［２］ ＞ ［３］ ＞ ［１］", (1, 2, 0), ("wrong_format",)),
        ("[２] > [③] > [¹]", (1, 2, 0), ("wrong_format",)),
        ("【2】【3】【1】", (1, 2, 0), ("wrong_format",)),
        ("② > ③ > ①", (1, 2, 0), ("wrong_format",)),
        ("②③①", (1, 2, 0), ("wrong_format",)),  # each circle is a number of its own
        ("❷ ➂ ⒈", (1, 2, 0), ("wrong_format",)),
        ("[٢] > [३] > [𝟏]", (1, 2, 0), ("wrong_format",)),
        ("[\u200b2\u200b] > [3] > [1]", (1, 2, 0), ("wrong_format",)),
        ("[½] > [²½] > [Ⅲ]", (0, 1, 2), ("wrong_format", "missing")),  # no bracket holds a whole number, and one bare 2 is no order
    ],
)
def test_digits_of_other_scripts(reply: str, order: tuple[int, ...], outcomes: tuple[str, ...]) -> None:
    reading = parse_permutation(reply, 3)
    check(reading, 3)
    assert (reading.order, reading.outcomes) == (order, outcomes)
    assert strict_permutation(reply, 3) is None


def test_characters_of_several_digits() -> None:
    """The reference looks the character's name up and fails on tokens that are not one digit."""
    assert parse_permutation("[⑫] > [⒒] > ⑳", 20).order[:2] == (11, 10)
    assert parse_permutation("⑫ ⑾ ⓴ ㊿", 20).order[:3] == (11, 10, 19)
    assert parse_permutation("[¹²] > [1₀]", 20).order[:2] == (11, 9)


def test_every_character_has_a_plain_form() -> None:
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        short = plain_character(c)
        assert len(short) <= 20  # there are signs for a hundred million and more
        if c.isascii():
            assert short == c
        decimal = unicodedata.decimal(c, None)
        assert decimal is None or short == str(decimal)


def test_reference_that_reads_any_digit() -> None:
    reply = "Of the 3 passages, passage 1 is off topic, so: [2] > [3] > [1]"
    assert parse_permutation(reply, 3).order == (1, 2, 0)
    assert parse_permutation("Query of 2023: [2] > [1]", 3).order == (1, 0, 2)


@pytest.mark.parametrize(
    ("reply", "n", "order", "outcomes"),
    [
        ("[B] > [C] > [A]", 3, (1, 2, 0), ("ok",)),
        ("[B] > [C] > [A] > [B]", 3, (1, 2, 0), ("repetition",)),
        ("[B]", 3, (1, 0, 2), ("missing",)),
        ("[Z] > [B] > [A]", 2, (1, 0), ("out_of_range",)),
        ("[B, C, A]", 3, (1, 2, 0), ("wrong_format",)),
        ("B > C > A", 3, (1, 2, 0), ("wrong_format",)),
        ("BCA", 3, (0, 1, 2), ("wrong_format", "missing")),  # the reference glues letters; these are one word
        ("B>C>A", 3, (1, 2, 0), ("wrong_format",)),
        ("[BC] > [A]", 3, (0, 1, 2), ("missing", "wrong_format")),  # [BC] is no letter
        ("B", 3, (1, 0, 2), ("wrong_format", "missing")),
        ("Ｂ ＞ Ⓒ ＞ Ａ", 3, (1, 2, 0), ("wrong_format",)),
        ("ⒷⒸⒶ", 3, (1, 2, 0), ("wrong_format",)),
        ("I can't rank these.", 20, tuple(range(20)), ("wrong_format", "missing")),
        ("I'd say C, then A", 3, (2, 0, 1), ("wrong_format", "missing")),
        ("A passage like [C] is best", 3, (2, 0, 1), ("wrong_format", "missing")),
        ("[b] > [a]", 2, (0, 1), ("wrong_format", "missing")),  # capitals are asked for
        ("[1] > [2]", 2, (0, 1), ("wrong_format", "missing")),
        ("[Ⅰ] > [B]", 9, (1, 0, *range(2, 9)), ("wrong_format", "missing")),  # a Roman one is no I
        ("ÄB C\u0301 BÄ B_ 2B", 3, (0, 1, 2), ("wrong_format", "missing")),
        ("", 0, (), ("ok",)),
    ],
)
def test_letters(reply: str, n: int, order: tuple[int, ...], outcomes: tuple[str, ...]) -> None:
    reading = parse_permutation(reply, n, identifiers="letters")
    check(reading, n)
    assert (reading.order, set(reading.outcomes)) == (order, set(outcomes))
    assert strict_permutation(reply, n, identifiers="letters") == (order if outcomes == ("ok",) else None)


@pytest.mark.parametrize(
    ("prefill", "reply", "order", "outcome"),
    [
        ("[", "3] > [2] > [1]", (2, 1, 0), "ok"),
        ("[", " 3] > [2] > [1]", (2, 1, 0), "ok"),
        ("[", "[3] > [2] > [1]", (2, 1, 0), "ok"),  # the model repeats the bracket
        ("[", "3 > [3] > [2] > [1]", (2, 1, 0), "wrong_format"),
        ("[", "3 > 2 > 1", (2, 1, 0), "wrong_format"),
        ("Answer: [", "3] > [2] > [1]", (2, 1, 0), "ok"),
        ("Answer of the 2 best: ", "[3] > [2] > [1]", (2, 1, 0), "ok"),
        ("Order of [2] lists: [", "3] > [2] > [1]", (2, 1, 0), "ok"),
        ("Order of [2] lists: ", "3, 1", (2, 0, 1), "wrong_format"),
        ("[3] > [", "2] > [1]", (2, 1, 0), "ok"),
        ("[3] > [", "[2] > [1]", (2, 1, 0), "ok"),
        ("[3] >", "[2] > [1]", (2, 1, 0), "ok"),
        ("[3] > [", "[3] > [2] > [1]", (2, 1, 0), "ok"),
        ("<think>\n\n</think>\n\n[", "3] > [2] > [1]", (2, 1, 0), "ok"),
        ("<think>\n", "[1] is short</think>\n[3] > [2] > [1]", (2, 1, 0), "ok"),
        ("<think>\n", "so [3] would come first, and [2]", (0, 1, 2), "wrong_format"),  # the thought never ended
        ("", "<think>so [3] would come first", (0, 1, 2), "wrong_format"),
        ("", "<think>[1]</think>[2]</think> [3] > [2] > [1]", (2, 1, 0), "ok"),
        ("[", "</think>3] > [2] > [1]", (2, 1, 0), "ok"),
        ("", "[3] > [2] > [1]<think>[1]", (2, 1, 0), "ok"),
    ],
)
def test_prefill_and_thoughts(prefill: str, reply: str, order: tuple[int, ...], outcome: str) -> None:
    reading = parse_permutation(reply, 3, prefill=prefill)
    assert (reading.order, reading.outcome) == (order, outcome)
    assert strict_permutation(reply, 3, prefill) == (order if outcome == "ok" else None)


def test_errors() -> None:
    for read in (parse_permutation, strict_permutation):
        with pytest.raises(InputError, match=r"n must be .* at least 0, got -1"):
            read("[1]", -1)
        with pytest.raises(InputError, match="27 documents were to be called by letters and there are 26"):
            read("[A]", 27, identifiers="letters")
        with pytest.raises(InputError, match="identifiers must be 'numbers' or 'letters', got 'roman'"):
            read("[I]", 1, identifiers="roman")  # type: ignore[arg-type]
    assert parse_permutation(" > ".join(f"[{c}]" for c in LETTERS[::-1]), 26, identifiers="letters").order == tuple(range(26))[::-1]


# Fuzz

ALPHABET = [
    *"[]0123456789> ,.-+AZ\n",
    "</think>",
    "<think>",
    "】",
    "［",
    "３",
    "²",
    "⑫",
    "½",
    "\u200b",
    "\ud800",
    "𝟗",
    "٣",
    "> [",
    "]]",
    "99999999999",
]


def fuzzed(rng: np.random.Generator, texts: list[str]) -> str:
    """A text with up to four pieces put in, left out, doubled or exchanged, and now and then any characters at all."""
    if rng.random() < 0.1:
        codes = rng.integers(0, [0x80, 0x3000, sys.maxunicode + 1][rng.integers(3)], size=rng.integers(0, 60))
        return "".join(map(chr, codes))
    text = texts[rng.integers(len(texts))]
    for kind, at, width, piece in rng.integers(0, [4, 1 << 30, 12, len(ALPHABET)], size=(rng.integers(0, 5), 4)).tolist():
        at %= len(text) + 1
        if kind == 0:
            text = text[:at] + ALPHABET[piece] + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + width :]
        elif kind == 2:
            text = text[:at] + text[at : at + width] * 2 + text[at + width :]
        else:
            text = text[:at] + ALPHABET[piece] + text[at + width :]
    return text


def fuzz(count: int, seed: int) -> Counter[str]:
    """Check so many fuzzed replies; the outcomes that were met, and how many orders were compared with the slow reader's."""
    rng = np.random.default_rng(seed)
    texts = sorted(set(real()))
    sizes = rng.choice([0, 1, 2, 5, 19, 20, 20, 20, 21, 100], size=count)
    met: Counter[str] = Counter()
    for i, n in enumerate(sizes.tolist()):
        reply = fuzzed(rng, texts)
        kind: Identifiers = "letters" if i % 10 == 0 and n <= 26 else "numbers"
        prefill = "[" if i % 2 else ""
        reading = parse_permutation(reply, n, prefill=prefill, identifiers=kind)
        check(reading, n)
        strict = strict_permutation(reply, n, prefill, identifiers=kind)
        assert strict == (reading.order if reading.outcome == "ok" else None)
        if kind == "numbers" and "think>" not in reply:
            asked = strict_oracle(reply if reply.lstrip().startswith("[") else prefill + reply, n)
            assert (None if asked is None else tuple(asked)) == strict
            if reply.isascii() and "-" not in reply and (numbers := bracketed_oracle(prefill + reply)):
                assert list(reading.order) == order_oracle(numbers, n)
                met["compared"] += 1
        met.update(reading.outcomes)
    return met


@needs_data
def test_fuzzed_replies() -> None:
    met = fuzz(20_000, 7)
    assert set(met) == {*OUTCOMES, "compared"}
    assert min(met.values()) > 500  # every outcome is met often


@pytest.mark.slow
@needs_data
def test_many_fuzzed_replies() -> None:
    assert fuzz(100_000, 8)["compared"] > 50_000


# Laws

texts = st.text(st.sampled_from("[]()0123456789>, .-AaBZ\n½②⑫３［】²\u200b\ud800") | st.characters(), max_size=80)
kinds: st.SearchStrategy[Identifiers] = st.sampled_from(["numbers", "letters"])
permutations = st.integers(1, 26).flatmap(lambda n: st.permutations(range(n)))


def named(place: int, kind: Identifiers) -> str:
    return f"[{LETTERS[place] if kind == 'letters' else place + 1}]"


@given(texts, st.integers(0, 26), texts, kinds)
@example("[1]", 0, "[", "numbers")
def test_any_text_gives_a_permutation(reply: str, n: int, prefill: str, kind: Identifiers) -> None:
    check(parse_permutation(reply, n, prefill=prefill, identifiers=kind), n)


@given(permutations, kinds, st.sampled_from([" > ", ">", "\n>\t"]), st.sampled_from(["", "[", "Best first: ["]))
def test_a_chain_is_read_back(order: list[int], kind: Identifiers, between: str, prefill: str) -> None:
    chain = between.join(named(place, kind) for place in order)
    for reply in {chain, chain[1:] if prefill else chain}:
        assert parse_permutation(reply, len(order), prefill=prefill, identifiers=kind) == Reading(tuple(order))
        assert strict_permutation(reply, len(order), prefill, identifiers=kind) == tuple(order)


@given(permutations, kinds, st.data())
def test_faults_are_counted(order: list[int], kind: Identifiers, data: st.DataObject) -> None:
    n = len(order)
    kept = data.draw(st.lists(st.sampled_from(order), unique=True, min_size=1))
    again = data.draw(st.lists(st.sampled_from(kept)))
    outside = data.draw(st.lists(st.integers(n, 25 if kind == "letters" else 10**30))) if kind == "numbers" or n < 26 else []
    chain = " > ".join(named(place, kind) for place in [*kept, *data.draw(st.permutations([*again, *outside]))])
    rest = [place for place in range(n) if place not in kept]
    expected = Reading((*kept, *rest), False, len(again), n - len(kept), len(outside))
    assert parse_permutation(chain, n, identifiers=kind) == expected
    other = parse_permutation(f"Sure! {chain.replace(' > ', ', ')}.", n, identifiers=kind)
    assert other == Reading(expected.order, True, len(again), n - len(kept), len(outside))


@given(permutations, st.sampled_from(["０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "⁰¹²³⁴⁵⁶⁷⁸⁹", "𝟘𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡"]))
def test_digits_of_any_script_are_one(order: list[int], script: str) -> None:
    chain = " > ".join(named(place, "numbers") for place in order)
    other = chain.translate({ord(str(d)): script[d] for d in range(10)})
    assert parse_permutation(other, len(order)) == Reading(tuple(order), wrong_format=True)


@given(texts)
def test_plain_is_idempotent(text: str) -> None:
    assert plain(plain(text)) == plain(text)


SLOW = ["[1", "1 ", "> ", "] > [", "[1] > ", "[A,", "A ", "</think>", "<think>", "①", "[" + "1" * 999, "[" + " " * 999, "[1" + " ,-" * 333]


@pytest.mark.parametrize("text", [*(piece * (400_000 // len(piece)) for piece in SLOW), "[" + "1" * 400_000, "[1" + " ,-" * 130_000 + "x"])
def test_time_grows_with_the_text_alone(text: str) -> None:
    started = time.process_time()
    for kind in ("numbers", "letters"):
        check(parse_permutation(text, 20, identifiers=kind), 20)
        check(parse_permutation("[1]", 20, identifiers=kind, prefill=text), 20)
    assert strict_permutation(text, 20) is None
    assert time.process_time() - started < 5  # a quarter of a second; with quadratic time minutes
