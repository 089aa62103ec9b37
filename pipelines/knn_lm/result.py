"""What a kNN-LM writes, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ragkit.generation.usage import Usage
from ragkit.pipelines.iterative.result import IterativeTrace


@dataclass(frozen=True)
class KNNText:
    """A text.

    text    what was written behind the prompt
    tokens  the same as the model's numbers
    finish  "stop" where the model ended it, "length" where max_tokens were written
    trace   how it came about; a stride is one token here, and what the cache is asked for is the next token
    usage   of the model
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]
    trace: IterativeTrace
    usage: Usage = field(compare=False)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "text": self.text,
            "tokens": list(self.tokens),
            "finish": self.finish,
            "trace": self.trace.to_dict(),
            "usage": self.usage.to_dict(),
        }
