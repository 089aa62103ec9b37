"""Loading an encoder by its name; each is loaded once a process."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from ragkit.encoders.encoder import Backend, TextEncoder
from ragkit.encoders.fingerprint import content_of, fingerprint
from ragkit.encoders.folder import model_folder
from ragkit.encoders.kept import keep, kept
from ragkit.encoders.openvino import OpenVINOBackend, can_convert, convert, multiplies_bytes
from ragkit.encoders.settings import DEFAULT_MODEL, STATIC_MODEL, EncoderSettings
from ragkit.encoders.static import static_encoder
from ragkit.encoders.transformer import TransformerBackend, about_model, load_model
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
    return _fingerprint(settings, content_of(_folder(settings)))


def _folder(settings: EncoderSettings) -> Path:
    return model_folder(DEFAULT_MODEL if settings.model == STATIC_MODEL else settings.model)


def _fingerprint(settings: EncoderSettings, content: str) -> str:
    decisive: dict[str, Any] = {n: getattr(settings, n) for n in ("dim", "query_prompt", "document_prompt", "max_length")}
    if settings.model == STATIC_MODEL:
        decisive["recipe"] = "static-1"
    return fingerprint(content, **decisive)


def _static(settings: EncoderSettings) -> TextEncoder:
    if settings.query_prompt or settings.document_prompt or settings.max_length:
        raise InputError("the static encoder reads no prompts and no more than it is given; leave out prompts and max_length")
    folder = _folder(settings)
    content = content_of(folder)
    teacher = EncoderSettings(device=settings.device, backend="torch", precision="float32")  # the same vectors on every machine
    backend = static_encoder(home() / "encoders" / f"{fingerprint(content)}-static", folder, lambda: _load(teacher))
    return TextEncoder(backend, model=STATIC_MODEL, fingerprint=_fingerprint(settings, content), dim=settings.dim)


def _load(settings: EncoderSettings) -> TextEncoder:
    folder = _folder(settings)
    content = content_of(folder)
    wanted = settings.backend == "openvino" or (settings.backend == "auto" and settings.device in ("auto", "cpu") and _openvino_is_best())
    int8 = settings.precision == "int8" or (settings.precision == "auto" and multiplies_bytes())
    # one conversion serves all prompts and dimensions
    converted = home() / "encoders" / f"{fingerprint(content, max_length=settings.max_length, int8=int8)}-openvino"
    facts = kept(converted) or _convert(folder, converted, settings, int8) if wanted else None
    backend: Backend
    if facts is None and settings.precision == "int8":
        raise InputError(
            f"precision='int8' needs OpenVINO on a CPU and a model it can take over, which {settings.model!r} here is not; leave it out"
        )
    if facts is None:
        model = load_model(folder, settings)
        backend, about = TransformerBackend(model), about_model(model)
    else:
        backend, about = OpenVINOBackend(converted, facts, settings), facts["about"]
    chosen = {n: v for n in ("query_prompt", "document_prompt") if (v := getattr(settings, n)) is not None}
    return TextEncoder(backend, model=settings.model, fingerprint=_fingerprint(settings, content), dim=settings.dim, **{**about, **chosen})


def _convert(folder: Path, converted: Path, settings: EncoderSettings, int8: bool) -> dict[str, Any] | None:
    """Convert a model and return what is known of it; None where it is not of a kind that can be converted."""
    model = load_model(folder, EncoderSettings(device="cpu", precision="float32", max_length=settings.max_length))
    if not can_convert(model):
        if settings.backend == "openvino":
            raise InputError(f"the model {settings.model!r} is not one that OpenVINO can take over; use backend='torch'")
        _log.info("%s stays with torch: OpenVINO takes over transformers with pooling only", settings.model)
        return None
    about = about_model(model)
    keep(converted, lambda made: {**convert(model, made, int8), "about": about})
    return kept(converted)


def _openvino_is_best() -> bool:
    """OpenVINO is installed and no GPU can be used; asked without importing torch where OpenVINO is missing."""
    if find_spec("openvino") is None:
        return False
    return not (Path("/proc/driver/nvidia/version").exists() and _cuda())


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
