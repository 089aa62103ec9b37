"""Backend over OpenVINO: about three times the speed of plain torch on a CPU, int8 or bfloat16 where the CPU has it.

The whole sentence-transformers model (transformer, pooling, further layers) is converted once and kept
under ``$RAGKIT_HOME/encoders``; from then on neither torch nor transformers is loaded to encode. In int8 the matrices of
weights are kept as bytes, one scale for each output; what they are multiplied with is brought to bytes as it comes, one
scale for each group of a token's entries, so that a text's vector does not depend on a calibration or on other texts.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numpy.typing import NDArray

from ragkit.encoders.batches import batches
from ragkit.encoders.settings import EncoderSettings
from ragkit.encoders.transformer import quiet_transformers
from ragkit.registry import need

_log = logging.getLogger(__name__)
_BUDGET = 2048
_GROUP = 128
"""Entries of a token that share a scale in int8: a third faster than bfloat16, with cosines to exact vectors of 0.998 and more."""
_SAFE_LAYERS = {"Transformer", "Pooling", "Normalize", "Dense"}


def openvino() -> Any:
    """OpenVINO with its usage statistics off: it sends them when it is imported, unless their package is missing."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    hidden = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own mark for "can't be imported"
    try:
        return need("openvino", extra="fast", why="encoding with OpenVINO")
    finally:
        if hidden is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = hidden


def can_convert(model: Any) -> bool:
    """Whether a sentence-transformers model is one that takes token ids and a mask and reads its prompt as text."""
    layers = list(model)
    tokenizer: Any = getattr(model, "tokenizer", None)
    pooled = [layer for layer in layers if type(layer).__name__ == "Pooling"]
    return (
        {type(layer).__name__ for layer in layers} <= _SAFE_LAYERS
        and len(pooled) == 1
        and pooled[0].include_prompt
        and getattr(tokenizer, "is_fast", False)
        and tokenizer.padding_side == "right"
        and bool(model.max_seq_length)
    )


def multiplies_bytes() -> bool:
    """Whether the CPU has instructions for sums of products of bytes, with which int8 is faster than anything else."""
    return any(get_host_cpu_features().get(name) for name in ("avx512vnni", "avxvnni"))


def convert(model: Any, folder: Path, int8: bool) -> dict[str, Any]:
    """Write a sentence-transformers model as OpenVINO's files, with its tokenizer; returns its dimension and length."""
    import torch

    ov = openvino()

    class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch is seen as Any
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    example = torch.ones((2, 8), dtype=torch.long)
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # of the tracer: branches on shapes, which the wrapped models don't take
        made = ov.convert_model(Pooled().float(), example_input={"input_ids": example, "attention_mask": example})
    if int8:
        _weights_to_bytes(made)
    ov.save_model(made, str(folder / "model.xml"), compress_to_fp16=False)
    (folder / "tokenizer.json").write_text(model.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    _log.info("converted a model for OpenVINO into %s", folder)
    return {"dim": int(model.get_embedding_dimension()), "max_length": int(model.max_seq_length), "int8": int8}


def _weights_to_bytes(model: Any) -> None:
    """Replace each constant matrix that is multiplied with by bytes and a scale for each output."""
    from openvino import opset13 as op

    for node in model.get_ordered_ops():
        matrix = node.input_value(1).get_node() if node.get_type_name() == "MatMul" else None
        if matrix is None or matrix.get_type_name() != "Constant" or len(matrix.shape) != 2:
            continue
        weights = matrix.data.astype(np.float32)
        scale = np.abs(weights).max(axis=1 if node.get_attributes()["transpose_b"] else 0, keepdims=True) / 127
        scale[scale == 0] = 1
        as_bytes = op.convert(op.constant(np.round(weights / scale).astype(np.int8)), "f32")
        node.input(1).replace_source_output(op.multiply(as_bytes, op.constant(scale)).output(0))


class OpenVINOBackend:
    """See `ragkit.encoders.encoder.Backend`."""

    name = "openvino"

    def __init__(self, folder: Path, facts: dict[str, Any], settings: EncoderSettings) -> None:
        ov = openvino()
        tokenizers = need("tokenizers", extra="models", why="encoding texts")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(facts["max_length"])
        options = {"PERFORMANCE_HINT": "THROUGHPUT"}  # a stream a core: matrices of one batch are too small to share well
        if facts["int8"]:
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(_GROUP)
        elif settings.precision != "auto":
            options["INFERENCE_PRECISION_HINT"] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[settings.precision]
        compiled = ov.Core().compile_model(str(folder / "model.xml"), "CPU", options)
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.precision = "int8" if facts["int8"] else {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[used]
        self.dim = int(facts["dim"])
        self._queue, self._lock = ov.AsyncInferQueue(compiled), Lock()

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        tokens = self._tokenizer.encode_batch_fast([prompt + t for t in texts] if prompt else list(texts))
        ids = [np.asarray(t.ids, np.int64) for t in tokens]
        out = np.empty((len(texts), self.dim), np.float32)

        def done(request: Any, at: NDArray[np.intp]) -> None:
            out[at] = request.get_output_tensor(0).data

        with self._lock:
            self._queue.set_callback(done)
            for at in batches([len(i) for i in ids], _BUDGET):
                padded = np.zeros((len(at), len(ids[at[0]])), np.int64)
                mask = np.zeros_like(padded)
                for row, i in enumerate(at):
                    padded[row, : len(ids[i])] = ids[i]
                    mask[row, : len(ids[i])] = 1
                self._queue.start_async([padded, mask], at)
            self._queue.wait_all()
        return out
