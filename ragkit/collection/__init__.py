"""The collection on disk: segments of columns, versions, commits, and the API over them."""

from ragkit.collection.checking import CheckReport, Damage, check
from ragkit.collection.collection import Collection
from ragkit.collection.compaction import CompactReport
from ragkit.collection.estimating import Estimate, estimate
from ragkit.collection.home import open_folder
from ragkit.collection.repairing import RepairReport, repair
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.sync import SyncReport

__all__ = [
    "CheckReport",
    "Collection",
    "CompactReport",
    "Damage",
    "Estimate",
    "RepairReport",
    "Snapshot",
    "SyncReport",
    "check",
    "estimate",
    "open_folder",
    "repair",
]
