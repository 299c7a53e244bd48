"""Makes key ranges of the target equal to the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from transforms import convert, fingerprint
from transforms.delivery import MOST_REJECTED, Delivery
from transforms.ledger.rejected_rows import RejectedTally
from transforms.milvus import filters
from transforms.milvus.client import Client
from transforms.milvus.codec import row_data
from transforms.milvus.pages import Reader
from transforms.plan import CollectionPlan
from transforms.ranges import Key, KeyRange
from transforms.reshape.reshape import reshape


@dataclass(frozen=True)
class SyncResult:
    """The numbers of rows that a sync wrote and deleted in one range.

    Attributes:
        rejected: why the target rejects rows of the range; "" if it rejects none.
    """

    written: int = 0
    deleted: int = 0
    rejected: str = ""


@dataclass(frozen=True)
class TargetRows:
    """The rows of one range in the target.

    Attributes:
        hashes: the hash of each row, by key.
        duplicates: keys of the source that the target has more than once.
    """

    hashes: dict[Key, bytes]
    duplicates: frozenset[Key] = frozenset()


def sync_range(
    source: Reader,
    target: Client,
    plan: CollectionPlan,
    planned: KeyRange,
    existing: TargetRows,
    *,
    find_undecided: Callable[[list[Key]], set[Key]],
    delete: bool,
    json_by_value: bool,
) -> SyncResult:
    """Writes missing and differing rows; with `delete`, removes extra rows.

    All writes are by key, so that the call is idempotent. Duplicate keys are deleted first, because
    an upsert replaces all their copies only on some versions.

    Args:
        find_undecided: returns those of some keys that the source has in several rows. Such a key
            keeps the row that the target has: the source may return another one next time.
    """
    primary, duplicates = plan.wanted.schema.primary.name, existing.duplicates
    _delete(target, plan, planned.partition, sorted(duplicates))
    remaining = {key: row for key, row in existing.hashes.items() if key not in duplicates}
    written, tally = 0, RejectedTally(str(planned), MOST_REJECTED)
    for rows in source.complete(planned):
        shaped = reshape(rows, plan.shape)
        wanted = convert.written(shaped.rows, plan)
        keys = wanted.column(primary).to_pylist()
        hashes = fingerprint.row_hashes(wanted, json_by_value=json_by_value)
        before = [remaining.pop(key, None) for key in keys]
        unequal = [n for n, row in enumerate(before) if row != hashes[n].tobytes()]
        undecided = find_undecided([keys[n] for n in unequal if before[n] is not None])
        places = pa.array([n for n in unequal if keys[n] not in undecided], pa.int64())
        changed, refusals = wanted.take(places), shaped.refusals and shaped.refusals.take(places)
        written += _upsert(target, plan, planned.partition, changed, refusals, tally)
    extra = sorted(remaining) if delete else []
    _delete(target, plan, planned.partition, extra)
    return SyncResult(written, len(extra), tally.words)


def _upsert(
    target: Client,
    plan: CollectionPlan,
    partition: str,
    rows: pa.RecordBatch,
    refusals: pa.StringArray | None,
    tally: RejectedTally,
) -> int:
    """Writes rows by key and returns how many were written; adds rejected rows to `tally`."""
    written, at, primary = 0, 0, plan.wanted.schema.primary.name
    for piece in row_data.cut(rows, max_rows=rows.num_rows, max_bytes=convert.MAX_REQUEST_BYTES):
        if tally.left:
            delivery = Delivery(
                target, plan, partition, upsert=True, most_rejected=lambda: tally.left
            )
            refused = refusals and refusals.slice(at, piece.num_rows)
            delivery.deliver(piece, refused, first_time=False)
            keys = piece.column(primary)
            tally.add(delivery.rejected, keys, more=bool(delivery.untried))
            written += piece.num_rows - len(delivery.rejected) - len(delivery.untried)
        at += piece.num_rows
    return written


def _delete(target: Client, plan: CollectionPlan, partition: str, keys: list[Key]) -> None:
    primary = plan.wanted.schema.primary.name
    for portion in filters.batches(keys):
        target.delete(plan.target, partition, filters.among(primary, portion))
