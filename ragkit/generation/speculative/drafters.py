"""All drafters by their names, for `ragkit.llm(…, speculate=…)`."""

from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.generation.speculative.fused import Fused
from ragkit.generation.speculative.infinity_gram import InfinityGramDrafter
from ragkit.generation.speculative.judge import Judge, QualityGate
from ragkit.generation.speculative.online import OnlineDraft
from ragkit.generation.speculative.rapid import RAPID
from ragkit.generation.speculative.rasd import RASD
from ragkit.generation.speculative.rest import REST
from ragkit.generation.speculative.suffix_automaton import SuffixAutomatonDrafter
from ragkit.generation.speculative.token_recycling import TokenRecycling
from ragkit.generation.speculative.tri_gram import TriGramDrafter

__all__ = [
    "RAPID",
    "RASD",
    "REST",
    "DraftModel",
    "Fused",
    "InfinityGramDrafter",
    "Judge",
    "QualityGate",
    "OnlineDraft",
    "SuffixAutomatonDrafter",
    "TokenRecycling",
    "TriGramDrafter",
]
