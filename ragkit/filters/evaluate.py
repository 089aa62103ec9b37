"""Which documents of a segment a filter lets through, by pyarrow's compute functions over its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.filters.bind import IN_TEXT
from ragkit.filters.expression import And, Compare, Filter, Not

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[str], "pa.Array | None"]
Holds = Callable[[str], NDArray[np.bool_]]
_FUNCTIONS = {"==": "equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}


def _no_texts(text: str) -> NDArray[np.bool_]:
    raise TypeError(f"these documents have no texts in which to look for {text!r}")


def evaluate(filter: Filter, read: Read, n: int, holds: Holds = _no_texts) -> NDArray[np.bool_]:
    """bool (n,): the documents for which a filter holds.

    filter  made to fit the schema by `bind`
    read    the column of a field, None where no document of the segment has it
    holds   which documents' texts hold a string, bool (n,)
    cost    one pass over each column that is named
    """
    if isinstance(filter, Not):
        return ~evaluate(filter.part, read, n, holds)
    if isinstance(filter, Compare) and filter.operator == IN_TEXT:
        return holds(filter.value)
    if isinstance(filter, Compare):
        column = read(filter.field)
        return np.zeros(n, np.bool_) if column is None else _compare(filter, column)
    every = isinstance(filter, And)
    out = np.full(n, every)
    for part in filter.parts:  # type: ignore[attr-defined]  # And and Or alone are left
        found = evaluate(part, read, n, holds)
        out = out & found if every else out | found
    return out


def _compare(filter: Compare, column: Any) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    value, operator = filter.value, filter.operator
    if operator == "exists":
        return _bools(pc.is_valid(column))
    if pa.types.is_large_list(column.type):
        return _holds(column, value) if operator == "contains" else _is_list(column, value)
    if operator == "contains":
        return _bools(pc.match_substring(column, value))
    if operator == "startswith":
        return _bools(pc.starts_with(column, value))
    if operator == "in":
        values = [*value, *(-v for v in value if pa.types.is_floating(column.type) and v == 0)]  # 0.0 and -0.0 are equal
        return _bools(pc.is_in(column, value_set=pa.array(values, column.type)))
    return _bools(getattr(pc, _FUNCTIONS[operator])(column, pa.scalar(value, column.type)))


def _bools(found: Any) -> NDArray[np.bool_]:
    return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _holds(column: Any, value: str) -> NDArray[np.bool_]:
    """Which lists have an entry."""
    import pyarrow.compute as pc

    out = np.zeros(len(column), np.bool_)
    found = _bools(pc.equal(column.flatten(), value))
    out[np.asarray(pc.list_parent_indices(column))[found]] = True
    return out


def _is_list(column: Any, value: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which lists have these entries in this order, and no others."""
    import pyarrow.compute as pc

    out = _bools(pc.equal(pc.list_value_length(column), len(value)))
    rows = np.flatnonzero(out)
    flat = column.take(rows).flatten()
    for place, entry in enumerate(value):
        mine = flat.take(np.arange(place, len(flat), len(value)))
        out[rows] &= _bools(pc.equal(mine, entry))
    return out


def count_values(column: Any, mask: NDArray[np.bool_] | None) -> list[dict[str, Any]]:
    """[{"values": value, "counts": documents}] of the documents that a mask lets through; entries of lists count once a document."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = column if mask is None else column.filter(pa.array(mask))
    if pa.types.is_large_list(column.type):
        pairs = pa.table({"row": pc.list_parent_indices(kept), "entry": kept.flatten()})
        kept = pairs.group_by(["row", "entry"]).aggregate([]).column("entry")
    found: list[dict[str, Any]] = pc.value_counts(kept.drop_null()).to_pylist()
    return found
