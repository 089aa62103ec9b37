"""Language models: one protocol (`ragkit.protocols.LanguageModel`), local ones, servers, and functions of your own."""

from ragkit.generation.constraints import Choices, Constraint, Permutation
from ragkit.generation.load import llm
from ragkit.generation.types import Completion, Message, Prompt, Scored, Stream, TokenLogprob
from ragkit.generation.usage import Usage

__all__ = [
    "Choices",
    "Completion",
    "Constraint",
    "Message",
    "Permutation",
    "Prompt",
    "Scored",
    "Stream",
    "TokenLogprob",
    "Usage",
    "llm",
]
