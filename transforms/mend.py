"""Makes ranges of the target equal to the source again."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from transforms import convert, fingerprint
from transforms.delivery import Delivery
from transforms.milvus import codec, filters
from transforms.milvus.client import Client
from transforms.milvus.pages import Reader
from transforms.plan import CollectionPlan
from transforms.ranges import Key, KeyRange


@dataclass(frozen=True)
class Mending:
    """What was done to one range, in rows."""

    written: int = 0
    deleted: int = 0


def mend(
    source: Reader,
    target: Client,
    plan: CollectionPlan,
    planned: KeyRange,
    there: dict[Key, bytes],
    repeated: set[Key],
    *,
    delete: bool,
    json_by_value: bool,
) -> Mending:
    """Writes what is missing or differs, and with `delete` removes what is extra.

    All writes are by key, so that doing it twice changes nothing. A repeated key is deleted first:
    an upsert replaces all its copies only on some versions.

    Args:
        there: the hash of each row of the range in the target, by key.
        repeated: keys of the source that stand more than once there.
    """
    primary = plan.wanted.schema.primary.name
    _delete(target, plan, planned.partition, sorted(repeated))
    left = {key: value for key, value in there.items() if key not in repeated}
    written = 0
    for rows in source.complete(planned):
        wanted = convert.written(convert.reshaped(rows, plan), plan)
        keys = wanted.column(primary).to_pylist()
        hashes = fingerprint.row_hashes(wanted, json_by_value=json_by_value)
        unequal = [
            left.pop(key, b"") != each.tobytes() for key, each in zip(keys, hashes, strict=True)
        ]
        written += _upsert(
            target, plan, planned.partition, wanted.filter(pa.array(unequal, pa.bool_()))
        )
    extra = sorted(left) if delete else []
    _delete(target, plan, planned.partition, extra)
    return Mending(written, len(extra))


def _upsert(target: Client, plan: CollectionPlan, partition: str, rows: pa.RecordBatch) -> int:
    for piece in codec.cut(rows, max_rows=rows.num_rows, max_bytes=convert.MAX_REQUEST_BYTES):
        Delivery(target, plan, partition, upsert=True).send(piece, first_time=False)
    return int(rows.num_rows)


def _delete(target: Client, plan: CollectionPlan, partition: str, keys: list[Key]) -> None:
    primary = plan.wanted.schema.primary.name
    for some in filters.portions(keys):
        target.delete(plan.target, partition, filters.among(primary, some))
