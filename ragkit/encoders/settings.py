"""What decides an encoder's vectors (model, prompts, dimension, length) and how they are computed (device, backend, precision)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ragkit.spec import validated

DEFAULT_MODEL = "all-MiniLM-L6-v2"
STATIC_MODEL = "static"
ENGLISH_MODELS = (DEFAULT_MODEL, f"sentence-transformers/{DEFAULT_MODEL}", STATIC_MODEL)
"""Names of encoders that are known to have learnt English only."""


@validated
class EncoderSettings:
    """Settings of an encoder.

    model            folder of a sentence-transformers model, its hub id, or "static" (see `ragkit.encoders.static`)
    dim              keep the first dim dimensions and normalise again (Matryoshka truncation); None: all
    query_prompt     prefix of every question; None: what the model says
    document_prompt  prefix of every document; None: what the model says
    max_length       tokens of a text that are read; None: what the model says
    device           "auto": a GPU where there is one
    backend          "auto": OpenVINO on a CPU where it is installed and the model allows it, else torch
    precision        "auto": with OpenVINO int8 where the CPU has instructions for it, else bfloat16 where it has those, else
                     float32; float16 on a GPU
    """

    model: str = DEFAULT_MODEL
    dim: Annotated[int, Field(ge=1)] | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: Annotated[int, Field(ge=1)] | None = None
    device: str = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
