"""A draft model that learns, while it is used, what the large model says where its drafts were wrong.

source: Liu et al., Online Speculative Decoding, ICML 2024. Taken back here where it made drafts worse, and nothing is learnt unasked.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from ragkit.collection.files import replace_file
from ragkit.errors import GenerationError, InputError
from ragkit.generation.local.files import load_files
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.speculative.distillation import Distillation, distil
from ragkit.generation.speculative.draft import Request
from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.generation.speculative.rate import Rate
from ragkit.generation.speculative.replay import Replay
from ragkit.generation.speculative.watching import Watching
from ragkit.registry import need

if TYPE_CHECKING:
    from ragkit.generation.speculative.lora import Adapter

_log = logging.getLogger(__name__)
_FILE = "adapter.safetensors"


@dataclass(frozen=True)
class Update:
    """What one update did.

    number  of the update, counted from 1
    places  that were drawn to learn from
    losses  mean divergence of the draft model from the large one before each step, and at the last one's places after it, in nats
    """

    number: int
    places: int
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Weights:
    """What a request is drafted with from its beginning to its end.

    labels  of the texts that were learnt from
    """

    draft: DraftModel
    adapter: Adapter | None
    labels: frozenset[str]
    rate: Rate


class OnlineDraft:
    """A draft model with an adapter that is trained between requests; safe to share between threads.

    model      a name, or a `DraftModel` with the name or the unpacked model and how it drafts
    distilled  how it learns
    every      recorded places after which the next request begins with an update; None: only `update` does one
    room       places that are kept to learn from, the last ones, of 400 bytes each beside their texts
    others     share of the places where its drafts were right, or none were made, that is recorded beside those where they were wrong;
               learning from all was measured to be best, and to take hardly longer
    context    tokens before a place that it is learnt with, at least, where there are so many
    drop       where the share of right drafts falls by so much of itself after an update, by more than texts differ, the weights before
               it come back
    window     texts over which that share is measured
    raises     InputError for settings out of range, a model that can't draft, or one whose weights are packed

    A text is recorded only where its request says whose it is, `Sources(learn="…")`: what one user writes must not train what others
    share. What was learnt can't be taken out of an adapter again, so `forget` drops adapters that have learnt from what is forgotten.
    A request keeps the weights that it began with. Whatever is learnt, the text that is written is the same.

    The weights are held twice, to learn and to draft with, and a third time while an update is on trial.
    """

    name: ClassVar[str] = "online draft model"
    lossless: ClassVar[bool] = True

    def __init__(
        self,
        model: str | DraftModel,
        *,
        distilled: Distillation = Distillation(),  # noqa: B008  (frozen)
        every: int | None = 4096,
        room: int = 16384,
        others: float = 1.0,
        context: int = 512,
        drop: float = 0.05,
        window: int = 64,
    ) -> None:
        for name, value in {"every": 1 if every is None else every, "room": room, "context": context, "window": window}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if not 0 <= others <= 1 or not 0 < drop < 1:
            raise InputError(f"others must be from 0 to 1 and drop between 0 and 1, got {others} and {drop}")
        draft = DraftModel(model) if isinstance(model, str) else model
        self._base = _unpacked(draft.model)
        replace(draft, model=self._base).load()  # says what can't draft
        self._draft, self.distilled, self.every, self.others, self.drop, self.window = draft, distilled, every, others, drop, window
        self._replay = Replay(room, min(context, (self._base.context or 4 * context) // 4 or 1))
        self._lock, self._training = Lock(), Lock()
        self._now, self._before = self._weights(None, frozenset()), None  # type: _Weights, _Weights | None
        self._learnt_from, self.updates, self.rolled_back = 0, 0, 0

    @property
    def recorded(self) -> int:
        """Places that are kept to learn from."""
        return len(self._replay)

    @property
    def rate(self) -> float | None:
        """Share of the places where the weights in use drafted that had a right draft, lately; None before there were any."""
        return self._now.rate.value

    def begin(self, request: Request) -> Watching:
        """See `ragkit.protocols.Drafter`; raises InputError as `DraftModel.begin` does. An update that is due is done before."""
        if self._training.acquire(blocking=False):  # else someone learns, and this request takes the weights as they are
            try:
                self._judge()
                if self.every is not None and self._before is None and self._replay.taken - self._learnt_from >= self.every:
                    self._update()
            except GenerationError as exc:
                _log.warning("%s: the draft model goes on as it was: %s", self._base.name, exc)
            finally:
                self._training.release()
        now = self._now
        return Watching(now.draft, now.rate, request, self._replay, self.distilled.top, self.others)

    def update(self) -> Update | None:
        """Learn from what was recorded, for the requests that begin from now on; None where nothing was.

        raises  GenerationError where the loss is no number; the weights are then as before
        """
        with self._training:
            self._judge()
            return self._update()

    def forget(self, label: str | None = None) -> None:
        """Drop what was recorded under a label, and weights that have learnt from it; None: all that was recorded and learnt."""
        with self._training:
            self._replay.forget(label)

            def clean(weights: _Weights) -> bool:
                return not weights.labels if label is None else label not in weights.labels

            with self._lock:
                before = self._before if self._before is not None and clean(self._before) else None
                if clean(self._now):
                    self._before = before
                else:
                    self._now, self._before = before or self._weights(None, frozenset()), None

    def save(self, folder: str | Path) -> None:
        """Write the adapter in use to a folder, as safetensors, with the labels of what it has learnt from.

        raises  InputError where nothing was learnt yet
        """
        files = need("safetensors.torch", extra="models", why="saving an adapter")
        now = self._now
        if now.adapter is None:
            raise InputError("there is nothing to save: the draft model has learnt nothing yet")
        tensors = {f"{name}.{m}": x.cpu().contiguous() for name, pair in now.adapter.items() for m, x in zip("ab", pair, strict=True)}
        notes = {"base": self._base.fingerprint, "labels": json.dumps(sorted(now.labels))}
        Path(folder).mkdir(parents=True, exist_ok=True)
        replace_file(Path(folder) / _FILE, files.save(tensors, notes))

    def load(self, folder: str | Path) -> None:
        """Go on with a saved adapter, for the requests that begin from now on.

        raises  InputError for an adapter of another model, or a folder that holds none
        """
        from ragkit.generation.speculative.lora import fits

        safetensors = need("safetensors", extra="models", why="loading an adapter")
        path = Path(folder) / _FILE
        try:
            with safetensors.safe_open(path, "pt", device=str(self._base.net.device)) as file:
                notes, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError) as exc:
            raise InputError(
                f"{folder} holds no adapter that can be read ({exc}); give a folder that OnlineDraft.save has written"
            ) from exc
        if notes.get("base") != self._base.fingerprint:
            raise InputError(f"the adapter in {folder} belongs to another model than {self._base.name!r}; give that one's, or learn anew")
        adapter = {name[:-2]: (tensors[name], tensors.get(f"{name[:-2]}.b")) for name in tensors if name.endswith(".a")}
        if not fits(self._base.net.model, adapter):
            raise InputError(f"the adapter in {folder} is damaged: its matrices don't fit the layers of {self._base.name!r}")
        with self._training:
            made = self._weights(adapter, frozenset(json.loads(notes["labels"])))
            with self._lock:
                self._now, self._before = made, None

    def _judge(self) -> None:
        """End the trial of an update where its outcome is known: go on with it, or go back."""
        with self._lock:
            if self._before is not None and (fell := self._now.rate.fell(self._before.rate, self.drop)) is not None:
                if fell:
                    _log.info("%s: an update made drafts worse and was taken back", self._base.name)
                    self._now, self.rolled_back = self._before, self.rolled_back + 1
                self._before = None

    def _update(self) -> Update | None:
        now, how = self._now, self.distilled
        self._learnt_from = self._replay.taken
        samples, labels = self._replay.draw(how.samples, (how.seed, self.updates))
        if not samples:
            return None
        self.updates += 1
        adapter, losses = distil(self._base.net.model, now.adapter, samples, how, self.updates)
        made = self._weights(adapter, now.labels | labels)
        with self._lock:
            if self._before is None:  # else those on trial are what was learnt on from: all of it is judged together
                self._before = now
            self._now = made
        return Update(self.updates, sum(len(s.at) for s in samples), tuple(losses))

    def _weights(self, adapter: Adapter | None, labels: frozenset[str]) -> _Weights:
        """What drafts, with the adapter merged into weights of its own."""
        from ragkit.generation.local.packed import pack
        from ragkit.generation.speculative.lora import merged

        base = self._base
        made = TransformersModel(
            pack(merged(base.net.model, adapter or {})), base.tokens.tokenizer,
            name=base.name, fingerprint=base.fingerprint, context=base.context, prefix_cache=False,
        )  # fmt: skip
        return _Weights(replace(self._draft, model=made), adapter, labels, Rate(self.window))


def _unpacked(model: str | TransformersModel) -> TransformersModel:
    """The model with weights that can be trained."""
    from ragkit.generation.local.packed import PackedLinear

    if isinstance(model, str):
        net, tokenizer, fingerprint = load_files(model, device="auto", dtype="auto", attention="sdpa")
        if net.config.is_encoder_decoder:
            raise InputError(f"{model!r} can't draft: it is an encoder-decoder model; give a causal one")
        return TransformersModel(net, tokenizer, name=model, fingerprint=fingerprint, prefix_cache=False)
    if any(isinstance(layer, PackedLinear) for layer in model.net.model.modules()):
        raise InputError(f"{model.name!r} can't be trained: its weights are packed; give its name, and it is loaded once more to learn")
    return model
