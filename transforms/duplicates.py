"""Rows with duplicate primary keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def has_duplicates(keys: pa.Array) -> bool:
    """Returns whether a key occurs more than once."""
    return bool(pc.count_distinct(keys).as_py() < len(keys))


def last_of_each_key(rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
    """Returns the last row of each key, in the order of the rows.

    The result is the same as after upserts of the rows one by one.

    >>> rows = pa.record_batch({"id": [1, 2, 1], "title": ["a", "b", "c"]})
    >>> last_of_each_key(rows, "id").to_pydict()
    {'id': [2, 1], 'title': ['b', 'c']}
    """
    keys = rows.column(primary)
    if not has_duplicates(keys):
        return rows
    places = pa.table({"key": keys, "place": np.arange(len(keys))})
    last = places.group_by("key").aggregate([("place", "max")])["place_max"]
    return rows.take(pa.array(np.sort(last.to_numpy())))
