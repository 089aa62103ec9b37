"""Backend over sentence-transformers and torch: any model that the library loads, on a CPU or GPU.

sentence-transformers applies the model's own pooling, prompt masking and extra layers; batches are
ours: texts of similar length, as many as fit a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.encoders.batches import batches
from ragkit.encoders.settings import EncoderSettings
from ragkit.errors import InputError, RagkitError
from ragkit.registry import need

_BUDGET = 8192
_CHARACTERS_A_TOKEN = 4
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


def load_model(folder: Path, settings: EncoderSettings) -> Any:
    """The SentenceTransformer of a folder, in the precision that the settings and the device call for."""
    library = need("sentence_transformers", extra="models", why="encoding texts")
    torch = need("torch", extra="models", why="encoding texts")
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    precision = settings.precision if settings.precision != "auto" else _best_precision(torch, device)
    with reading(folder, "model that sentence-transformers can load"), quiet_transformers():
        model = library.SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"dtype": getattr(torch, precision)}
        ).eval()
    if settings.max_length is not None:
        model.max_seq_length = settings.max_length
    return model


@contextmanager
def reading(folder: Path, wanted: str) -> Iterator[None]:
    """Around the loading of a model: what its files are not fit for is told as InputError.

    wanted  what the folder should hold
    """
    safetensors = need("safetensors", extra="models", why="loading a model")
    try:
        yield
    except RagkitError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, safetensors.SafetensorError) as exc:
        told = str(exc).strip().partition("\n")[0]
        raise InputError(f"{folder} holds no {wanted} ({told}); name a folder or a hub id of one") from exc


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers without its bars and remarks: progress of long work is ours to show."""
    library: Any = import_module("transformers.utils.logging")
    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


def _best_precision(torch: Any, device: str) -> str:
    if device != "cpu":
        return "float16"
    return "bfloat16" if torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported() else "float32"


def about_model(model: Any) -> dict[str, str]:
    """The model's own similarity and prompts; raises InputError for a similarity that is not a product of vectors."""
    similarity = str(model.similarity_fn_name)
    if similarity not in ("cosine", "dot"):
        raise InputError(f"the model compares vectors by {similarity}, and ragkit searches by cosine or dot product; use another model")
    prompts = model.prompts
    document = next((prompts[n] for n in _DOCUMENT_PROMPTS if prompts.get(n)), "")
    return {"similarity": similarity, "query_prompt": prompts.get("query") or "", "document_prompt": document}


class TransformerBackend:
    """See `ragkit.encoders.encoder.Backend`."""

    name = "torch"

    def __init__(self, model: Any) -> None:
        self._model, self._lock = model, Lock()
        self.precision = str(next(model.parameters()).dtype).removeprefix("torch.")
        self.dim = int(model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        out = np.empty((len(texts), self.dim), np.float32)
        longest = self._model.max_seq_length or _BUDGET
        tokens = [min(len(t) // _CHARACTERS_A_TOKEN, longest) for t in texts]
        with self._lock:
            for at in batches(tokens, _BUDGET):
                made = self._model.encode(
                    [texts[i] for i in at], prompt=prompt or None, batch_size=len(at), show_progress_bar=False, convert_to_tensor=True
                )
                out[at] = made.float().cpu().numpy()
        return out
