"""Cross-encoder: a transformer reads query and passage together and says with one number how relevant the passage is
(Nogueira and Cho, 2019). The stage is `CrossEncoder`; `ragkit.rerankers.training` fits a model to one's own judgements.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.encoders.folder import model_folder
from ragkit.encoders.transformer import quiet_transformers, reading
from ragkit.errors import InputError
from ragkit.generation.usage import FREE, Usage
from ragkit.join import place_of, query_of
from ragkit.registry import need
from ragkit.rerankers.passages import passage_text
from ragkit.rerankers.prompts import with_instruction
from ragkit.rerankers.reorder import reordered, scored_ranking
from ragkit.run import Run, StageReport
from ragkit.stage import Stage, check_k

LEG = "cross_encoder"
"""The leg of a run in which the logits stand, NaN behind the depth."""

MATCHING = "1_MatchingHead"
"""The folder of a model in which a matching head lies."""

_QUERY_SHARE = 0.75
_PRECISIONS = ("float32", "bfloat16")
_Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of the last change in nanoseconds, and bytes of each file of a folder."""
_loaded: dict[tuple[Path, str, str], tuple[_Stamp, _Model]] = {}
_lock = Lock()


@dataclass(frozen=True)
class CrossEncoder(Stage):
    """Reorders the first `depth` hits of each query by a cross-encoder's logits; the others follow as they were.

    model       folder or hub id of a cross-encoder with one output, in safetensors; never downloaded while offline
    depth       hits of each query that are read
    batch_size  pairs that go through the model together; sorted by length before, so that little is padding
    max_length  tokens of query and passage together, at most what the model reads, which is the default
    device      "auto" takes a GPU where there is one
    precision   "float32", or "bfloat16" for about half the time on processors and GPUs that multiply it
    returns     a permutation of each query's hits. Where no query has hits behind the depth: the logits themselves (scale "logit",
                no floor), equal ones by row, as in every run. Else positions (scale "rank"), for logits and the scores behind the
                depth don't compare; equal logits then stay in the order they had. The leg "cross_encoder" holds the logits
    raises      InputError for a setting out of range, a model that is no such cross-encoder or gives NaN, or a run without
                passages; OfflineError; MissingDependencyError
    cost        one pass through the model a pair of query and text, equal texts once; counts of the report: pairs, and how many of
                them were truncated. Its usage: pairs as calls, batches as passes, and their tokens without padding

    The model reads the query, its instruction after a space (FollowIR, Weller et al. 2024), and the passage's title and text. Only
    the passage is truncated, unless a query alone fills more than three quarters of max_length: then it is cut to those.

    >>> from ragkit import Retrieve
    >>> Retrieve("bm25", 100) >> CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2", depth=50) # doctest: +ELLIPSIS
    (Retrieve('bm25', k=100) >> CrossEncoder(model='cross-encoder/ms-marco-MiniLM-L6-v2', depth=50, ...))
    """

    model: str
    depth: int = 100
    batch_size: int = 32
    max_length: int | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    reports = False  # it reports itself, with counts

    def __post_init__(self) -> None:
        check_k(self.depth, "depth")
        check_k(self.batch_size, "batch_size")
        if self.max_length is not None:
            check_k(self.max_length, "max_length")
        if self.precision not in _PRECISIONS:
            raise InputError(f"precision of CrossEncoder must be one of {', '.join(_PRECISIONS)}, got {self.precision!r}")

    def rerank(self, run: Run) -> Run:
        """The same as calling the stage."""
        return self(run)

    def apply(self, run: Run, /) -> Run:
        start = time.perf_counter()
        within = place_of(run) < self.depth
        logits = np.full(len(run.rows), np.nan, np.float32)
        counts, usage = {"pairs": 0, "truncated": 0}, FREE
        if within.any():
            logits[within], counts, usage = self._logits(run, within)
        firsts = (logits[run.hits_of(q)][: self.depth] for q in range(len(run)))
        out = reordered(replace(run, legs={**run.legs, LEG: logits}), [scored_ranking(first.tolist()) for first in firsts], "logit")
        report = StageReport(repr(self), time.perf_counter() - start, len(run), len(run.rows), counts, usage)
        return replace(out, report=(*run.report, report))

    def _logits(self, run: Run, within: NDArray[np.bool_]) -> tuple[NDArray[np.float32], dict[str, int], Usage]:
        """Logits of the hits to read, and the counts and the usage of the report."""
        if run.source is None:
            raise InputError("CrossEncoder needs the passages of the hits; bind the pipeline with .on(collection)")
        rows, of_hit = np.unique(run.rows[within], return_inverse=True)
        passages = run.source.passages(rows)
        # equal texts are read once: read twice, what stands beside them in a batch could part them by a rounding error
        first: dict[str, int] = {}
        of_row = np.array([first.setdefault(passage_text(p), i) for i, p in enumerate(passages)], np.int64)
        pairs, of_pair = np.unique(np.column_stack((query_of(run)[within], of_row[of_hit])), axis=0, return_inverse=True)
        queries = [with_instruction(q.text, q.instruction) for q in run.queries]
        model = load_cross_encoder(self.model, self.device, self.precision)
        texts = [passage_text(p) for p in passages]
        logits, truncated, usage = model.logits(queries, texts, pairs, self.batch_size, self.max_length)
        bad = np.flatnonzero(~np.isfinite(logits))
        if len(bad):
            q, p = pairs[bad[0]]
            raise InputError(
                f"the model {self.model!r} gives {logits[bad[0]]} for the passage of {passages[p].document!r} from {passages[p].start} to "
                f"{passages[p].end} and the query {run.queries[q].id!r}; its weights are broken, or too large for {self.precision}"
            )
        return logits[of_pair.reshape(-1)], {"pairs": len(pairs), "truncated": truncated}, usage


def cut_queries(tokenizer: Any, queries: Sequence[str], max_length: int) -> list[str]:
    """The queries; those of more than three quarters of max_length tokens are cut there, so that passages are read at all."""
    most = int(_QUERY_SHARE * max_length)
    found = tokenizer(list(queries), add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return [q if len(at) <= most else q[: at[most - 1][1]] for q, at in zip(queries, found, strict=True)]


def load_cross_encoder(model: str, device: str, precision: str) -> _Model:
    """The model of a name, loaded when it is first asked for and whenever its files have changed; raises as `CrossEncoder` says."""
    folder = model_folder(model)
    with _lock:
        key, files = (folder, device, precision), _stamp(folder)
        if key in _loaded and _loaded[key][0] != files:
            del _loaded[key]  # before the new one is loaded: there may be no room for both
        if key not in _loaded:
            _loaded[key] = files, _Model(folder, model, device, precision)
        return _loaded[key][1]


def _stamp(folder: Path) -> _Stamp:
    status = ((file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file())
    return tuple((file.relative_to(folder).as_posix(), s.st_mtime_ns, s.st_size) for file, s in status)


class _Model:
    """A loaded cross-encoder and its tokenizer; used by one thread at a time, for the tokenizer keeps settings between calls."""

    def __init__(self, folder: Path, name: str, device: str, precision: str) -> None:
        self._torch = torch = need("torch", extra="models", why="reranking with a cross-encoder")
        self._device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self._half, self._lock, self._name = precision == "bfloat16", Lock(), name
        with reading(folder, "cross-encoder that can be loaded"), quiet_transformers():
            self.tokenizer, self._model, self._head = _parts(folder, torch)
        for part in (self._model, self._head):
            if part is not None:
                part.to(self._device).eval()
        config = self._model.config
        if self._head is None and (not has_linear_head(folder) or config.num_labels != 1):
            lacks = f"{config.num_labels} outputs" if has_linear_head(folder) else "no head that scores pairs"
            raise InputError(
                f"the model {name!r} has {lacks}, and a cross-encoder needs one output; train one from it with "
                "ragkit.rerankers.training.train_cross_encoder, or name a cross-encoder"
            )
        self.reads = min(int(self.tokenizer.model_max_length), int(getattr(config, "max_position_embeddings", 0) or 10**9))
        if self._half:
            _keep_heads_whole(torch, self._model)

    def logits(
        self,
        queries: Sequence[str],
        passages: Sequence[str],
        pairs: NDArray[np.int64],
        batch_size: int,
        max_length: int | None,
    ) -> tuple[NDArray[np.float32], int, Usage]:
        """(P,) logits of pairs (query, passage), int (P, 2), how many were truncated, and what they cost."""
        room = self._room(max_length)
        torch, out = self._torch, np.empty(len(pairs), np.float32)
        with self._lock:
            start = time.perf_counter()
            asked = cut_queries(self.tokenizer, queries, room)
            tokens = (
                self._tokens(asked)[pairs[:, 0]] + self._tokens(passages)[pairs[:, 1]] + self.tokenizer.num_special_tokens_to_add(pair=True)
            )
            batches = list(_batches(read := np.minimum(tokens, room), batch_size))
            half = torch.autocast(self._device, dtype=torch.bfloat16) if self._half else nullcontext()
            with torch.inference_mode(), half:
                for at in batches:
                    features = self.tokenizer(
                        [asked[q] for q in pairs[at, 0]],
                        [passages[p] for p in pairs[at, 1]],
                        truncation="only_second",
                        max_length=room,
                        padding=True,
                        return_tensors="pt",
                    ).to(self._device)
                    out[at] = self._scores(features).float().cpu().numpy()
            usage = Usage(len(pairs), len(batches), prompt_tokens=int(read.sum()), seconds=time.perf_counter() - start)
        return out, int((tokens > room).sum()), usage

    def _scores(self, features: Any) -> Any:
        read = self._model(**features)
        if self._head is None:
            return read.logits[:, 0]
        return self._head({**features, "token_embeddings": read.last_hidden_state})["scores"][:, 0]

    def _room(self, max_length: int | None) -> int:
        if max_length is not None and max_length > self.reads:
            raise InputError(f"the model {self._name!r} reads at most {self.reads} tokens, and max_length is {max_length}")
        room = max_length or self.reads
        least = self.tokenizer.num_special_tokens_to_add(pair=True) / (1 - _QUERY_SHARE)
        if room <= least:
            raise InputError(f"max_length must be above {least:.0f} for the model {self._name!r}, or no passage fits, got {room}")
        return room

    def _tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(T,) tokens of each text."""
        found = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return np.fromiter(map(len, found), np.int64, len(texts))


def has_linear_head(folder: Path) -> bool:
    """Whether the model of a folder is one that classifies pairs, as its configuration says."""
    try:
        known = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    except (OSError, ValueError, AttributeError):
        return False
    return any(str(a).endswith("ForSequenceClassification") for a in known or ())


def _parts(folder: Path, torch: Any) -> tuple[Any, Any, Any]:
    """Tokenizer, model and, where it has one of ours, matching head; nothing of the folder is run as code."""
    library = need("transformers", extra="models", why="reranking with a cross-encoder")
    tokenizer = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    settings: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True}
    if not (folder / MATCHING).is_dir():
        return tokenizer, library.AutoModelForSequenceClassification.from_pretrained(str(folder), **settings), None
    from ragkit.rerankers.matching_head import MatchingHead

    return tokenizer, library.AutoModel.from_pretrained(str(folder), **settings), MatchingHead.load(str(folder / MATCHING))


def _batches(lengths: NDArray[np.int64], size: int) -> Iterator[NDArray[np.intp]]:
    """Positions of similar length, the longest first, so that a machine that is too small is known at once."""
    by = np.argsort(-lengths, kind="stable")
    yield from (by[n : n + size] for n in range(0, len(by), size))


def _keep_heads_whole(torch: Any, model: Any) -> None:
    """Let the last product run in float32 under mixed precision: in bfloat16 most logits would tie."""
    for head in (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1):

        def forward(x: Any, head: Any = head) -> Any:
            with torch.autocast(x.device.type, enabled=False):
                return torch.nn.functional.linear(x.float(), head.weight, head.bias)

        head.forward = forward
