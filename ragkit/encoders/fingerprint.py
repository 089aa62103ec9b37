"""Fingerprint of an encoder: a hash of all that its vectors depend on, so that vectors of two encoders never mix."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_KINDS = {".json", ".txt", ".model", ".safetensors", ".bin"}
_OTHER_BACKENDS = {"onnx", "openvino", "coreml"}


def fingerprint(folder: Path, **settings: Any) -> str:
    """16 hex digits over a model's configuration, tokenizer and weights, and over settings as plain JSON.

    How vectors are computed (device, backend, precision) is left out: it moves them less than their use can tell.
    cost   one read of the weights
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix in _KINDS and path.is_file() and not _OTHER_BACKENDS & set(relative.parts):
            with open(path, "rb") as f:
                digest.update(f"{relative.as_posix()} {hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
