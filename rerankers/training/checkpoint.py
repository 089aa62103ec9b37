"""A training that can be cut off at any time: its steps (`train`), and checkpoints of tensors as safetensors and the rest as JSON.

An output folder holds ``ragkit_training.json``, which says which training it is and whether it is done, and until then
``checkpoints/step-N``. A checkpoint is written under another name, flushed and renamed; one that is damaged is passed over.
Nothing of it is executed at loading.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragkit.collection.files import replace_file, sync_file, sync_folder
from ragkit.digests import sha256_file
from ragkit.errors import InputError
from ragkit.progress import Progress, track
from ragkit.registry import need

RECORD = "ragkit_training.json"
_WHY = "training a reranker"
_DECAY, _LONGEST_GRADIENT = 0.01, 1.0
_KEPT = 2
_TENSORS, _NOTES, _WRITING = "state.safetensors", "state.json", ".writing"


@dataclass(frozen=True)
class Checkpoint:
    """A training as it was after some steps.

    step     steps done
    tensors  by name
    notes    plain JSON
    """

    step: int
    tensors: Mapping[str, Any]
    notes: Mapping[str, Any]


def prepare(output: Path, base: Path, training: str, resume: bool) -> bool:
    """Make the output folder ready for a training; whether it holds that training's finished model already.

    base      folder of the model that the training starts from
    training  digest of all that decides the result
    raises    InputError where the folder holds the base or something else; another training that has no checkpoint yet gives way
    """
    if base.resolve().is_relative_to(output.resolve()):
        raise InputError(f"the base {base} lies in the output {output}, which is written over; name another folder for the output")
    record = _read(output / RECORD)
    if record is not None and resume:
        if record["training"] == training:
            return bool(record["finished"])
        if record["finished"] or any((output / "checkpoints").glob("*-*")):  # step-N, or checkpoint-N of a trainer
            raise InputError(
                f"{output} holds a training of another base, other examples or settings; name another folder, or give resume=False to "
                "start over in it"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        if record is None:
            raise InputError(f"{output} holds something that is no training of a reranker; name a new or empty folder")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    _write(output / RECORD, {"training": training, "finished": False})
    return False


def finish(output: Path, notes: Mapping[str, Any]) -> None:
    """Mark the training as done, with notes, and take its checkpoints away."""
    record = _read(output / RECORD)
    _write(output / RECORD, {**(record or {}), **notes, "finished": True})
    shutil.rmtree(output / "checkpoints", ignore_errors=True)


def save(output: Path, made: Checkpoint) -> None:
    """Write a checkpoint; the last two are kept."""
    files = need("safetensors.torch", extra="train", why=_WHY)
    folder = output / "checkpoints"
    writing, final = folder / _WRITING, folder / f"step-{made.step}"
    for old in (writing, final):
        shutil.rmtree(old, ignore_errors=True)
    writing.mkdir(parents=True)
    files.save_file(dict(made.tensors), writing / _TENSORS)
    sync_file(writing / _TENSORS)
    _write(writing / _NOTES, {"step": made.step, "sha256": sha256_file(writing / _TENSORS), "notes": dict(made.notes)})
    os.rename(writing, final)
    sync_folder(folder)
    for old in _steps(folder)[:-_KEPT]:
        shutil.rmtree(old)


def last(output: Path) -> Checkpoint | None:
    """The newest whole checkpoint, its tensors on the CPU; None where there is none."""
    files = need("safetensors.torch", extra="train", why=_WHY)
    for folder in reversed(_steps(output / "checkpoints")):
        state = _read(folder / _NOTES)
        if state is not None and (folder / _TENSORS).is_file() and sha256_file(folder / _TENSORS) == state["sha256"]:
            return Checkpoint(state["step"], files.load_file(folder / _TENSORS), state["notes"])
    return None


def warm_cosine(learning_rate: float, warmup: float, steps: int) -> Callable[[int], float]:
    """The learning rate of each step: rises evenly over the first share `warmup`, then falls to 0 along half a cosine.

    >>> [round(warm_cosine(1.0, 0.5, 4)(step), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = math.ceil(warmup * steps)

    def rate(step: int) -> float:
        if step < warm:
            return learning_rate * (step + 1) / warm
        return learning_rate * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

    return rate


def train(
    model: Any,
    losses: Callable[[int], Iterable[Any]],
    output: Path,
    *,
    steps: int,
    rate: Callable[[int], float],
    every: int,
    seed: int,
    progress: Progress,
) -> list[float]:
    """Train the model's parameters in place with AdamW, from the last checkpoint on where there is one.

    losses   the parts of a step's loss, computed one by one while their gradients are summed; may draw from torch's random state
    rate     learning rate of each step
    every    steps between checkpoints; there is one after the last step too
    seed     of torch's random state, which is the caller's own again afterwards
    returns  each step's loss, of all steps
    raises   InputError where a loss or a gradient is no number; Cancelled by the progress callback

    Weights of two axes and more decay by 0.01 of the learning rate; gradients longer than 1 are cut to that length.
    """
    torch = need("torch", extra="train", why=_WHY)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = [{"params": [p for p in parameters.values() if (p.ndim > 1) == many], "weight_decay": _DECAY * many} for many in (True, False)]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0)
    with track("training", steps, progress) as tracker, torch.random.fork_rng():
        torch.manual_seed(seed)
        done: list[float] = []
        if (start := last(output)) is not None:
            _restore(start.tensors, parameters, optimizer)
            done = list(start.notes["losses"])
            tracker.advance(start.step)
        for step in range(len(done), steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad(set_to_none=True)
            loss = 0.0
            for part in losses(step):
                part.backward()
                loss += float(part.detach())
            length = float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), _LONGEST_GRADIENT))
            if not math.isfinite(loss) or not math.isfinite(length):
                raise InputError(
                    f"step {step + 1} of {steps} has a loss of {loss} with gradients of length {length}, and nothing can be learned "
                    "from that; train with a lower learning_rate or a longer warmup, and see that the base's weights are numbers"
                )
            optimizer.step()
            done.append(loss)
            if len(done) % every == 0 or len(done) == steps:
                save(output, Checkpoint(len(done), _state(parameters, optimizer), {"losses": done}))
            tracker.advance()
    return done


def _state(parameters: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
    """Weights, AdamW's moments and the random state, as tensors on the CPU."""
    torch = need("torch", extra="train", why=_WHY)
    state = {f"weights.{name}": p.detach().cpu().contiguous() for name, p in parameters.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{number}.{kind}": value.cpu().contiguous() for kind, value in moments.items()}
    state["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(state: Mapping[str, Any], parameters: Mapping[str, Any], optimizer: Any) -> None:
    torch = need("torch", extra="train", why=_WHY)
    moments: dict[int, dict[str, Any]] = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == "weights":
            with torch.no_grad():
                parameters[rest].copy_(value)
        elif kind == "optimizer":
            number, _, moment = rest.partition(".")
            moments.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(state["random.cpu"])
    if "random.cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random.cuda"])


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=lambda f: int(f.name.removeprefix("step-")))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    replace_file(file, json.dumps(content).encode())


def _read(file: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where it is missing or was cut off."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None
