"""Writing JSON that fits a schema, token by token, with the package llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from ragkit.errors import GenerationError, InputError
from ragkit.generation.local.sampling import Allowed
from ragkit.registry import need


class SchemaGuides:
    """Makes guides for one model's tokenizer; what the library needs to know of that is worked out once.

    width  entries of the model's logits, which may be more than the tokenizer has tokens
    """

    def __init__(self, tokenizer: Any, ends: frozenset[int], width: int) -> None:
        self._tokenizer, self._ends, self._width = tokenizer, ends, width
        self._vocabulary: Any = None
        self._lock = Lock()

    def make(self, schema: Mapping[str, Any], count: int) -> Sequence[SchemaGuide]:
        """One guide for each of so many prompts; raises InputError for a schema that can't be followed."""
        library = need("llguidance", extra="llm", why="writing JSON by a schema")
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = self._read(library)
        try:
            grammar = library.LLMatcher.grammar_from_json_schema(
                json.dumps(schema), overrides={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
            )
            first = library.LLMatcher(self._vocabulary, grammar)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the JSON schema can't be followed ({exc}); give a plain JSON schema") from exc
        if first.is_error():
            raise InputError(
                f"the JSON schema can't be followed ({first.get_error().strip().partition(chr(10))[0]}); use fewer of its features"
            )
        return [SchemaGuide(first.deep_copy(), self._width, self._ends) for _ in range(count)]

    def _read(self, library: Any) -> Any:
        need("llguidance.hf", extra="llm", why="writing JSON by a schema")
        if not self._ends:
            raise InputError(
                "the model has no token that ends a text, and JSON by a schema needs one; give generation_config an eos_token_id"
            )
        try:
            return library.hf.from_tokenizer(self._tokenizer, n_vocab=self._width, eos_token=sorted(self._ends))
        except ValueError as exc:
            raise InputError(f"the model's tokenizer can't be used for writing JSON by a schema ({exc})") from exc


class SchemaGuide:
    """See `ragkit.generation.local.decoding.Guide`."""

    text = None

    def __init__(self, matcher: Any, width: int, ends: frozenset[int]) -> None:
        self._matcher, self._width, self._ends = matcher, width, ends
        self.done = False

    def allowed(self) -> Allowed:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found = np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self._width])
        if not len(found):
            raise GenerationError(f"no token of the model fits the JSON schema here ({self._matcher.get_error() or 'none is allowed'})")
        return found.astype(np.int64)

    def take(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise GenerationError(f"the JSON schema's rules broke off ({self._matcher.get_error()})")
        self.done = token in self._ends or bool(self._matcher.is_stopped())
