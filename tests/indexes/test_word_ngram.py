"""Rankings by n-grams against a slow scorer that follows the description word by word."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, F, Query, WordNGram
from ragkit.errors import CorruptCollectionError, InputError, UnknownNameError
from ragkit.indexes.ngram.word_part import WordPart
from ragkit.indexes.ngram.word_searcher import WordNGramSearcher

WORDS = st.sampled_from("abcdef")
TEXT = st.lists(WORDS, max_size=14).map(" ".join)


def scores(spec: WordNGram, texts: dict[str, str], question: str) -> dict[str, float]:
    """What the spec's description says, one passage and one occurrence at a time."""
    passages = {id: spec.analyzer.terms(text) for id, text in texts.items()}
    asked = spec.analyzer.terms(question)
    average = max(sum(map(len, passages.values())), 1) / max(len(passages), 1)
    grams = Counter(tuple(asked[i : i + n]) for n in range(1, spec.n + 1) for i in range(len(asked) - n + 1))

    def places(gram: tuple[str, ...], passage: list[str]) -> list[int]:
        return [i for i in range(len(passage)) if tuple(passage[i : i + len(gram)]) == gram]

    df = {gram: sum(bool(places(gram, p)) for p in passages.values()) for gram in grams}
    idf = {gram: math.log(1 + (len(passages) - n + 0.5) / (n + 0.5)) for gram, n in df.items() if n}
    worth = {
        gram: grams[gram] * (sum(idf[(t,)] for t in gram) + (spec.rarity * idf[gram] if len(gram) > 1 else 0)) for gram in idf
    }  # fmt: skip
    found = {}
    for id, passage in passages.items():
        total, taken, used = 0.0, [False] * len(passage), set[str]()
        for gram in sorted(worth, key=lambda g: (-worth[g], -len(g), g)):
            tf = 0
            for i in places(gram, passage):
                if not any(taken[i : i + len(gram)]):
                    taken[i : i + len(gram)] = [True] * len(gram)
                    tf += 1
            if tf:
                new = len(set(gram) - used) / len(set(gram))
                used |= set(gram)
                saturated = tf * (spec.k1 + 1) / (tf + spec.k1 * (1 - spec.b + spec.b * len(passage) / average))
                total += worth[gram] * saturated * (1 - spec.novelty + spec.novelty * new)
        if total:
            found[id] = total
    return found


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(TEXT, min_size=1, max_size=6), second=st.lists(TEXT, max_size=3), gone=st.sets(st.integers(0, 8), max_size=3),
    question=TEXT, n=st.integers(1, 5), rarity=st.sampled_from([0.0, 0.6, 2.0]), novelty=st.sampled_from([0.0, 0.8, 1.0]),
)  # fmt: skip
def test_what_the_description_says(
    first: list[str], second: list[str], gone: set[int], question: str, n: int, rarity: float, novelty: float
) -> None:
    spec = WordNGram(language="none", n=n, rarity=rarity, novelty=novelty)
    with tempfile.TemporaryDirectory() as scratch:
        c = Collection.create(Path(scratch, "c"), indexes=[spec], chunker=None)
        texts = {str(i): text for i, text in enumerate([*first, *second])}
        c.add([Document(texts[str(i)], id=str(i)) for i in range(len(first))])
        c.add([Document(texts[str(i)], id=str(i)) for i in range(len(first), len(texts))])
        c.delete([str(i) for i in gone])
        texts = {id: text for id, text in texts.items() if int(id) not in gone}
        if not texts:
            return
        expected = scores(spec, texts, question)
        found = {hit.id: hit.score for hit in c.search(question, k=20)}
        assert found == pytest.approx(expected, rel=1e-5)
        some = {hit.id: hit.score for hit in c.search(question, k=20, where=F.id.in_(["0", "3", "7"]))}
        assert some == pytest.approx({id: s for id, s in expected.items() if id in ("0", "3", "7")}, rel=1e-5)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, dict[str, str]]:
    rng = np.random.default_rng(4)
    words = [f"w{i}" for i in range(90)]
    share = 1 / np.arange(1, 91)
    texts = {f"{n:03d}": " ".join(rng.choice(words, int(rng.integers(1, 60)), p=share / share.sum()).tolist()) for n in range(400)}
    c = Collection.create(tmp_path_factory.mktemp("words") / "c", indexes=[WordNGram(language="none")], chunker=None)
    c.add([Document(text, id=id) for id, text in texts.items()])
    return c, texts


def test_a_segment_with_files_of_its_own(large: tuple[Collection, dict[str, str]]) -> None:
    c, texts = large
    assert c.version.views[0].entry.indexes == ("word_ngram",)
    spec = c.version.spec("word_ngram")
    questions = ["w0 w1", "w5 w9 w5 w9 w5", texts["007"], " ".join(f"w{i}" for i in range(90)), "w70 nowhere w71", "nowhere", ""]
    run = c.search(questions, k=400)
    for q, question in enumerate(questions):
        expected = scores(spec, texts, question)  # type: ignore[arg-type]
        assert run.to_dict()[str(q)] == pytest.approx(expected, rel=1e-5)
        assert [h.score for h in c.search(question, k=3)] == pytest.approx(sorted(expected.values(), reverse=True)[:3], rel=1e-5)
    assert c.search(texts["007"])[0].id == "007"  # who is quoted comes first


def test_damaged_files_are_refused(large: tuple[Collection, dict[str, str]], tmp_path: Path) -> None:
    c, texts = large
    WordPart.load(c.version.views[0].folder / "word_ngram", len(texts)).save(tmp_path)
    for name, damage in (("suffixes", -1), ("suffixes", 1 << 30), ("starts", 1 << 40), ("starts", 0)):
        whole = np.load(tmp_path / f"{name}.npy")
        damaged = whole.copy()
        damaged[-1] = damage
        np.save(tmp_path / f"{name}.npy", damaged)
        with pytest.raises(CorruptCollectionError, match="holds no suffixes of the tokens of 400 documents"):
            WordPart.load(tmp_path, len(texts))
        np.save(tmp_path / f"{name}.npy", whole)
    with pytest.raises(CorruptCollectionError):
        WordPart.load(tmp_path, len(texts) + 1)


def test_settings_are_checked() -> None:
    for wrong in ({"n": 0}, {"novelty": 1.5}, {"rarity": -1}, {"k1": -1}, {"b": 2}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            WordNGram(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no language is called 'xx'"):
        WordNGram(language="xx")


def test_with_single_words_and_bm25s_settings_it_ranks_as_bm25_does(large: tuple[Collection, dict[str, str]], tmp_path: Path) -> None:
    _, texts = large
    specs = [BM25(k1=0.9, b=0.4, language="en", ignore_function_words=False), WordNGram(n=1, k1=0.9, b=0.4, language="en")]
    c = Collection.create(tmp_path / "c", indexes=specs, chunker=None)
    c.add([Document(text, id=id) for id, text in texts.items()])
    for question in ("w0 w1 w8", "w5 w9 w5", texts["011"]):
        bm25, ngram = ({h.id: h.score for h in c.search(question, k=400, using=name)} for name in ("bm25", "word_ngram"))
        assert ngram == pytest.approx({id: score * 1.9 for id, score in bm25.items()}, rel=1e-4)  # Lucene leaves out k1 + 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_that_is_not_seen_leads_out_of_no_array(large: tuple[Collection, dict[str, str]], data: st.DataObject) -> None:
    """Suffixes in a wrong order, and passages that lie anywhere: scores are wrong then, and nothing else is."""
    c, texts = large
    part = WordPart.load(c.version.views[0].folder / "word_ngram", len(texts))
    n = len(part.index.tokens)
    suffixes = part.index.suffixes.copy()
    for at in data.draw(st.lists(st.integers(0, n - 1), max_size=300)):
        suffixes[at] = data.draw(st.sampled_from([0, n - 1, n - 2, 5]))
    suffixes.flags.writeable = False
    damaged = WordPart(part.terms, replace(part.index, suffixes=suffixes))
    spec = WordNGram(language="none")
    _, rows, scores = WordNGramSearcher(spec, [(damaged, None)]).search([Query("0", texts["007"])], k=400, allow=[None])
    assert len(rows) == len(set(rows.tolist()))
    assert np.isfinite(scores).all()
