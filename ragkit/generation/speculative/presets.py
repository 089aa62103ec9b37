"""What `speculate=` can be, and the drafters that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ragkit.errors import InputError
from ragkit.generation.speculative.fused import Fused
from ragkit.protocols import Drafter, LossyDrafter

if TYPE_CHECKING:
    from ragkit.generation.local.transformers_model import TransformersModel
    from ragkit.generation.speculative.speculator import Speculator

Speculate = Literal["auto", "passages", "corpus", False] | Drafter | Fused


def speculator_of(model: TransformersModel, speculate: Speculate, *, allow_lossy: bool = False) -> Speculator | None:
    """What drafts for a model; None where nothing does.

    raises  InputError for an unknown name, a lossy drafter that was not allowed or is not alone, or a model that can't forget what it has
            read; "auto" then does without
    """
    if speculate is False or speculate is None:
        return None
    drafters = drafters_of(speculate)
    _check_lossy(drafters, allow_lossy)
    net = model.net
    if not net.goes_back:
        if speculate == "auto":
            return None
        raise InputError(
            f"{model.name!r} can't speculate: its {net.unforgetting} can't forget tokens that were read and turned out wrong; "
            "leave speculate at False"
        )
    from ragkit.generation.speculative.speculator import Speculator

    return Speculator(drafters, width=net.width, ends=model.ends, trees=net.reads_blocks)


def drafters_of(speculate: str | Drafter | Fused) -> tuple[Drafter, ...]:
    """Drafters by a preset's name, or as they are given; raises InputError for an unknown name."""
    if isinstance(speculate, str):
        if speculate not in ("auto", "passages", "corpus"):
            raise InputError(f"speculate must be 'auto', 'passages', 'corpus', a drafter, Fused(…) or False, got {speculate!r}")
        from ragkit.generation.speculative.rest import REST
        from ragkit.generation.speculative.suffix_automaton import SuffixAutomatonDrafter
        from ragkit.generation.speculative.token_recycling import TokenRecycling

        more = {"passages": (), "corpus": (REST(),), "auto": (REST(), TokenRecycling())}
        return (SuffixAutomatonDrafter(), *more[speculate])
    return tuple(Fused(speculate))


def lossy_of(drafters: Sequence[Drafter]) -> LossyDrafter | None:
    """The one that changes what is written."""
    return next((d for d in drafters if isinstance(d, LossyDrafter) and not d.lossless), None)


def _check_lossy(drafters: Sequence[Drafter], allowed: bool) -> None:
    for one in drafters:
        if one.lossless:
            continue
        if not isinstance(one, LossyDrafter):
            raise InputError(f"{one.name} changes what is written and does not say how: a drafter that is not lossless needs law and cited")
        if not allowed:
            raise InputError(f"{one.name} changes what is written: it follows {one.law}; give allow_lossy=True where that is wanted")
        if len(drafters) > 1:
            raise InputError(f"{one.name} changes what is written, which others' drafts may not meddle with; let it draft alone")
