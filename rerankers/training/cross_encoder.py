"""Fine-tuning a cross-encoder on one's own judgements with sentence-transformers' trainer, resumable after a kill.

The base is a cross-encoder, or an encoder such as the default one, which gets a fresh head. Weights are kept as
safetensors. Of a checkpoint the optimizer's and the random state are files of torch, which the trainer reads with `weights_only`:
tensors and numbers alone, never pickled objects.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ragkit.encoders.fingerprint import content_of
from ragkit.encoders.folder import model_folder
from ragkit.encoders.transformer import quiet_transformers, reading
from ragkit.errors import InputError, UnknownNameError
from ragkit.progress import Progress, Tracker, track
from ragkit.registry import need
from ragkit.rerankers.cross_encoder import MATCHING, cut_queries, has_linear_head
from ragkit.rerankers.training.checkpoint import finish, prepare
from ragkit.rerankers.training.examples import Example
from ragkit.stage import check_k

LOSSES = ("listnet", "ranknet", "lambda", "bce")
HEADS = ("matching", "linear")
SHARPNESS = 10.0
"""What listnet multiplies grades by: its target is their softmax, which for grades 0 and 1 as they are is almost even."""

_WHY = "training a cross-encoder"


@dataclass(frozen=True)
class _Settings:
    """All that decides the weights, besides the examples."""

    base: str
    epochs: int
    learning_rate: float
    warmup: float
    max_length: int
    batch_size: int
    loss: str
    head: str
    freeze_embeddings: bool
    precision: str
    seed: int


def train_cross_encoder(
    base: str,
    examples: Sequence[Example],
    output: str | Path,
    *,
    epochs: int = 2,
    learning_rate: float = 5e-5,
    warmup: float = 0.1,
    max_length: int = 256,
    batch_size: int = 4,
    loss: str = "listnet",
    head: str = "matching",
    freeze_embeddings: bool = False,
    precision: str = "float32",
    device: str = "auto",
    seed: int = 7,
    checkpoint_every: int = 100,
    resume: bool = True,
    progress: Progress = False,
) -> Path:
    """Train a cross-encoder and return its folder, for ``CrossEncoder(str(folder))``.

    base               folder or hub id of a cross-encoder, or of an encoder to start from
    examples           queries with relevant passages and negatives, from `mine`
    output             the model's folder; checkpoints lie in it until the training is done
    epochs             passes over the examples, their order shuffled
    learning_rate      highest of AdamW; rises over the first share `warmup` of the steps, then falls to 0
    max_length         tokens of query and passage together; passages are cut, see `CrossEncoder`
    batch_size         queries a step
    loss               "listnet" (softmax over a query's passages), "ranknet", "lambda" (LambdaLoss), "bce" (each pair for itself)
    head               of a base that has none: "matching" (`MatchingHead`: few judged queries do), or "linear", on the first token
    freeze_embeddings  keep the word embeddings as they are: for few examples, and faster on a CPU
    precision          "float32", or "bfloat16" for mixed precision
    checkpoint_every   steps between checkpoints; the last two are kept
    resume             a finished training of the same base, examples and settings is returned as it is, one that was cut off goes
                       on from its last whole checkpoint; False starts over
    raises             InputError for settings out of range, a base that can't be scored with one number, or an output that holds
                       the base or another training; MissingDependencyError where a package is missing; Cancelled by the progress callback

    On one machine with one number of threads the same arguments give the same weights, also after a resumption.
    """
    check_k(epochs, "epochs")
    check_k(batch_size, "batch_size")
    check_k(checkpoint_every, "checkpoint_every")
    if loss not in LOSSES:
        raise UnknownNameError.near("loss", loss, LOSSES)
    if head not in HEADS:
        raise UnknownNameError.near("head", head, HEADS)
    if precision not in ("float32", "bfloat16"):
        raise UnknownNameError.near("precision", precision, ("float32", "bfloat16"))
    if not 0 < learning_rate < 1 or not 0 <= warmup < 1 or check_k(max_length, "max_length") < 16:
        raise InputError(
            f"a training needs a learning_rate between 0 and 1, a warmup from 0 to below 1 and a max_length of at least 16, got "
            f"{learning_rate}, {warmup} and {max_length}"
        )
    if not examples:
        raise InputError("there is nothing to train on: give the examples that ragkit.rerankers.training.mine makes")
    folder = model_folder(base)
    settings = _Settings(
        content_of(folder), epochs, learning_rate, warmup, max_length, batch_size, loss, head, freeze_embeddings, precision, seed
    )
    target = Path(output)
    if prepare(target, folder, _digest(settings, examples), resume):
        return target
    with _own_random_state(), quiet_transformers():
        _train(folder, examples, target, settings, device, checkpoint_every, progress)
    finish(target, {})
    return target


def _digest(settings: _Settings, examples: Sequence[Example]) -> str:
    content = json.dumps([asdict(settings), [[e.query, e.passages, e.labels] for e in examples]])
    return sha256(content.encode()).hexdigest()[:16]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the trainer's own state is the last of its files."""

    def whole(made: Path) -> bool:
        try:
            return isinstance(json.loads((made / "trainer_state.json").read_text(encoding="utf-8")), dict)
        except (OSError, ValueError):
            return False

    made = sorted(folder.glob("checkpoint-*"), key=lambda f: int(f.name.rpartition("-")[2]))
    return next((f for f in reversed(made) if whole(f)), None)


def _train(
    folder: Path, examples: Sequence[Example], target: Path, settings: _Settings, device: str, every: int, progress: Progress
) -> None:
    library = need("sentence_transformers", extra="train", why=_WHY)
    need("accelerate", extra="train", why=_WHY)
    torch = need("torch", extra="train", why=_WHY)
    transformers = need("transformers", extra="train", why=_WHY)
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    transformers.set_seed(settings.seed)
    model = new_cross_encoder(folder, settings.max_length, chosen, settings.head)
    if settings.freeze_embeddings:
        model[0].model.base_model.embeddings.word_embeddings.requires_grad_(False)
    steps = -(-len(examples) // settings.batch_size)
    arguments = library.cross_encoder.CrossEncoderTrainingArguments(
        output_dir=str(target / "checkpoints"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=0.01,
        bf16=settings.precision == "bfloat16",
        use_cpu=chosen == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    start = last_checkpoint(target / "checkpoints")
    with track("training", steps * settings.epochs, progress) as tracker:
        trainer = library.cross_encoder.CrossEncoderTrainer(
            model=model,
            args=arguments,
            train_dataset=_dataset(examples, model, settings),
            loss=_loss(library, model, settings),
            callbacks=[_follow(transformers, tracker)],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    model.save_pretrained(str(target), create_model_card=False)


def new_cross_encoder(folder: Path, max_length: int, device: str, head: str) -> Any:
    """The cross-encoder of a folder, with a fresh head where it has none; passages alone are truncated."""
    library = need("sentence_transformers", extra="train", why=_WHY)
    with reading(folder, "model that a cross-encoder can start from"):
        if (folder / MATCHING).is_dir() or (head == "matching" and not has_linear_head(folder)):
            model = _with_matching_head(library, folder, max_length, device)
        else:
            model = library.CrossEncoder(str(folder), num_labels=1, max_length=max_length, device=device, local_files_only=True)
    model[0].processing_kwargs = {**model[0].processing_kwargs, "text": {"truncation": "only_second"}}
    return model


def _with_matching_head(library: Any, folder: Path, max_length: int, device: str) -> Any:
    from ragkit.rerankers.matching_head import MatchingHead

    encoder = library.base.modules.Transformer(
        str(folder), max_seq_length=max_length, model_kwargs={"local_files_only": True}, config_kwargs={"num_labels": 1}
    )
    if "token_type_ids" not in encoder.tokenizer.model_input_names:
        raise InputError(f"the tokenizer of {folder} does not tell query and passage apart, as a matching head needs; give head='linear'")
    fresh = MatchingHead(encoder.get_embedding_dimension())
    head = MatchingHead.load(str(folder / MATCHING)) if (folder / MATCHING).is_dir() else fresh
    return library.CrossEncoder(modules=[encoder, head], device=device)


def _dataset(examples: Sequence[Example], model: Any, settings: _Settings) -> Any:
    datasets = need("datasets", extra="train", why=_WHY)
    queries = cut_queries(model.tokenizer, [e.query for e in examples], settings.max_length)
    if settings.loss == "bce":
        pairs = [
            (q, p, float(label > 0)) for q, e in zip(queries, examples, strict=True) for p, label in zip(e.passages, e.labels, strict=True)
        ]
        columns = dict(zip(("query", "passage", "label"), map(list, zip(*pairs, strict=True)), strict=True))
        return datasets.Dataset.from_dict(columns)
    times = SHARPNESS if settings.loss == "listnet" else 1.0
    return datasets.Dataset.from_dict(
        {
            "query": queries,
            "passages": [list(e.passages) for e in examples],
            "labels": [[times * label for label in e.labels] for e in examples],
        }
    )


def _loss(library: Any, model: Any, settings: _Settings) -> Any:
    losses = library.cross_encoder.losses
    if settings.loss == "bce":
        return losses.BinaryCrossEntropyLoss(model)
    kinds: dict[str, Callable[..., Any]] = {"listnet": losses.ListNetLoss, "ranknet": losses.RankNetLoss, "lambda": losses.LambdaLoss}
    return kinds[settings.loss](model, mini_batch_size=-1)


def _follow(transformers: Any, tracker: Tracker) -> Any:
    """The trainer's callback that advances a tracker; a resumed training starts where it was."""

    class Follow(transformers.TrainerCallback):  # type: ignore[misc]  # the base is known only when transformers is there
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step:
                tracker.advance(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            tracker.advance()

    return Follow()


@contextmanager
def _own_random_state() -> Iterator[None]:
    """The training seeds Python's, numpy's and torch's generators; the caller gets theirs back."""
    torch = need("torch", extra="train", why=_WHY)
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
