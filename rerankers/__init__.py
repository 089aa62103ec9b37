"""Rerankers: stages that permute each query's hits, never losing or inventing one.

cross-encoders   `CrossEncoder`
one passage      `Pointwise` (yes/no, grades, monoT5, ProRank, mxbai, Qwen3, FollowIR), `QueryLikelihood`
two              `Pairwise` (duoT5, PRP)
a few            `Setwise`
windows          `Listwise` (RankGPT, RankZephyr), `SingleToken` (FIRST), `SetBased`, cut by `Sliding`, `Full`, `TopDown`, `Consistent`
"""

if __name__ != "ragkit.rerankers":
    raise ImportError("import ragkit.rerankers, not rerankers: the folder rerankers/ is installed as ragkit.rerankers")

from ragkit.rerankers.cache import ResultCache
from ragkit.rerankers.cross_encoder import CrossEncoder
from ragkit.rerankers.listwise import Listwise
from ragkit.rerankers.pairwise import Pairwise
from ragkit.rerankers.pointwise import Pointwise
from ragkit.rerankers.prompts import ListwisePrompt, PairwisePrompt, PointwisePrompt
from ragkit.rerankers.query_likelihood import QueryLikelihood
from ragkit.rerankers.set_based import SetBased
from ragkit.rerankers.setwise import Setwise
from ragkit.rerankers.single_token import SingleToken
from ragkit.rerankers.windows import Consistent, Full, Sliding, TopDown

__all__ = [
    "Consistent",
    "CrossEncoder",
    "Full",
    "Listwise",
    "ListwisePrompt",
    "Pairwise",
    "PairwisePrompt",
    "Pointwise",
    "PointwisePrompt",
    "QueryLikelihood",
    "ResultCache",
    "SetBased",
    "Setwise",
    "SingleToken",
    "Sliding",
    "TopDown",
]
