"""Checkpoints of a training: whatever kills it, it goes on to the same weights. The model is a toy, so that torch alone is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragkit.progress import Progress
from ragkit.rerankers.training import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 15
KILLS = {"step": 8, "save": 6}
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from ragkit.rerankers.training import checkpoint
from tests.rerankers.test_checkpoint import KILLS, trained

def training(where, step):
    write = checkpoint._write
    def die(file, content):
        if file.name == "state.json" and content["step"] >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, content)
    if where == "save":  # die while a checkpoint is being written
        checkpoint._write = die
    def seen(done, total, stage):
        if done == step and where == "step":
            os.kill(os.getpid(), signal.SIGKILL)
    trained(Path(sys.argv[1], where), seen)

torch.set_num_threads(1)  # a forked process has no other threads
torch.optim.AdamW([torch.zeros(1)])  # what torch imports late is imported once, here
for where, step in KILLS.items():
    child = os.fork()
    if not child:
        training(where, step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"the training to be killed at {where} {step} ended by itself")
"""


def trained(output: Path, progress: Progress = False) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses of a small network that learns a sum; its dropout draws from torch's random state."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def losses(step: int) -> Iterator[Any]:
        for part in range(2):
            given = torch.tensor(np.random.default_rng((step, part)).normal(size=(6, 4)), dtype=torch.float32)
            yield ((model(given)[:, 0] - given.sum(1)) ** 2).mean() / 2

    rate = checkpoint.warm_cosine(0.05, 0.2, STEPS)
    done = checkpoint.train(model, losses, output, steps=STEPS, rate=rate, every=3, seed=7, progress=progress)
    return model.state_dict(), done


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each kill has left."""
    folder, root = tmp_path_factory.mktemp("killed"), Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True)
    return folder


@pytest.mark.parametrize(("where", "step"), [("step", 6), ("save", 3)])
def test_a_killed_training_goes_on_to_the_same_weights(killed: Path, tmp_path: Path, where: str, step: int) -> None:
    weights, losses = trained(tmp_path / "whole")
    assert losses[-1] < losses[0] / 2
    left = checkpoint.last(killed / where)
    assert left is not None
    assert left.step == step
    seen: list[int] = []
    found, theirs = trained(killed / where, lambda done, total, stage: seen.append(done))
    assert seen == list(range(step, STEPS + 1))
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert theirs == losses
