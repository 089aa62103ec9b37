"""Reading one label from a written answer, as "B" from "Passage B answers it best."."""

from __future__ import annotations

import re
from collections.abc import Sequence

_THOUGHT = "</think>"


def first_label(reply: str, labels: Sequence[str]) -> int | None:
    """Place of the first label that a reply names, or None.

    A label counts as it is written and standing alone; in another case only where it is more than a letter long or all that
    the reply says, for "a" is a word.

    >>> first_label("Passage B answers it; A does not.", ["A", "B"]), first_label(" b.", ["A", "B"]), first_label("a tie", ["A", "B"])
    (1, 1, None)
    """
    said = reply.rpartition(_THOUGHT)[2]
    exact = re.search(rf"(?<!\w)({'|'.join(map(re.escape, labels))})(?!\w)", said)
    if exact:
        return list(labels).index(exact[1])
    lower = [label.lower() for label in labels]
    bare = said.strip(" \t\n.,:;!()[]\"'*").lower()
    if bare in lower:
        return lower.index(bare)
    long = [label for label in lower if len(label) > 1]
    loose = re.search(rf"(?<!\w)({'|'.join(map(re.escape, long))})(?!\w)", said.lower()) if long else None
    return lower.index(loose[1]) if loose else None
