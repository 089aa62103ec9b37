"""The collection on disk: segments of columns, versions, commits, and the API over them."""

from ragkit.collection.collection import Collection
from ragkit.collection.home import open_folder
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.sync import SyncReport

__all__ = ["Collection", "Snapshot", "SyncReport", "open_folder"]
