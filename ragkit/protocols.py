"""The seams: what a part must offer to be used by the others. Nothing here is inherited from.

Letters in shapes: Q queries, H hits, N rows (passages), P parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragkit.types import Answer, Document, Query, Span

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns
    from ragkit.generation.constraints import Constraint
    from ragkit.generation.speculative.draft import Budget, Continuations, Draft, Request, Verified
    from ragkit.generation.types import Completion, Prompt, Scored, Sources, Stream
    from ragkit.loaders import LoadOptions
    from ragkit.progress import Progress
    from ragkit.run import Run
    from ragkit.text import Analyzer
    from ragkit.text.folding import Folding

Bitmap = NDArray[np.bool_]


@runtime_checkable
class Loader(Protocol):
    """Reads one file into documents.

    Raises LoadError with the reason alone where it can't (the caller adds the path); calls report with a sentence
    for each part that it leaves out. A plug-in names its file suffixes in an attribute `suffixes`.
    """

    def __call__(self, path: Path, options: LoadOptions, report: Callable[[str], None], /) -> Iterable[Document]: ...


@runtime_checkable
class Chunker(Protocol):
    """Cuts a document into spans, in order, none empty; a registered, frozen spec."""

    name: ClassVar[str]

    def split(self, document: Document) -> list[Span]: ...


@runtime_checkable
class Stage(Protocol):
    """A step of a pipeline: a retriever fills the run's queries with hits, a reranker reorders them."""

    def __call__(self, run: Run, /) -> Run: ...


@runtime_checkable
class Reader(Protocol):
    """Answers each query of a run from its hits."""

    def read(self, run: Run) -> list[Answer]: ...


class Part(Protocol):
    """What an index has of one segment: its columns, and the folder of its built part (None: not built)."""

    @property
    def columns(self) -> SegmentColumns: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def alive(self) -> Bitmap | None: ...


@runtime_checkable
class Searcher(Protocol):
    """An open index over the parts of one snapshot; safe to share between threads."""

    scale: str
    exact: bool

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """(indptr (Q+1,), rows (H,), scores (H,)): at most k hits a query, by the law of order.

        Rows count through the parts in order. allow has one bitmap (N,) a part: True where a hit is wanted, None for all.
        """
        ...


@runtime_checkable
class RowScorer(Searcher, Protocol):
    """A searcher that can tell what single rows are worth to a query: what a local cache of passages needs.

    same_bits  whether `score_rows` gives the scores of `search` bit for bit; else they agree to rounding (1e-6 relative)
    """

    same_bits: bool

    def resolve(self, query: Query) -> Query:
        """The query with what it is searched by, its vector or its terms, so that nothing is encoded or analyzed twice."""
        ...

    def score_rows(self, query: Query, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (n,): the score of each row, always the same for a query and a row; -inf where a search would not return it."""
        ...


@runtime_checkable
class TermStatistics(Protocol):
    """What a lexical index knows of words: how texts become terms, and how many live rows hold one."""

    n_rows: int

    @property
    def analyzer(self) -> Analyzer: ...
    def df(self, term: str) -> int: ...


@runtime_checkable
class IndexSpec(Protocol):
    """Describes an index: frozen, comparable, plain JSON; registered under its name."""

    name: ClassVar[str]
    unit: ClassVar[str]

    def fit(self, columns: SegmentColumns) -> IndexSpec:
        """The spec with every "auto" decided by the first segment; stored in the manifest."""
        ...

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Write the immutable files of one segment's part into an existing empty folder."""
        ...

    def open(self, parts: Sequence[Part]) -> Searcher:
        """A searcher over all parts; statistics are those of the live rows."""
        ...


@runtime_checkable
class TextIndex(IndexSpec, Protocol):
    """An index that finds any string in the texts of documents; its searcher is a `TextSearcher`."""

    @property
    def folding(self) -> Folding:
        """What counts as the same text."""
        ...


class TextSearcher(Searcher, Protocol):
    """Finds strings in the documents of each part, dead or alive."""

    def count_in(self, part: int, texts: Sequence[str]) -> NDArray[np.int64]:
        """How often each text stands there, int64 (any,); occurrences that overlap all count."""
        ...

    def find_in(self, part: int, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(document's row in the part, byte in its folded text in UTF-8) of each occurrence, ascending."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors of dim dimensions; two encoders with one fingerprint give the same ones."""

    model: str
    dim: int
    fingerprint: str
    similarity: str

    def encode_query(self, queries: Sequence[str | Query]) -> NDArray[np.float32]: ...
    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    def chunks(self, texts: Sequence[str]) -> Iterable[tuple[int, NDArray[np.float32]]]:
        """(position of the first text, vectors), some documents at a time, so that finished work can be kept."""
        ...


@runtime_checkable
class VectorIndex(IndexSpec, Protocol):
    """An index over a vector column of the segments; the writer makes the column before it builds the index."""

    @property
    def column(self) -> str:
        """Name of the column, a plain file name."""
        ...

    def encoder(self) -> Encoder | None:
        """What makes the column; None where the caller gives the vectors."""
        ...

    def train(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> bool:
        """Write what segments share (centroids, rotations) into an empty folder; False where there is nothing, or too little to train on.

        Segments find it under their index's name in `SegmentColumns.models`.
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """Reorders each query's hits: always a permutation of them."""

    def rerank(self, run: Run) -> Run: ...


@runtime_checkable
class LanguageModel(Protocol):
    """Writes text and tells how probable words are; safe to share between threads.

    name         as it was loaded
    fingerprint  two models with one fingerprint write the same at temperature 0; part of a cache's key
    context      tokens that it reads and writes at most; None where that is not known
    features     what it can do beyond writing: "next_token" (`next_token_logprobs`), "continuation" (`continuation_logprobs`),
                 "constraint", "schema", "prefill" (goes on from an assistant's turn), "seed", "logprobs"; asking for another
                 raises InputError naming it
    """

    name: str
    fingerprint: str
    context: int | None
    features: frozenset[str]

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        constraint: Constraint | Sequence[Constraint] | None = None,
        schema: Mapping[str, Any] | None = None,
        logprobs: bool = False,
    ) -> list[Completion]:
        """What the model writes after each prompt: the most probable token each time at temperature 0, else drawn.

        constraint  all that may be written, one for all prompts or one each; schema: a JSON schema that the text must fit
        raises      ContextOverflow naming the prompt, GenerationError where nothing came back
        """
        ...

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Stream:
        """The same for one prompt, piece by piece."""
        ...

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        """(P, C) log-probabilities that a candidate is the next token.

        Each candidate is a list of spellings, as ("A", " A"): the most probable one counts, and those that are not one token are
        passed over. Raises InputError naming a candidate of which no spelling is one token.
        """
        ...

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        """(P, 1) mean log-probability per token of continuation i after prompt i; more than one token is read in one pass."""
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt with all that its template adds: exact for local models, an estimate for a server's."""
        ...


@runtime_checkable
class Drafter(Protocol):
    """Foretells what a language model will write, for `speculate=`; frozen, shared between calls.

    name      under which its drafts are counted
    lossless  whether what is written is what would be written without it
    """

    name: ClassVar[str]

    @property
    def lossless(self) -> bool: ...

    def begin(self, request: Request) -> Drafting:
        """What one text needs."""
        ...


@runtime_checkable
class HiddenStateDrafter(Drafter, Protocol):
    """A drafter that goes by the model's last hidden states, as Medusa's and Chimera's heads do: `Verified.hidden` is then given.

    source: Cai et al., Medusa, ICML 2024; Zeng et al., Chimera, 2024
    """

    reads_hidden: ClassVar[bool]


@runtime_checkable
class LossyDrafter(Drafter, Protocol):
    """A drafter that changes what is written, where `lossless` is False: for `allow_lossy=True` alone.

    law    what texts follow then, in words
    cited  whether answers may cite passages whose words it chose
    """

    @property
    def law(self) -> str: ...
    @property
    def cited(self) -> bool: ...


class ContinuationIndex(Protocol):
    """A corpus of tokens that says what stands behind the end of a text."""

    def continuations(self, context: Sequence[int], *, most: int, length: int) -> Continuations:
        """What stands behind the longest end of a context that occurs: `length` tokens each of at most `most` occurrences."""
        ...


class Drafting(Protocol):
    """A drafter at work on one text."""

    def propose(self, budget: Budget) -> Draft:
        """Tokens that may come next; none where there is nothing to go by."""
        ...

    def observe(self, verified: Verified) -> None:
        """What was written since; after the first token, which is chosen without a draft, its `tokens` are empty."""
        ...

    def passage_of(self, place: int) -> tuple[int | None, int] | None:
        """(passage of the request, token in it) of a draft's place; (None, place) in the request's corpus; None in neither."""
        ...


@runtime_checkable
class SpeculatingModel(LanguageModel, Protocol):
    """A language model with the feature "speculation": told what its texts may quote, it writes the same ones faster, unless it is lossy.

    tokenizer  fingerprint of its tokenizer; an index of tokens with the same one can be drafted from
    lossy      the drafter that changes what it writes; None where its texts are its own
    """

    tokenizer: str
    lossy: LossyDrafter | None

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        constraint: Constraint | Sequence[Constraint] | None = None,
        schema: Mapping[str, Any] | None = None,
        logprobs: bool = False,
        sources: Sequence[Sources] | None = None,
    ) -> list[Completion]:
        """See `LanguageModel.generate`; sources: of each prompt."""
        ...


@runtime_checkable
class ParallelModel(LanguageModel, Protocol):
    """A language model with the feature "parallel": it reads texts side by side, so that their order is nothing."""

    def parallel_next_token_logprobs(self, prompt: Prompt, slot: str, blocks: Sequence[str], candidates: Sequence[Sequence[str]]) -> Scored:
        """(1, C) log-probabilities that a candidate is the next token after the prompt with the blocks in place of slot.

        No block sees another, and all begin at one position; each should hold its own label, as plain text.
        source  Set-Based Prompting (McIlroy-Young et al., NeurIPS 2024)
        raises  InputError where slot doesn't stand in the prompt exactly once, or nothing stands behind it
        """
        ...
