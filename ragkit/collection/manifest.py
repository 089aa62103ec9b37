"""The manifest: what one version of a collection consists of, and how a version becomes the live one.

``CURRENT`` holds the name and sha256 of the live manifest; replacing it by an atomic rename is the
last step of a commit. A manifest lists every file of its version with size and sha256.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ragkit.collection.files import inside, replace_file, sealed, sha256_bytes, sync_folder, unsealed, write_file
from ragkit.encoders.settings import ENGLISH_MODELS
from ragkit.errors import CorruptCollectionError, NotACollectionError, UnsupportedVersionError
from ragkit.spec import one_line

FORMAT = "ragkit.collection"
VERSION = 1
CURRENT = "CURRENT"
POINTER = re.compile(r"manifest-\d+\.json [0-9a-f]{64}")
INDEX_TEXT = "{title}\n{headings}\n{text}"


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def manifests(folder: Path) -> list[Path]:
    """The manifests that lie in a folder, the oldest version first."""
    return [folder / n for n in sorted(os.listdir(folder)) if re.fullmatch(r"manifest-\d{8,}\.json", n)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Model):
    """A file of a version."""

    size: int
    sha256: str


class SegmentEntry(_Model):
    """A segment: counts of rows written and alive, index parts built, versions of the models they share, bitmap of deleted documents."""

    id: str
    documents: int
    passages: int
    live_documents: int
    live_passages: int
    indexes: tuple[str, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)
    deletes: str | None = None


class FileProblems(_Model):
    """What a sync left out of a file, or why it read nothing of it; settings is a hash of how it was read."""

    size: int
    mtime_ns: int
    settings: str
    reasons: tuple[str, ...]


class Manifest(_Model):
    """One version of a collection. Equal content gives equal bytes."""

    format: Literal["ragkit.collection"] = "ragkit.collection"
    version: int = VERSION
    uuid: str
    generation: int = 0
    roots: tuple[str, ...] = ()
    data_schema: dict[str, str] = Field(default_factory=dict, alias="schema")
    chunker: dict[str, Any] | Literal["auto"] | None = "auto"
    index_text: str = INDEX_TEXT
    indexes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    fitted: bool = False
    models: dict[str, str] = Field(default_factory=dict)
    pipeline: str = "auto"
    segments: tuple[SegmentEntry, ...] = ()
    files: dict[str, FileEntry] = Field(default_factory=dict)
    problems: dict[str, FileProblems] = Field(default_factory=dict)

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @field_validator("index_text")
    @classmethod
    def _plain_template(cls, template: str) -> str:
        """Only the three plain names: str.format would also follow attributes."""
        used = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template) if name is not None]
        if ("text", "", None) not in used or not set(used) <= {(n, "", None) for n in ("title", "headings", "text")}:
            raise ValueError("a template holds {text} and may hold {title} and {headings}, without format options")
        return template

    @property
    def default_pipeline(self) -> str:
        """What searches use: "auto" is hybrid where there are BM25 and dense indexes, else the first index.

        An encoder that was trained on English only drags other languages down (by 5 to 43 points of nDCG@10 on xquad): there it is BM25.
        """
        if self.pipeline != "auto":
            return self.pipeline
        if not {"bm25", "dense"} <= self.indexes.keys():
            return next(iter(self.indexes))
        bm25, dense = self.indexes["bm25"], self.indexes["dense"]
        foreign = bm25.get("language") not in ("en", "auto") and dense.get("model") in ENGLISH_MODELS and not dense.get("vectors")
        return "bm25" if foreign else "hybrid"

    @property
    def name(self) -> str:
        """File name of this version."""
        return f"manifest-{self.generation:08d}.json"


def publish(folder: Path, manifest: Manifest) -> None:
    """Make a version the live one; all files that it names must be written and synced."""
    content = (manifest.model_dump_json(by_alias=True, indent=1) + "\n").encode()
    write_file(folder / manifest.name, content)
    sync_folder(folder)
    point_to(folder, manifest.name, content)


def point_to(folder: Path, name: str, content: bytes) -> None:
    """Make the manifest of this name and content the live one."""
    replace_file(folder / CURRENT, sealed(f"{name} {sha256_bytes(content)}"))


def is_collection(folder: Path) -> bool:
    """True where a folder holds a collection."""
    return (folder / CURRENT).is_file()


def pointer(folder: Path) -> str:
    """What CURRENT says: the name of the live manifest and its sha256; raises NotACollectionError or CorruptCollectionError."""
    try:
        said = unsealed((folder / CURRENT).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotACollectionError(
            f"{folder} holds no collection; make one with ragkit.Collection.create(path) or `ragkit index FOLDER -o {folder}`"
        ) from None
    except OSError as exc:
        raise CorruptCollectionError(f"{folder / CURRENT} can't be read ({exc.strerror}); restore it from a backup") from exc
    if said is None or not POINTER.fullmatch(said):
        raise CorruptCollectionError(f"{folder / CURRENT} was cut or altered; run `ragkit repair {folder}`, or restore it from a backup")
    return said


def live(folder: Path) -> Manifest:
    """The live version; raises NotACollectionError, CorruptCollectionError or UnsupportedVersionError."""
    return named(folder, pointer(folder))


def named(folder: Path, said: str) -> Manifest:
    """The version that CURRENT names."""
    name, digest = said.split()
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise CorruptCollectionError(f"{path}, the live manifest, can't be read ({exc.strerror}); restore it from a backup") from exc
    if sha256_bytes(content) != digest:
        raise CorruptCollectionError(f"{path} was altered: its sha256 is not the one in CURRENT; restore it from a backup")
    return parse(path, content)


def parse(path: Path, content: bytes) -> Manifest:
    """A manifest from its bytes; format and version are looked at before anything else."""
    try:
        data = json.loads(content)
    except ValueError as exc:
        raise CorruptCollectionError(f"{path} is not JSON ({exc}); restore it from a backup") from exc
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CorruptCollectionError(f"{path} is not the manifest of a ragkit collection")
    if data.get("version") != VERSION:
        raise UnsupportedVersionError(
            f"{path.parent} was written in format version {data.get('version')}; this ragkit reads version {VERSION}: "
            "index again, or use that ragkit"
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as exc:
        raise CorruptCollectionError(f"{path}: {one_line(exc)}; restore it from a backup") from exc
    inside(path.parent, manifest.files)
    inside(path.parent, (s.deletes for s in manifest.segments if s.deletes))
    models = [manifest.models, *(s.models for s in manifest.segments)]
    names = {*manifest.indexes, *(s.id for s in manifest.segments), *(n for m in models for pair in m.items() for n in pair)}
    if strange := sorted(n for n in names if not _NAME.fullmatch(n)):
        raise CorruptCollectionError(f"{path} names {strange[0]!r}, which is no name of a folder here; do not use this collection")
    return manifest
