"""Every error that ragkit raises on purpose, as one tree.

RagkitError
├── InputError (ValueError)            an argument or a document is not usable
│   ├── SchemaError                    a metadata value clashes with its field's type
│   ├── DuplicateIdError               a document id is taken already
│   └── ShapeError                     an array has the wrong shape or type
├── UnknownNameError (LookupError)     no part, index, language or measure of that name
├── MissingDependencyError (ImportError)   an optional package is needed
├── ScaleError (TypeError)             scores of different scales were to be combined
├── SnapshotMismatch (ValueError)      runs of different collections or versions were to be combined
├── CollectionError
│   ├── NotACollectionError (FileNotFoundError)   the folder holds no collection
│   ├── CollectionExistsError (FileExistsError)   the folder holds one already
│   ├── CorruptCollectionError (OSError)          a stored file is missing, cut or altered
│   ├── UnsupportedVersionError                   written by another format version
│   ├── SnapshotGone                              a pinned version was replaced too long ago to be read on
│   └── LockedError (TimeoutError)                another writer holds the collection
├── LoadError (OSError)                a file could not be read or parsed
├── OfflineError (ConnectionError)     the network was asked for while offline
├── GenerationError                    a language model gave nothing that can be used
│   ├── ContextOverflow (ValueError)   a prompt is longer than the model reads
│   ├── ServerError (ConnectionError)  a model's server can't be reached, refuses, or breaks off
│   └── ReplyError (ValueError)        a reply lacks what was asked for, or can't be read
└── Cancelled                          a progress callback returned False

A message says what was given, what was wanted and what to do, in one sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RagkitError(Exception):
    """Root of the tree: ``except RagkitError`` catches all that ragkit raises on purpose."""


class InputError(RagkitError, ValueError):
    """An argument or a document is not usable."""


class SchemaError(InputError):
    """A metadata value clashes with its field's type."""


class DuplicateIdError(InputError):
    """A document id is taken already."""


class ShapeError(InputError):
    """An array has the wrong shape or type."""


class UnknownNameError(RagkitError, LookupError):
    """No part, index, language or measure of that name."""

    @classmethod
    def near(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """An error that lists what is known, nearest spelling first.

        >>> str(UnknownNameError.near("index", "bm52", ["bm25", "dense"]))
        "no index is called 'bm52'; known: bm25, dense; did you mean 'bm25'?"
        """
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return cls(f"no {kind} is called {name!r}; known: {', '.join(names) or 'none'}{hint}")

    def __str__(self) -> str:  # LookupError subclasses of dict lookups quote their text; this one never does
        return str(self.args[0]) if self.args else ""


class MissingDependencyError(RagkitError, ImportError):
    """An optional package is needed and absent."""


class ScaleError(RagkitError, TypeError):
    """Scores of different scales were to be combined."""


class SnapshotMismatch(RagkitError, ValueError):
    """Runs of different collections, or of different versions of one, were to be combined."""


class CollectionError(RagkitError):
    """A collection on disk can't be used as asked."""


class NotACollectionError(CollectionError, FileNotFoundError):
    """The folder holds no collection."""


class CollectionExistsError(CollectionError, FileExistsError):
    """The folder holds a collection already."""


class CorruptCollectionError(CollectionError, OSError):
    """A stored file is missing, cut short or altered."""


class UnsupportedVersionError(CollectionError):
    """The collection was written by another format version."""


class SnapshotGone(CollectionError):
    """A pinned version was replaced so long ago that its files are gone; refresh moves to the live one."""


class LockedError(CollectionError, TimeoutError):
    """Another writer holds the collection."""


class LoadError(RagkitError, OSError):
    """A file could not be read or parsed."""


class OfflineError(RagkitError, ConnectionError):
    """The network was asked for while offline."""


class GenerationError(RagkitError):
    """A language model gave nothing that can be used."""


class ContextOverflow(GenerationError, ValueError):
    """A prompt is longer than the model reads; tokens and limit say by how much."""

    def __init__(self, message: str, *, tokens: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.tokens, self.limit = tokens, limit


class ServerError(GenerationError, ConnectionError):
    """A model's server can't be reached, refuses, or breaks off; status is its HTTP status, 0 where there was none."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ReplyError(GenerationError, ValueError):
    """A reply lacks what was asked for, or can't be read."""


class Cancelled(RagkitError):
    """A progress callback returned False: the work was given up and nothing was committed."""
