"""Calls into parsers of foreign formats: whatever they raise becomes one LoadError with a cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ragkit.errors import LoadError, RagkitError


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn any error of a third-party parser into ``LoadError("<what> is broken (…)")``; wraps their calls alone.

    >>> with parsing("the PDF"):
    ...     raise KeyError("/Root")
    Traceback (most recent call last):
    ...
    ragkit.errors.LoadError: the PDF is broken (KeyError: '/Root'); open and save it again with the program that made it
    """
    try:
        yield
    except (RagkitError, MemoryError):
        raise
    except Exception as exc:  # given a damaged file, such parsers raise anything from KeyError to RecursionError
        said = " ".join(str(exc).split())[:200]
        raise LoadError(
            f"{what} is broken ({type(exc).__name__}{': ' if said else ''}{said}); open and save it again with the program that made it"
        ) from exc
