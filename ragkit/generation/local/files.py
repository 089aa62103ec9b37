"""Local language models from a folder or a hub name: which class, which precision, which fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ragkit.encoders.fingerprint import content_of, fingerprint
from ragkit.encoders.folder import model_folder
from ragkit.encoders.transformer import quiet_transformers, reading
from ragkit.errors import InputError
from ragkit.registry import need

_fingerprints: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_SAVING = {"architectures", "dtype", "transformers_version", "_name_or_path"}
"""Entries of a configuration that come and go when a model is saved."""


def files_of(name: str) -> Path:
    """The folder of a model's files: a folder, or one of the local hub cache, else fetched unless offline."""
    if "/" not in name and not Path(name).is_dir():
        raise InputError(f"the model {name!r} is no folder and no hub id; give a folder or a full id such as org/model")
    return model_folder(name)


def load_files(name: str, *, device: str, dtype: str, attention: str) -> tuple[Any, Any, str]:
    """(model, tokenizer, fingerprint of the files and the precision); weights from safetensors alone, no code of the model's own.

    raises   InputError where the folder holds nothing that transformers can load
    """
    torch = need("torch", extra="models", why="running a language model")
    library = need("transformers", extra="models", why="running a language model")
    folder = files_of(name)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "auto"
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InputError(f"dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    safe = {"local_files_only": True, "trust_remote_code": False}
    with reading(folder, "language model that transformers can load from config, tokenizer and safetensors"), quiet_transformers():
        config = library.AutoConfig.from_pretrained(folder, **safe)
        kind = library.AutoModelForSeq2SeqLM if config.is_encoder_decoder else library.AutoModelForCausalLM
        model = kind.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=attention,
            **safe,
        ).to(device)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, **safe)
    return model, tokenizer, fingerprint(content_of(folder), **_decisive(model, tokenizer))


def load_tokenizer(name: str) -> Any:
    """A tokenizer of transformers from a folder or the hub, alone; one written in Python, without offsets, is refused.

    raises   InputError where there is none that can be loaded
    """
    library = need("transformers", extra="models", why="reading text as a language model does")
    folder = files_of(name)
    with reading(folder, "tokenizer that transformers can load"), quiet_transformers():
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise InputError(f"the tokenizer of {name!r} can't say which characters a token stands for; give one with a tokenizer.json")
    return tokenizer


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Two tokenizers with one fingerprint cut every text into the same tokens. cost: one reading of the vocabulary, once an object"""
    if tokenizer not in _fingerprints:
        _fingerprints[tokenizer] = _tokenizer_fingerprint(tokenizer)
    return _fingerprints[tokenizer]


def _tokenizer_fingerprint(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    for passing in ("truncation", "padding"):  # which the last call has set
        content.pop(passing, None)
    return fingerprint(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())


def fingerprint_of_objects(model: Any, tokenizer: Any) -> str:
    """Fingerprint of a model that is in memory: of its configuration, the bytes of its weights, and its tokenizer."""
    torch = need("torch", extra="models", why="running a language model")
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in _SAVING}
    digest = hashlib.sha256(f"{type(model).__name__} {json.dumps(config, sort_keys=True, default=str)}".encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    digest.update((backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)).encode())
    return fingerprint(digest.hexdigest(), **_decisive(model, tokenizer))


def _decisive(model: Any, tokenizer: Any) -> dict[str, Any]:
    return {"dtype": str(model.dtype), "chat_template": tokenizer.chat_template, "ends": sorted(end_tokens(model, tokenizer))}


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text: of the generation configuration, else the model's, else the tokenizer's."""
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ends = getattr(source, "eos_token_id", None)
        if ends is not None:
            return frozenset([ends] if isinstance(ends, int) else ends)
    return frozenset()


def context_of(model: Any) -> int | None:
    """Positions that a model was made for; None where its configuration does not say."""
    config = model.config.get_text_config(decoder=True)
    known = getattr(config, "max_position_embeddings", None)
    return int(known) if known else None
