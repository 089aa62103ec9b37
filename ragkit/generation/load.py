"""Language models by name; each is loaded once a process."""

from __future__ import annotations

from threading import Lock
from typing import Any

from ragkit.errors import InputError
from ragkit.protocols import LanguageModel

_loaded: dict[tuple[str, str], LanguageModel] = {}
_lock = Lock()

SERVER = "openai:"


def llm(model: str | LanguageModel, **settings: Any) -> LanguageModel:
    """A language model.

    model      "openai:NAME" for a server that speaks OpenAI's protocol (see `OpenAIModel`), else the folder of a transformers
               model, a hub id (fetched only where the network is allowed) or a name registered under "models"; a model is
               handed on as it is
    settings   of the kind of model: see `TransformersModel` and `OpenAIModel`
    raises     InputError or OfflineError where the model is not there, MissingDependencyError where a package is missing
    """
    if not isinstance(model, str):
        if settings:
            raise InputError(f"{type(model).__name__} is loaded already; give settings {sorted(settings)} where it is made")
        return model
    key = (model, repr(sorted(settings.items())))
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(model, settings)
        return _loaded[key]


def _load(model: str, settings: dict[str, Any]) -> LanguageModel:
    from ragkit.registry import names, resolve

    made: LanguageModel
    if model.startswith(SERVER):
        from ragkit.generation.server.openai_model import OpenAIModel

        made = OpenAIModel(model.removeprefix(SERVER), **settings)
    elif model in names("models"):
        made = resolve("models", model)(**settings)
    else:
        from ragkit.generation.local.transformers_model import load_transformers

        made = load_transformers(model, **settings)
    return made
