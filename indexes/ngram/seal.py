"""SEAL: a language model writes n-grams that stand in the documents, and passages are ranked by those that they hold.

source: Bevilacqua et al., Autoregressive Search Engines: Generating Substrings as Document Identifiers, NeurIPS 2022 (the key score, LM
times rarity; the intersective score of a document). Its runs for titles and for spans of the question are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation import llm
from ragkit.indexes.ngram.grams import Gram, best_hits
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.protocols import Bitmap, LanguageModel
from ragkit.run import Run
from ragkit.stage import Stage, check_k
from ragkit.types import Passage, Query

if TYPE_CHECKING:
    from ragkit.generation.local.model import LocalModel

_NOT_CERTAIN = 1e-10
"""Taken from log-probabilities, so that the logarithm of what is left exists."""


@dataclass(frozen=True, slots=True)
class Key:
    """An n-gram of the documents that the model wrote.

    logprob  the model's, in nats; count: occurrences that begin in live passages; weight: what it is worth in a passage
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    count: int
    weight: float


@dataclass(frozen=True, slots=True)
class Explained:
    """A hit, and what each n-gram adds to its score, the most first: (text, amount)."""

    passage: Passage
    score: float
    keys: tuple[tuple[str, float], ...]


def key_weight(logprob: float, count: int, n_tokens: int, power: float = 1.0) -> float:
    """The log odds ratio between the model's probability of an n-gram and its frequency, to a power; 0 where that is less likely.

    source: equation 3 of the paper, max(0, [log P + log(1 - F)] - [log F + log(1 - P)]) with F = (count + 5) / (tokens + 5)
    """
    p = min(logprob, 0.0) - _NOT_CERTAIN
    f = min(math.log((count + 5) / (n_tokens + 5)), -_NOT_CERTAIN)
    return float(max(0.0, (p + math.log1p(-math.exp(f))) - (f + math.log1p(-math.exp(p)))) ** power)


@dataclass(frozen=True)
class SEAL(Stage):
    """Retrieves by the n-grams of the documents that a local language model would write after a question.

    model      folder, hub id or a loaded model of transformers, causal or encoder-decoder, with the tokenizer of the index
    index      a `TokenNGram` index
    beams      hypotheses that are written side by side; all that were on the way are kept
    length     tokens of the longest
    power      of the weights of n-grams of several tokens; single tokens, which all come from the first step, have 1
    unigrams   the most probable first tokens that count as n-grams
    novelty    how much less an n-gram counts in a passage where its tokens have counted before, from 0 to 1
    prompt     what the model reads, with {query} for the question
    k          hits of each question
    cost       length passes of `beams` rows a question, and the occurrences of the n-grams

    A model that was not trained for this writes what it would write anyway: train one on pairs of questions and passages.
    """

    model: str | LanguageModel
    index: str = "token_ngram"
    beams: int = 15
    length: int = 10
    power: float = 2.0
    unigrams: int = 5000
    novelty: float = 0.8
    prompt: str = "{query}"
    k: int = 1000

    def __post_init__(self) -> None:
        for name in ("beams", "length", "k"):
            check_k(getattr(self, name), name)
        if self.unigrams < 0 or not self.power > 0 or not 0 <= self.novelty <= 1:
            given = f"{self.unigrams}, {self.power} and {self.novelty}"
            raise InputError(f"SEAL needs unigrams of at least 0, a power above 0 and a novelty from 0 to 1, got {given}")
        if "{query}" not in self.prompt:
            raise InputError(f"the prompt of SEAL must say where the question stands, by {{query}}; got {self.prompt!r}")

    def apply(self, run: Run, /) -> Run:
        source: Any = run.source
        searcher = self._searcher(source)
        indptr, rows, scores = [0], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for query in run.queries:
            keys = self._keys(query, searcher)
            found, values = self._ranked(keys, searcher, source.allowed(query.where))
            best = best_hits(found, values, self.k)
            indptr.append(indptr[-1] + len(best))
            rows.append(found[best])
            scores.append(values[best])
        return run.fill(np.array(indptr, np.int64), np.concatenate(rows), np.concatenate(scores), scale="ngram", leg="seal")

    def keys(self, question: str, on: Any) -> list[Key]:
        """The n-grams that the model writes for a question over a collection, the heaviest first."""
        return self._keys(Query("0", question), self._searcher(on.version))

    def explain(self, question: str, on: Any, *, k: int = 10) -> list[Explained]:
        """The k best passages of a collection, and what each n-gram adds to their scores."""
        check_k(k)
        snapshot = on.version
        searcher = self._searcher(snapshot)
        keys = {key.tokens: key for key in self._keys(Query("0", question), searcher)}
        rows, scores = self._ranked(list(keys.values()), searcher, snapshot.allowed(None))
        best = best_hits(rows, scores, k)
        weights: dict[Gram, float] = {tokens: key.weight for tokens, key in keys.items()}
        asked = searcher.scorer.ask(list(weights))
        out = []
        for row, score, passage in zip(rows[best].tolist(), scores[best].tolist(), snapshot.passages(rows[best]), strict=True):
            added = searcher.scorer.contributions(asked, weights, row, k1=0.0, b=0.0, novelty=self.novelty)
            named = sorted(((keys[cast("tuple[int, ...]", gram)].text, amount) for gram, amount in added), key=lambda pair: -pair[1])
            out.append(Explained(passage, score, tuple(named)))
        return out

    def _searcher(self, source: Any) -> TokenNGramSearcher:
        if not hasattr(source, "searcher"):
            raise InputError("SEAL needs a collection; bind the pipeline with .on(collection)")
        searcher = source.searcher(self.index)
        if not isinstance(searcher, TokenNGramSearcher):
            raise InputError(f"SEAL needs an index of tokens, and {self.index!r} is none; name a TokenNGram index")
        return searcher

    def _local(self, searcher: TokenNGramSearcher) -> LocalModel:
        """The model, if its tokens are those of the index."""
        from ragkit.generation.local.files import tokenizer_fingerprint
        from ragkit.generation.local.model import LocalModel

        model = llm(self.model)
        if not isinstance(model, LocalModel):
            raise InputError(f"SEAL writes with a model of transformers on this machine, and {model.name!r} is none; name a local model")
        spec = searcher.spec
        if tokenizer_fingerprint(model.tokens.tokenizer) != (spec.fingerprint or tokenizer_fingerprint(spec.load())):
            raise InputError(
                f"the index {self.index!r} was made with the tokenizer {spec.tokenizer!r}, and {model.name!r} reads other tokens; "
                f"use a model with that tokenizer, or index again with TokenNGram({model.name!r})"
            )
        return model

    def _keys(self, query: Query, searcher: TokenNGramSearcher) -> list[Key]:
        from ragkit.generation.local.beams import constrained_beams

        model, scorer = self._local(searcher), searcher.scorer
        prompt = self.prompt.replace("{query}", query.text)
        first, hypotheses = constrained_beams(model, prompt, searcher, beams=self.beams, length=self.length)
        written = {h.tokens: h.logprob for h in hypotheses if len(h.tokens) > 1}
        roots = searcher.allowed(searcher.root)
        roots = roots[roots < len(first)]
        for token in roots[np.argsort(-first[roots], kind="stable")[: self.unigrams]].tolist():
            written[(token,)] = float(first[token])
        asked = scorer.ask(list(written))
        keys = []
        for j, (tokens, logprob) in enumerate(written.items()):
            if count := scorer.count(asked, j):
                weight = key_weight(logprob, count, scorer.n_tokens, self.power if len(tokens) > 1 else 1.0)
                keys.append(Key(model.tokens.tokenizer.decode(list(tokens)), tokens, logprob, count, weight))
        return sorted(keys, key=lambda key: (-key.weight, -len(key.tokens), key.tokens))

    def _ranked(
        self, keys: Sequence[Key], searcher: TokenNGramSearcher, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        weights: dict[Gram, float] = {key.tokens: key.weight for key in keys}
        scorer = searcher.scorer
        return scorer.scores(scorer.ask(list(weights)), weights, scorer.scratch(), allow, k1=0.0, b=0.0, novelty=self.novelty)
