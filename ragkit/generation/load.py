"""Language models by name; each is loaded once a process, and again when what it was made of has changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from ragkit.errors import InputError
from ragkit.protocols import LanguageModel

_Key = tuple[str, str]
"""A model's name, and a digest of its settings: there may be a key among them."""

_loaded: dict[_Key, tuple[str, LanguageModel]] = {}
"""Each model behind the state that it was made in, see `_state`."""
_loading: set[_Key] = set()
_locks: dict[_Key, RLock] = {}
_lock = Lock()
"""Of the table of locks alone: a model is loaded under a lock of its own, so that it may load others, and no other waits for it."""

SERVER = "openai:"


def llm(model: str | LanguageModel, **settings: Any) -> LanguageModel:
    """A language model.

    model      "openai:NAME" for a server that speaks OpenAI's protocol (see `OpenAIModel`), else the folder of a transformers
               model, a hub id (fetched only where the network is allowed) or a name registered under "models"; a model is
               handed on as it is
    settings   of the kind of model: see `TransformersModel` and `OpenAIModel`
    raises     InputError or OfflineError where the model is not there, MissingDependencyError where a package is missing

    The same name and settings give the same object, until the files of its folder or the environment of a server's model
    (OPENAI_API_KEY, OPENAI_BASE_URL and their kin) change.
    """
    if not isinstance(model, str):
        if settings:
            raise InputError(f"{type(model).__name__} is loaded already; give settings {sorted(settings)} where it is made")
        return model
    key = (model, _digest(sorted((name, _told(value)) for name, value in settings.items())))
    with _lock:
        lock = _locks.setdefault(key, RLock())
    with lock:
        if key in _loading:  # by this thread, or the lock would not be held twice
            raise InputError(f"the model {model!r} asks for itself while it is loaded; let it ask for another one")
        state = _state(model)
        made = _loaded.get(key)
        if made is None or made[0] != state:
            _loading.add(key)
            try:
                made = _loaded[key] = (state, _load(model, settings))
            finally:
                _loading.remove(key)
        return made[1]


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


def _state(model: str) -> str:
    """What a model is made of beside its name and settings: a server's environment, a folder's files by size and time."""
    if model.startswith(SERVER):
        return _digest(sorted((name, value) for name, value in os.environ.items() if name.startswith("OPENAI_")))
    files = ((path, path.stat()) for path in sorted(Path(model).resolve().rglob("*")) if path.is_file()) if Path(model).is_dir() else ()
    return _digest([(str(path), found.st_size, found.st_mtime_ns) for path, found in files])


def _told(value: Any) -> str:
    """A setting as part of a key; an object, which its model keeps, stands for itself alone."""
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError:
        return f"{type(value).__name__} {id(value)}"


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
