"""Real model servers on this machine's loopback, for the tests: one of transformers', one of llama.cpp's.

The commands that start them (MODEL is a copy of docs-7m with a chat template, see `model_folder`; docs-7m.gguf the same weights):

    OMP_NUM_THREADS=1 python -c "from transformers.cli.transformers import main; main()" serve MODEL
        --host 127.0.0.1 --port PORT --device cpu --dtype float32
    python -m llama_cpp.server --model docs-7m.gguf --model_alias docs-7m --host 127.0.0.1 --port PORT
        --n_ctx 512 --logits_all true --n_threads 1 --n_threads_batch 1 --interrupt_requests false

The first needs fastapi and uvicorn beside transformers and openai, and serves /v1/chat/completions and /v1/completions without
log-probabilities and schemas. The second needs llama-cpp-python[server] (built from source: cmake and a C++ compiler) and gguf, and serves
log-probabilities, echoed prompts and grammars as well.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

TEMPLATE = (
    "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

MODELS = Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))

STARTING = 120.0
"""Seconds that a server may take to answer at first, on a busy machine."""


@dataclass(frozen=True)
class Server:
    """A running server: its base address and the name of its model."""

    base_url: str
    model: str
    folder: Path


def model_folder(parent: Path) -> Path:
    """A copy of docs-7m that has a chat template and draws where a temperature is given."""
    source = MODELS / "docs-7m"
    if not source.is_dir():
        pytest.skip(f"no model at {source} (RAGKIT_MODELS)")
    folder = parent / "docs-7m"
    folder.mkdir()
    for file in source.iterdir():
        shutil.copyfile(file, folder / file.name)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"do_sample": True}))
    return folder


@contextmanager
def transformers_server(folder: Path) -> Iterator[Server]:
    """`transformers serve` with the model of a folder."""
    _need("fastapi", "uvicorn", "openai", "transformers")
    port = _free_port()
    main = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", main, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with _running([*command, "--dtype", "float32"], f"http://127.0.0.1:{port}/health", folder.parent / "transformers.log"):
        yield Server(f"http://127.0.0.1:{port}/v1", str(folder), folder)


@contextmanager
def llama_server(folder: Path) -> Iterator[Server]:
    """llama.cpp's server with the weights of a folder."""
    _need("llama_cpp", "gguf", "starlette_context", "sse_starlette", "pydantic_settings")
    port, weights = _free_port(), folder.parent / "docs-7m.gguf"
    write_gguf(folder, weights)
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(weights), "--model_alias", "docs-7m", "--host", "127.0.0.1"]
    settings = {"port": port, "n_ctx": 512, "logits_all": "true", "n_threads": 1, "n_threads_batch": 1, "interrupt_requests": "false"}
    command += [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    with _running(command, f"http://127.0.0.1:{port}/v1/models", folder.parent / "llama.log"):
        yield Server(f"http://127.0.0.1:{port}/v1", "docs-7m", folder)


def write_gguf(folder: Path, target: Path) -> None:
    """The weights and the tokenizer of a small Llama in llama.cpp's format, in float32."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    layers, heads, pairs = config["num_hidden_layers"], config["num_attention_heads"], config["num_key_value_heads"]
    special = {t["id"] for t in tokenizer["added_tokens"]}
    tokens = [t for t, _ in sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])]
    out = gguf.GGUFWriter(str(target), "llama")
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(layers)
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(pairs)
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    out.add_vocab_size(config["vocab_size"])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))])
    out.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    out.add_bos_token_id(config["bos_token_id"])
    out.add_eos_token_id(config["eos_token_id"])
    out.add_pad_token_id(config["pad_token_id"])
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    for name, weights in load_file(folder / "model.safetensors").items():
        values = weights.astype(np.float32)
        for part, n in (("q_proj", heads), ("k_proj", pairs)):
            if part in name:  # transformers keeps the two halves of a rotated pair apart, llama.cpp side by side
                values = values.reshape(n, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        out.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(values))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def _need(*packages: str) -> None:
    absent = [p for p in packages if find_spec(p) is None]
    if absent:
        pytest.skip(f"the server needs {', '.join(absent)}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[str], health: str, log: Path) -> Iterator[None]:
    """The process while the block runs; killed at its end, and raised with its output if it doesn't come up."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "default"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
    try:
        _wait(process, health, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < STARTING:
        try:
            with opener.open(health, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not come up; its output ends: {log.read_text(errors='replace')[-2000:]}")
