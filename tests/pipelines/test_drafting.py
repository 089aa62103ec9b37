"""The reader brings what it has found to a model that speculates: the same answer, and where its words stand in the documents."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from ragkit import BM25, Collection, Document, LLMReader, Speculation, TokenNGram
from ragkit.errors import InputError
from ragkit.pipelines.answer_prompt import AnswerPrompt
from tests.generation.drafters import Free
from tests.generation.tiny_models import CORPUS, one_thread

from ragkit.generation.local.transformers_model import TransformersModel, load_transformers  # isort: skip
from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Verified  # isort: skip
from ragkit.generation.speculative.drafters import RAPID, REST, Fused, Judge, QualityGate, SuffixAutomatonDrafter  # isort: skip
from ragkit.generation.speculative.speculator import Speculator  # isort: skip

__all__ = ["one_thread"]

PROMPT = AnswerPrompt(system="", user="{context} {question} {not_found}")


def models() -> tuple[TransformersModel, TransformersModel, Path]:
    """(a model, the same with drafts, all of which are verified, its tokenizer's folder)."""
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))
    if not folder.is_dir():
        pytest.skip(f"no real models at {folder} (RAGKIT_MODELS)")
    plain = load_transformers(str(folder / "docs-7m"), dtype="float32")
    assert isinstance(plain, TransformersModel)
    drafted = TransformersModel(plain.net.model, plain.tokens.tokenizer, name="drafted", speculate="corpus")
    chosen = tuple(Fused(SuffixAutomatonDrafter(), REST()))
    drafted._speculator = Speculator(chosen, width=plain.net.width, ends=plain.ends, timed=Free)
    return plain, drafted, folder / "docs-7m"


def collection(tmp_path: Path, tokenizer: Path, structure: str = "suffix-array") -> Collection:
    made = Collection.create(tmp_path / f"c-{structure}", indexes=[BM25(), TokenNGram(str(tokenizer), structure=structure)])  # type: ignore[arg-type]
    for n, text in enumerate(CORPUS[:6]):  # a segment each
        made.add([Document(f"# {n}\n\n{text}", id=f"{n}.md")])
    return made


@pytest.mark.parametrize("streamed", [False, True])
def test_answers_are_the_same_and_say_where_their_words_stand(tmp_path: Path, streamed: bool) -> None:
    plain, drafted, tokenizer = models()
    made = collection(tmp_path, tokenizer)
    named = accepted = 0
    for question in ("How often is the gasket replaced?", "Which passage answers best?", "what is true or false"):
        answers = []
        for model in (plain, drafted):
            reader = LLMReader(model, max_tokens=100, prompt=PROMPT, budget=60)
            if streamed:
                answers.append(list(made.stream(question, reader=reader, using="bm25"))[-1].answer)
            else:
                answers.append(made.ask(question, reader=reader, using="bm25"))
        assert "speculation" not in answers[0].trace
        report = answers[1].trace["speculation"]
        assert report["tokens"] == answers[1].trace["usage"]["generated_tokens"]
        accepted += sum(report["accepted"].values())
        for run in report["runs"]:
            if "document" in run:
                assert made.get(run["document"]).text[run["from"] : run["to"]] == run["text"]
                named += 1
        shown = Speculation.of(answers[1])
        assert shown.to_dict() == report == json.loads(json.dumps(report))
        assert "".join(piece.text for piece in shown.pieces) == shown.text
        for run in shown.runs:
            if run.document is not None and run.begin is not None:
                assert f"{run.document} {run.begin}–{run.begin + len(run.text)}" in shown._repr_html_()
    assert accepted > 30
    assert named > 2


def test_a_collection_of_several_segments_is_one_corpus(tmp_path: Path) -> None:
    plain, _, tokenizer = models()
    made = collection(tmp_path, tokenizer)
    searcher = made.version.searcher("token_ngram")
    cut = [plain.tokens.plain(f"# {n}\n\n{text}") for n, text in enumerate(CORPUS[:6])]
    rng = np.random.default_rng(5)
    placed = 0
    for _ in range(60):
        d = int(rng.integers(6))
        at = int(rng.integers(1, len(cut[d]) - 1))
        context = cut[d][max(0, at - int(rng.integers(1, 6))) : at]
        found = searcher.continuations(context, most=64, length=4)  # type: ignore[attr-defined]
        wanted = sorted(
            (document[i : i + 4] + [-1] * 4)[:4]
            for document in cut
            for i in range(len(context), len(document) + 1)
            if document[i - len(context) : i] == context
        )
        assert found.matched == len(context)
        assert sorted(found.tokens.tolist()) == wanted
        for row, place in zip(found.tokens, found.places.tolist(), strict=True):
            if (at_row := searcher.row_at(place)) is not None:  # type: ignore[attr-defined]
                (passage,) = made.version.passages(np.array([at_row]))
                document = cut[int(passage.document[0])]
                tokens = [int(t) for t in row if t >= 0]
                assert any(document[i : i + len(tokens)] == tokens for i in range(len(document)))
                placed += 1
    assert placed > 100
    assert searcher.continuations([8000], most=4, length=4).matched == 0  # type: ignore[attr-defined]


def test_words_from_the_corpus_name_their_document_while_it_is_there(tmp_path: Path) -> None:
    plain, _, tokenizer = models()
    drafted = TransformersModel(plain.net.model, plain.tokens.tokenizer, name="drafted", speculate=REST())
    drafted._speculator = Speculator((REST(),), width=plain.net.width, ends=plain.ends, timed=Free)
    made = collection(tmp_path, tokenizer)
    reader = LLMReader(drafted, max_tokens=100, prompt=PROMPT, budget=60)

    def named() -> list[str]:
        report = made.ask("How often is the gasket replaced?", reader=reader, using="bm25").trace["speculation"]
        found = [run for run in report["runs"] if "document" in run]
        assert all(run["passage"] is None for run in report["runs"])
        assert all(made.get(run["document"]).text[run["from"] : run["to"]] == run["text"] for run in found)
        return [run["document"] for run in found]

    before = named()
    assert before
    made.delete(before[:1])
    assert before[0] not in named()


def test_an_fm_index_is_too_slow_to_draft_from(tmp_path: Path) -> None:
    plain, drafted, tokenizer = models()
    made = collection(tmp_path, tokenizer, "fm")
    with pytest.raises(InputError, match="drafts need TokenNGram"):
        made.version.searcher("token_ngram").continuations([5], most=4, length=4)  # type: ignore[attr-defined]
    answer = made.ask("How often is the gasket replaced?", reader=LLMReader(drafted, max_tokens=20, prompt=PROMPT, budget=60), using="bm25")
    assert answer.trace["speculation"]["accepted"]["corpus"] == 0
    assert plain.tokenizer == drafted.tokenizer


class Reading:
    """Drafts nothing, and tells what it was given to read."""

    name: ClassVar[str] = "reading"
    lossless: ClassVar[bool] = True

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def begin(self, request: Request) -> Reading:
        self.requests.append(request)
        return self

    def propose(self, budget: Budget) -> Draft:
        return EMPTY

    def observe(self, verified: Verified) -> None:
        pass

    def passage_of(self, place: int) -> None:
        pass


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("order", ["rank", "edges"])
def test_a_drafter_is_given_the_best_passages_under_their_numbers(tmp_path: Path, streamed: bool, order: str) -> None:
    plain, _, tokenizer = models()
    made, question = collection(tmp_path, tokenizer), "Which passage answers the question, and how often is the gasket replaced?"
    reading = Reading()
    model = plain.drafting(reading)
    few = LLMReader(model, max_tokens=4, prompt=PROMPT, draft_passages=2, order=order)  # type: ignore[arg-type]
    readers = [few, LLMReader(model, max_tokens=4, prompt=PROMPT, draft_passages=99), LLMReader(model, max_tokens=4, prompt=PROMPT)]
    for reader in readers:
        if streamed:
            answer = list(made.stream(question, reader=reader, using="bm25", k=4))[-1].answer
        else:
            answer = made.ask(question, reader=reader, using="bm25", k=4)
        assert answer.trace["passages"] > 2
    short, whole, none = reading.requests
    assert whole.short is None
    assert none.short is None
    assert short.short is not None
    read, shown = (plain.tokens.tokenizer.decode(list(ids)) for ids in (short.short, short.prompt))
    fences = re.findall(r"<passage \d+ .*?</passage [^>]*>", shown, re.DOTALL)
    kept = re.findall(r"<passage \d+ .*?</passage [^>]*>", read, re.DOTALL)
    assert len(kept) == 2 < len(fences)
    assert set(kept) < set(fences)
    assert kept == (fences[:2] if order == "rank" else [fences[0], fences[-1]])
    assert question in read


def test_what_a_lossy_drafter_did_is_in_the_trace(tmp_path: Path) -> None:
    plain, _, tokenizer = models()
    made, question = collection(tmp_path, tokenizer), "How often is the gasket replaced?"
    drafter = RAPID(str(tokenizer.parent / "docs-1m"), eta=20)
    reader = LLMReader(plain.drafting(drafter, allow_lossy=True), max_tokens=40, prompt=PROMPT, budget=60, draft_passages=1)
    told = made.ask(question, reader=reader, using="bm25").trace["speculation"]
    assert (told["lossless"], told["law"]) == (False, drafter.law)
    assert told["law"].startswith("softmax(log p + 20 (q - p))")
    lossless = LLMReader(plain.drafting("passages"), max_tokens=40, prompt=PROMPT, budget=60)
    told = made.ask(question, reader=lossless, using="bm25").trace["speculation"]
    assert (told["lossless"], told["law"]) == (True, "the model's own distribution")


def test_what_a_judge_let_through_is_not_cited(tmp_path: Path) -> None:
    plain, _, tokenizer = models()
    made, question = collection(tmp_path, tokenizer), "How often is the gasket replaced?"
    gate = QualityGate(plain.fingerprint, plain.fingerprint, 0.1, 0.0, 1.0, 20, plain=0.5, judged=0.5, lost_at_most=0, most_lost=0)
    reader = LLMReader(plain.drafting(Judge(plain, gate), allow_lossy=True), max_tokens=4, prompt=PROMPT)
    wanted = "can't be cited, for its drafter, judge, changes what is written"
    with pytest.raises(InputError, match=wanted):
        made.ask(question, reader=reader, using="bm25")
    with pytest.raises(InputError, match=wanted):
        list(made.stream(question, reader=reader, using="bm25"))
