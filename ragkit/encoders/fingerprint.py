"""Fingerprint of an encoder: a hash of all that its vectors depend on, so that vectors of two encoders never mix."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ragkit.digests import sha256_file

_KINDS = {".json", ".txt", ".model", ".safetensors", ".bin"}
_OTHER_BACKENDS = {"onnx", "openvino", "coreml"}


def fingerprint(content: str, **settings: Any) -> str:
    """16 hex digits over a model's content and over settings as plain JSON.

    How vectors are computed (device, backend, precision) is left out: it moves them less than their use can tell.
    """
    return hashlib.sha256(f"{content} {json.dumps(settings, sort_keys=True)}".encode()).hexdigest()[:16]


def content_of(folder: Path) -> str:
    """Hash of a model's configuration, tokenizer and weights. cost: one read of the weights"""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix in _KINDS and path.is_file() and not _OTHER_BACKENDS & set(relative.parts):
            digest.update(f"{relative.as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
