"""Loading an encoder by its name; each is loaded once a process."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from ragkit.encoders.encoder import TextEncoder
from ragkit.encoders.fingerprint import fingerprint
from ragkit.encoders.folder import model_folder
from ragkit.encoders.openvino import OpenVINOBackend, can_convert, convert, converted
from ragkit.encoders.settings import DEFAULT_MODEL, STATIC_MODEL, EncoderSettings
from ragkit.encoders.static import static_encoder
from ragkit.encoders.transformer import TransformerBackend, load_model, prompts_of, similarity_of
from ragkit.errors import InputError, RagkitError
from ragkit.home import home

_log = logging.getLogger(__name__)
_loaded: dict[EncoderSettings, TextEncoder] = {}
_lock = Lock()


def encoder(model: str = DEFAULT_MODEL, **settings: Any) -> TextEncoder:
    """Load an encoder.

    model      folder of a sentence-transformers model, hub id, or "static"; the default model is never downloaded
    settings   dim, query_prompt, document_prompt, max_length, device, backend, precision: see `EncoderSettings`
    raises     InputError or OfflineError where the model is not there, MissingDependencyError where a package is missing
    """
    return load_encoder(EncoderSettings(model=model, **settings))


def load_encoder(settings: EncoderSettings) -> TextEncoder:
    """The encoder of these settings, loaded when it is first asked for."""
    with _lock:
        if settings not in _loaded:
            _loaded[settings] = _static(settings) if settings.model == STATIC_MODEL else _load(settings)
        return _loaded[settings]


def default_is_there() -> bool:
    """Whether the default encoder can be loaded with what is installed."""
    if find_spec("sentence_transformers") is None or find_spec("torch") is None:
        return False
    try:
        model_folder(DEFAULT_MODEL)
    except RagkitError:
        return False
    return True


def fingerprint_of(settings: EncoderSettings) -> str:
    """Fingerprint of the encoder of these settings, from its files alone."""
    decisive = {n: getattr(settings, n) for n in ("dim", "query_prompt", "document_prompt", "max_length")}
    if settings.model == STATIC_MODEL:
        return fingerprint(model_folder(DEFAULT_MODEL), recipe="static-1", **decisive)
    return fingerprint(model_folder(settings.model), **decisive)


def _static(settings: EncoderSettings) -> TextEncoder:
    if settings.query_prompt or settings.document_prompt or settings.max_length:
        raise InputError("the static encoder reads no prompts and no more than it is given; leave out prompts and max_length")
    mark = fingerprint_of(settings)
    teacher = EncoderSettings(device=settings.device, precision=settings.precision)
    backend = static_encoder(home() / "encoders" / f"{mark}-static", model_folder(DEFAULT_MODEL), lambda: _load(teacher))
    return TextEncoder(backend, model=STATIC_MODEL, fingerprint=mark, dim=settings.dim)


def _load(settings: EncoderSettings) -> TextEncoder:
    folder = model_folder(settings.model)
    mark = fingerprint_of(settings)
    kept = home() / "encoders" / f"{mark}-openvino"
    wanted = settings.backend == "openvino" or (settings.backend == "auto" and settings.device in ("auto", "cpu") and _openvino_is_best())
    facts = converted(kept) if wanted else None
    if facts is None:
        if not wanted:
            return _of_torch(folder, mark, settings)
        facts = _convert(folder, kept, settings)
        if facts is None:
            return _of_torch(folder, mark, settings)
    return TextEncoder(OpenVINOBackend(kept, facts, settings), fingerprint=mark, dim=settings.dim, model=settings.model, **facts["encoder"])


def _convert(folder: Path, kept: Path, settings: EncoderSettings) -> dict[str, Any] | None:
    """Convert a model and return the facts; None where it is not of a kind that can be converted."""
    plain = EncoderSettings(model=settings.model, device="cpu", precision="float32", max_length=settings.max_length)
    model = load_model(folder, plain)
    if not can_convert(model):
        if settings.backend == "openvino":
            raise InputError(f"the model {settings.model!r} is not one that OpenVINO can take over; use backend='torch'")
        _log.info("%s stays with torch: OpenVINO takes over transformers with pooling only", settings.model)
        return None
    facts = {"model": settings.model, "dim": int(model.get_embedding_dimension()), "encoder": _about(model, settings)}
    convert(model, kept, facts)
    return converted(kept)


def _of_torch(folder: Path, mark: str, settings: EncoderSettings) -> TextEncoder:
    model = load_model(folder, settings)
    return TextEncoder(TransformerBackend(model), fingerprint=mark, dim=settings.dim, model=settings.model, **_about(model, settings))


def _about(model: Any, settings: EncoderSettings) -> dict[str, str]:
    query, document = prompts_of(model, settings)
    return {"similarity": similarity_of(model), "query_prompt": query, "document_prompt": document}


def _openvino_is_best() -> bool:
    """OpenVINO is installed and no GPU can be used; asked without importing torch where OpenVINO is missing."""
    if find_spec("openvino") is None:
        return False
    return not (Path("/proc/driver/nvidia/version").exists() and _cuda())


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
