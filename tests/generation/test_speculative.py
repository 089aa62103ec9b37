"""Speculative decoding: the same text as without, whatever is drafted; drafters against slow ones; reports; refusals."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.generation import Choices
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.tokens import TokenSuffixes
from tests.generation.drafters import Free, Scattered
from tests.generation.tiny_models import CORPUS, gpt2, llama, mistral, one_thread, qwen2, torch

from ragkit.generation.local.packed import pack  # isort: skip
from ragkit.generation.local.transformers_model import TransformersModel, load_transformers  # isort: skip
from ragkit.generation.speculative.draft import Draft, Request, Verified  # isort: skip
from ragkit.generation.speculative.draft_model import DraftModel  # isort: skip
from ragkit.generation.speculative.fused import Fused  # isort: skip
from ragkit.generation.speculative.infinity_gram import InfinityGramDrafter  # isort: skip
from ragkit.generation.speculative.rasd import RASD  # isort: skip
from ragkit.generation.speculative.rest import REST  # isort: skip
from ragkit.generation.speculative.speculator import Speculator  # isort: skip
from ragkit.generation.speculative.suffix_automaton import SuffixAutomatonDrafter  # isort: skip
from ragkit.generation.speculative.token_recycling import TokenRecycling, static_tree  # isort: skip
from ragkit.generation.speculative.tri_gram import TriGramDrafter  # isort: skip
from ragkit.generation.speculative.vocab_trim import frequent_tokens  # isort: skip
from ragkit.generation.types import Sources  # isort: skip

__all__ = ["one_thread"]

SHAPES = {"llama": llama, "qwen2": qwen2}
DRAFTERS = ("suffix automaton", "REST", "token recycling", "infinity-gram", "tri-grams", "draft model", "RASD", "fused")
WORDS = " ".join(CORPUS).split()


class Telling(TransformersModel):
    """Keeps the tokens of each text that it writes."""

    told: list[list[int]]

    def _completion(self, row: Any, *more: Any) -> Any:
        self.told = [*getattr(self, "told", []), list(row.tokens)]
        return super()._completion(row, *more)


def model_of(shape: str, seed: int = 7, attention: str = "sdpa", **more: Any) -> Telling:
    """Random weights whose texts are not constant."""
    made, tokenizer = {**SHAPES, "gpt2": gpt2, "mistral": mistral}[shape](attention, seed)
    return Telling(made, tokenizer, name=shape, prefix_cache=False, **more)


def speculating(plain: TransformersModel, *drafters: Any, most: int = 64, free: bool = True) -> Telling:
    """The same model with drafts; every draft is verified."""
    made = Telling(plain.net.model, plain.tokens.tokenizer, name=plain.name, prefix_cache=False, speculate=Fused(*drafters))
    if free:
        made._speculator = Speculator(
            tuple(Fused(*drafters)), width=made.net.width, ends=made.ends, most=most, trees=made.net.reads_blocks, timed=Free
        )  # fmt: skip
    return made


def prompts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 30)))) for _ in range(count)]


def corpus_of(model: TransformersModel) -> TokenSuffixes:
    return TokenSuffixes.build([model.tokens.plain(t) for t in CORPUS])


def drafters_for(model: TransformersModel, shape: str) -> dict[str, Any]:
    """Every drafter that there is, alone and together."""
    corpus, small = corpus_of(model), DraftModel(model_of(shape, seed=9), depth=4)
    each = {
        "suffix automaton": SuffixAutomatonDrafter(),
        "REST": REST(corpus),
        "token recycling": TokenRecycling(),
        "infinity-gram": InfinityGramDrafter(InfinityGram(corpus), shortest=2, share=0.2),
        "tri-grams": TriGramDrafter([corpus.tokens[1:-1]], slots=1 << 10),
        "draft model": small,
        "RASD": RASD(small, SuffixAutomatonDrafter(), k=50),
    }
    return {**each, "fused": Fused(SuffixAutomatonDrafter(), REST(corpus), TokenRecycling(), TriGramDrafter(slots=1 << 10), small)}


def same_texts(plain: Telling, drafted: Telling, asked: Sequence[str], **how: Any) -> int:
    """Tokens written; asserts that both write the same, but for ties."""
    gaps, tokens = gaps_where_they_part(plain, drafted, asked, **how)
    assert all(gap < 1e-4 for gap in gaps), gaps
    assert len(gaps) <= tokens / 10_000
    return tokens


def gaps_where_they_part(plain: Telling, drafted: Telling, asked: Sequence[str], **how: Any) -> tuple[list[float], int]:
    """(difference of the two best plain logits where two texts part, for each that does; tokens written)."""
    gaps, tokens = [], 0
    for prompt in asked:
        (expected,), (found,) = (m.generate([prompt], **how) for m in (plain, drafted))
        tokens += expected.usage.generated_tokens
        if (found.text, found.finish) != (expected.text, expected.finish):
            same = sum(itertools.takewhile(bool, map(operator.eq, plain.told[-1], drafted.told[-1])))
            gaps.append(gap_after(plain, prompt, same))
    return gaps, tokens


def gap_after(plain: TransformersModel, prompt: str, tokens: int) -> float:
    """The difference of the two best logits after so many greedy tokens."""
    for opened in plain._open([plain.encode(prompt)], tokens + 1):
        logits = opened.batch.start()[0, -1]
        for _ in range(tokens):
            logits = opened.batch.step([int(logits.argmax())])[0]
        best = logits.topk(2).values
        return float(best[0] - best[1])
    raise AssertionError


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chain", [False, True], ids=["tree", "chain"])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0], ids=["wrong", "mixed", "right"])
def test_any_tree_gives_the_same_text(shape: str, chain: bool, share: float) -> None:
    plain = model_of(shape)
    asked = prompts(8, 3)
    right = {tuple(plain.encode(p)): tokens_of(plain, p, 40) for p in asked}
    drafted = speculating(plain, Scattered(right, share, width=plain.net.width, chain=chain))
    assert same_texts(plain, drafted, asked, max_tokens=40) > 200
    done = [drafted.generate([p], max_tokens=40)[0] for p in asked]
    reports = [c.speculation for c in done]
    assert all(r is not None and r.tokens == c.usage.generated_tokens for r, c in zip(reports, done, strict=True))
    accepted = sum(sum(r.accepted.values()) for r in reports if r)
    assert (accepted > 100) == (share > 0.5)
    assert share > 0 or accepted < 30
    assert all(sum(r.depths) == sum(r.accepted.values()) for r in reports if r)


def tokens_of(model: TransformersModel, prompt: str, count: int) -> list[int]:
    """Greedy tokens, the end included."""
    ids = model.encode(prompt)
    out: list[int] = []
    for opened in model._open([ids], count):
        logits = opened.batch.start()[0, -1]
        while len(out) < count:
            out.append(int(logits.argmax()))
            if out[-1] in model.ends:
                break
            logits = opened.batch.step([out[-1]])[0]
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", ["suffix automaton", "REST", "token recycling", "infinity-gram", "tri-grams", "draft model", "RASD", "fused"]
)
def test_drafters_change_no_text(shape: str, name: str) -> None:
    plain = model_of(shape)
    drafted = speculating(plain, drafters_for(plain, shape)[name])
    assert same_texts(plain, drafted, prompts(6, 11), max_tokens=32) > 100


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_two_thousand_texts_are_the_same(shape: str) -> None:
    """A thousand for each shape: every drafter, as trees and as chains, in float32."""
    plain = model_of(shape)
    chosen = drafters_for(plain, shape)
    tokens = 0
    for number, drafter in enumerate(chosen.values()):
        for trees in (True, False):
            drafted = speculating(plain, drafter)
            assert drafted._speculator is not None
            drafted._speculator.trees = trees
            tokens += same_texts(plain, drafted, prompts(63, 100 + 2 * number + trees), max_tokens=40)
    assert tokens > 1000 * 20


@pytest.mark.parametrize("shape", SHAPES)
def test_in_bfloat16_texts_part_only_at_near_ties(shape: str) -> None:
    """Numbers of eight bits differ by how many tokens a pass reads: a quarter of such texts part, where two tokens are nearly equal."""
    plain = model_of(shape)
    plain.net.model.to(torch.bfloat16)
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling())
    gaps, tokens = gaps_where_they_part(plain, drafted, prompts(30, 8), max_tokens=40)
    assert tokens > 1000
    assert all(gap <= 0.1 for gap in gaps)
    assert len(gaps) <= 15


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shape", ["llama", "qwen2", "gpt2", "mistral"])
def test_every_shape_and_attention(shape: str, attention: str) -> None:
    """Sliding windows (mistral) are given chains, and read past their window."""
    plain = model_of(shape, attention=attention)
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling())
    assert same_texts(plain, drafted, prompts(5, 5), max_tokens=40) > 60
    assert drafted._speculator is not None
    assert drafted._speculator.trees == (shape != "mistral")


@pytest.mark.parametrize("drawn", [False, True], ids=["guessed", "drawn"])
@pytest.mark.parametrize("shape", ["llama", "mistral"])
def test_a_model_that_drafts_for_itself_is_always_right(shape: str, drawn: bool) -> None:
    """Also past a sliding window, and however much of what it read ahead is taken back."""
    plain = model_of(shape)
    drafted = speculating(plain, DraftModel(plain, depth=4, branches=1, drawn=drawn))
    asked = next(p for p in prompts(20, 5) if len(tokens_of(plain, p, 40)) == 40 and len(plain.encode(p)) < 16)
    how: dict[str, Any] = {"max_tokens": 40, "temperature": 0.7, "seed": 3} if drawn else {"max_tokens": 40}
    (done,) = drafted.generate([asked], **how)
    report = done.speculation
    assert report is not None
    assert done.usage.generated_tokens < 40 or report.passes == 8  # five a pass behind the first
    assert sum(report.accepted.values()) == report.drafted - max(0, report.drafted - 4 * report.passes)


class Watching(SuffixAutomatonDrafter):
    """Keeps what it is told."""

    name: ClassVar[str] = "watching"
    reads_hidden: ClassVar[bool] = True
    told: ClassVar[list[Verified]] = []

    def begin(self, request: Request) -> Any:
        drafting, told = super().begin(request), self.told

        class Told:
            propose, passage_of = staticmethod(drafting.propose), staticmethod(drafting.passage_of)

            def observe(self, verified: Verified) -> None:
                told.append(verified)
                drafting.observe(verified)

        return Told()


@pytest.mark.parametrize("shape", ["qwen2", "mistral"])
def test_hidden_states_are_those_that_the_logits_are_made_of(shape: str) -> None:
    plain = model_of(shape)
    watching = Watching()
    watching.told.clear()
    assert same_texts(plain, speculating(plain, watching), prompts(7, 21), max_tokens=40) > 60
    head = plain.net.model.get_output_embeddings().weight.detach()
    assert any(len(v.path) > 1 for v in watching.told)
    for verified in watching.told:
        assert verified.hidden.shape == (max(1, len(verified.tokens)), plain.net.hidden)
        if verified.logits is not None:
            torch.testing.assert_close(verified.hidden @ head.T, verified.logits)
        assert int((head @ verified.hidden[verified.path[-1] if verified.path else 0]).argmax()) == verified.written[-1]


@pytest.mark.parametrize("shape", ["llama", "qwen2", "mistral"])
def test_batches_of_rows_that_go_at_different_speeds(shape: str) -> None:
    plain = model_of(shape)
    asked = prompts(7, 21)
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling())
    for logprobs in (False, True):
        expected = plain.generate(asked, max_tokens=40, logprobs=logprobs)
        found = drafted.generate(asked, max_tokens=40, logprobs=logprobs)
        assert [(c.text, c.finish) for c in found] == [(c.text, c.finish) for c in expected]
        for a, b in zip(found, expected, strict=True):
            assert [t.logprob for t in a.logprobs] == pytest.approx([t.logprob for t in b.logprobs], abs=1e-3)
    assert all(c.speculation is not None for c in found)
    assert sum(sum(c.speculation.accepted.values()) for c in found if c.speculation) > 20 or shape == "mistral"
    assert bool(found[0].speculation and found[0].speculation.notes) == (shape == "mistral")


@given(
    seed=st.integers(0, 10**6), temperature=st.sampled_from([0.3, 1.0, 1.7]), top_p=st.sampled_from([0.5, 0.9, 1.0]), rows=st.integers(1, 3)
)
@settings(max_examples=25, deadline=None)
def test_guessed_drafts_change_no_random_number(seed: int, temperature: float, top_p: float, rows: int) -> None:
    """Drawn texts are the same for the same seed, which is more than the same in distribution."""
    plain = model_of("qwen2")
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling(), DraftModel(model_of("qwen2", seed=9), depth=3))
    how: dict[str, Any] = {"max_tokens": 16, "temperature": temperature, "top_p": top_p, "seed": seed}
    asked = prompts(rows, seed)
    assert [c.text for c in drafted.generate(asked, **how)] == [c.text for c in plain.generate(asked, **how)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_limits_stops_ends_and_constraints_in_the_middle_of_a_draft(limit: int) -> None:
    plain = model_of("llama")
    asked = prompts(6, 31)
    right = {tuple(plain.encode(p)): tokens_of(plain, p, 60) for p in asked}
    drafted = speculating(plain, Scattered(right, 0.9, width=plain.net.width, chain=False), SuffixAutomatonDrafter())
    same_texts(plain, drafted, asked, max_tokens=limit)
    for prompt in asked:
        text = plain.generate([prompt], max_tokens=40)[0].text
        for at in (1, len(text) // 2):
            stop = [text[at : at + 1 + limit]] if text[at : at + 1 + limit] else ["?"]
            for count in (40, 400):
                (expected,), (found,) = (m.generate([prompt], max_tokens=count, stop=stop) for m in (plain, drafted))
                assert (found.text, found.finish) == (expected.text, expected.finish)
        choice = Choices(["yes, it is", "no, never", "true"])
        (expected,), (found,) = (m.generate([prompt], constraint=choice) for m in (plain, drafted))
        assert found.text == expected.text
        assert "".join(drafted.stream(prompt, max_tokens=limit, seed=3)) == plain.generate([prompt], max_tokens=limit)[0].text


def test_an_end_inside_a_draft_ends_the_text() -> None:
    plain = model_of("qwen2")
    asked = next(p for p in prompts(200, 41) if plain.generate([p], max_tokens=60)[0].finish == "stop")
    right = {tuple(plain.encode(asked)): tokens_of(plain, asked, 60)}
    drafted = speculating(plain, Scattered(right, 1.0, width=plain.net.width, chain=True))
    assert drafted.generate([asked], max_tokens=60)[0].finish == "stop"
    same_texts(plain, drafted, [asked], max_tokens=60)


def test_a_full_context_ends_the_draft() -> None:
    plain = model_of("llama", context=40)
    prompt = " ".join(WORDS[:12])
    left = 40 - plain.count_tokens(prompt)
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling())
    same_texts(plain, drafted, [prompt], max_tokens=left)


def test_the_prefix_cache_stays_clean() -> None:
    plain = model_of("llama")
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling())
    kept = TransformersModel(
        plain.net.model, plain.tokens.tokenizer, name="kept", speculate=Fused(SuffixAutomatonDrafter(), TokenRecycling())
    )
    kept._speculator = drafted._speculator
    shared = " ".join(WORDS[:60])
    for end in ("pump", "gasket", "pump", "year"):
        (expected,), (found,) = plain.generate([f"{shared} {end}"], max_tokens=30), kept.generate([f"{shared} {end}"], max_tokens=30)
        assert found.text == expected.text
    assert found.usage.cached_tokens > 0


def test_what_passages_say_is_named_and_verbatim() -> None:
    plain = model_of("qwen2")
    drafted = speculating(plain, SuffixAutomatonDrafter())
    named = 0
    for n, prompt in enumerate(prompts(12, 51)):
        passages = (plain.generate([prompt], max_tokens=30)[0].text, CORPUS[n % 6], "阀门 öffnet 阀门")
        (completion,) = drafted.generate([prompt], max_tokens=40, sources=[Sources(passages)])
        assert completion.text == plain.generate([prompt], max_tokens=40)[0].text
        report = completion.speculation
        assert report is not None
        for run in report.runs:
            assert 0 <= run.start < run.end <= report.tokens
            if run.passage is not None:
                assert run.at is not None
                assert run.text
                assert passages[run.passage][run.at : run.at + len(run.text)] == run.text
                assert run.text in completion.text
                named += len(run.text)
    assert named > 100


def test_models_that_cannot_go_back_are_refused_by_name() -> None:
    import transformers

    tokenizer = llama()[1]
    config = transformers.LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    with pytest.raises(InputError, match="'moving' can't speculate: its rotary embedding, which moves with the length"):
        TransformersModel(model, tokenizer, name="moving", speculate="passages")
    assert "speculation" not in TransformersModel(model, tokenizer, name="moving", speculate="auto").features
    mamba = transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=600, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=2)
    ).eval()
    with pytest.raises(InputError, match="'mamba' can't speculate: its recurrent layers can't forget"):
        TransformersModel(mamba, tokenizer, name="mamba", speculate=TokenRecycling())


def test_bad_input_is_named() -> None:
    model, tokenizer = qwen2()
    with pytest.raises(InputError, match="speculate must be 'auto'"):
        TransformersModel(model, tokenizer, name="m", speculate="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="str is no drafter"):
        TransformersModel(model, tokenizer, name="m", speculate=Fused("REST"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two drafters are called 'passages'"):
        Fused(SuffixAutomatonDrafter(), SuffixAutomatonDrafter(3))
    other = TransformersModel(model, tokenizer, name="m", speculate=DraftModel(model_of("llama")))
    with pytest.raises(InputError, match="'llama' can't draft here: it cuts texts into other tokens"):
        other.generate(["The pump"])
    speculating_model = TransformersModel(model, tokenizer, name="m", speculate="auto")
    with pytest.raises(InputError, match="1 sources were given for 2 prompts"):
        speculating_model.generate(["a", "b"], sources=[Sources()])
    assert speculating_model.generate(["The pump"], max_tokens=4, sources=[Sources(("", " "))])[0].text
    for bad, why in (
        (([1, 1], [-1, -1]), "two children with one token"),
        (([1, 2], [1, -1]), "must come behind its parent"),
        (([-1], [-1]), "tokens must be 0 or more"),
        (([1], []), "needs as many parents"),
    ):
        with pytest.raises(InputError, match=why):
            Draft.of(*bad)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_trimmed_head_drafts_the_same_tokens_or_none(shape: str, packed: bool) -> None:
    model = model_of(shape, seed=9)
    if packed:
        pack(model.net.model)
    ids = model.encode("The pump has two gaskets")
    whole = DraftModel(model, depth=4).begin(Request(ids, width=model.net.width))
    everything = DraftModel(model, depth=4, vocabulary=tuple(range(model.net.width))).begin(Request(ids, width=model.net.width))
    assert everything.propose(budget()).tokens.tolist() == whole.propose(budget()).tokens.tolist()
    few = frequent_tokens([model.tokens.plain(t) for t in CORPUS], 40, always=model.ends)
    draft = DraftModel(model, depth=4, vocabulary=few).begin(Request(ids, width=model.net.width)).propose(budget())
    assert len(draft) >= 4
    assert set(draft.tokens.tolist()) <= set(few)
    plain = model_of(shape)
    same_texts(plain, speculating(plain, DraftModel(model, depth=4, vocabulary=few)), prompts(4, 61), max_tokens=24)
    with pytest.raises(InputError, match="the tokens to keep must be from 0"):
        DraftModel(model, vocabulary=(5, 10_000)).begin(Request(ids))
    with pytest.raises(InputError, match="at least one token must be kept"):
        frequent_tokens([[1]], 0)


def test_large_vocabularies_are_drafted_from() -> None:
    """Tokens above 65,535, which 16 bits don't hold."""
    corpus = TokenSuffixes.build([[70_000, 151_000, 99_999, 70_001] * 4])
    drafting = REST(corpus).begin(Request([5, 70_000, 151_000], width=152_000))
    draft = drafting.propose(budget())
    assert draft.tokens[:2].tolist() == [99_999, 70_001]
    copying = SuffixAutomatonDrafter().begin(Request([151_000, 99_999, 7, 151_000], width=152_000))
    assert copying.propose(budget()).tokens[:2].tolist() == [99_999, 7]


def budget(nodes: int = 32, depth: int = 8) -> Any:
    from ragkit.generation.speculative.draft import Budget

    return Budget(nodes, depth)


def test_the_static_tree_is_that_of_the_paper() -> None:
    parents, ranks = static_tree()
    depths = np.zeros(80, int)
    for i, p in enumerate(parents):
        depths[i] = 0 if p < 0 else depths[p] + 1
    assert np.bincount(depths).tolist() == [8, 21, 25, 15, 8, 3]
    assert len({*zip(parents.tolist(), ranks.tolist(), strict=True)}) == 80


@pytest.mark.slow
def test_a_real_pair_of_models() -> None:
    """docs-1m drafts for docs-7m: the same texts, and as many of its tokens are right as the two models' own README says."""
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))
    if not folder.is_dir():
        pytest.skip(f"no real models at {folder} (RAGKIT_MODELS)")
    plain = load_transformers(str(folder / "docs-7m"), dtype="float32")
    assert isinstance(plain, TransformersModel)
    drafted = speculating(plain, SuffixAutomatonDrafter(), TokenRecycling(), DraftModel(str(folder / "docs-1m")))
    asked = ["The std::vector class", "# Pointers\n\nA pointer is", "To convert a string to an integer, call"]
    assert same_texts(plain, drafted, asked, max_tokens=100) > 200
    assert torch.get_num_threads() >= 1
