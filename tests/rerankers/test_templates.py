"""Prompts of published checkpoints, letter by letter as those read them."""

from __future__ import annotations

from ragkit.generation import Message
from ragkit.rerankers.templates import LISTWISE, POINTWISE

RANK_LLM = "You are RankLLM, an intelligent assistant that can rank passages based on their relevancy to the query"
ZEPHYR = (
    "I will provide you with 2 passages, each indicated by a numerical identifier []. Rank the passages based on their relevance to the "
    "search query: how fast?.\n\n[1] one\n[2] two\nSearch Query: how fast?.\nRank the 2 passages above based on their relevance to the "
    "search query. All the passages should be included and listed using identifiers, in descending order of relevance. The output format "
    "should be [] > [], e.g., %s, Only respond with the ranking results, do not say any word or explain."
)


def test_rank_zephyr_and_rank_vicuna() -> None:
    texts = ["one", "two"]
    zephyr = LISTWISE["rank_zephyr"].build("how fast?", texts, prefill=True)
    assert zephyr == [Message("system", RANK_LLM), Message("user", ZEPHYR % "[2] > [1]")]
    assert LISTWISE["rank_vicuna"].build("how fast?", texts, prefill=True) == [Message("user", ZEPHYR % "[4] > [2]")]


def test_first() -> None:
    told = ZEPHYR.replace("a numerical", "a alphabetical").replace("[1]", "[A]").replace("[2]", "[B]") % "[B] > [A]"
    made = LISTWISE["first"].build("how fast?", ["one", "two"], prefill=True)
    assert made == [Message("system", RANK_LLM), Message("user", told), Message("assistant", "[")]


def test_pointwise() -> None:
    assert POINTWISE["mono_t5"].build("q", "p", "", prefill=True) == "Query: q Document: p Relevant:"
    qwen = POINTWISE["qwen3_reranker"].build("q", "p", "", prefill=True)
    assert [m.content for m in qwen] == [
        "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "
        '"yes" or "no".',
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: q\n<Document>: p",
        "<think>\n\n</think>\n\n",
    ]
