"""Compares key ranges of one collection between source and target and names differing keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from transforms import convert, fingerprint
from transforms.errors import DataError, ServerError
from transforms.ledger.ledger import Difference, Sign, Verdict, range_id
from transforms.milvus.client import Client
from transforms.milvus.pages import Reader
from transforms.milvus.schema import Schema
from transforms.plan import CollectionPlan
from transforms.ranges import Key, KeyRange
from transforms.sync import SyncResult, TargetRows, sync_range

RangeMethod = Literal["full", "count"]

NAMED_KEYS = 1_000
"""The number of differing keys that one range names; the sums of the verdict count all."""


class Comparison:
    """Compares ranges of one collection between source and target.

    `ensure_source` makes the source readable; only comparisons that read the source call it.
    `decided` says that the source returns the same one of several rows with one key every time.
    """

    def __init__(
        self,
        source: Client,
        target: Client,
        plan: CollectionPlan,
        *,
        json_by_value: bool,
        checked: tuple[bool, ...] = (False, False),
        decided: bool = False,
        ensure_source: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan, self._json_by_value, self._ensure_source = plan, json_by_value, ensure_source
        self._client, self._decided = target, decided
        schema = plan.compared
        keys = schema.select([schema.primary.name])
        self._source = self._of_source(source, plan.read, checked[0])
        self._target = Reader(target, plan.target, schema, checked=checked[1])
        self._primary = schema.primary.name
        self._keys = (
            self._of_source(source, plan.read.select([plan.read.primary.name]), checked[0]),
            Reader(target, plan.target, keys, checked=checked[1]),
        )

    def _of_source(self, source: Client, schema: Schema, checked: bool) -> Reader:
        plan = self._plan
        return Reader(
            source,
            plan.name,
            schema,
            where=plan.shape.where,
            checked=checked,
            snapshot=plan.snapshot,
            unreadable=plan.unreadable,
        )

    def compare(self, planned: KeyRange, rows: int, total: int, method: RangeMethod) -> Verdict:
        """Returns the verdict on a range; `rows` rows with the fingerprint `total` were written."""
        found, failed, unequal, undecided = 0, "", False, 0
        differences: tuple[Difference, ...] = ()
        try:
            found, keys, fingerprinted = self._sums(planned, method)
            expected = rows, rows, total if method == "full" else 0
            if unequal := (found, keys, fingerprinted) != expected:
                differences, undecided = self._differences(planned)
                unnamed = _NO_KEYS if self._plan.new_ids else _UNEXPLAINED
                failed = "" if differences or undecided or found != rows else unnamed
        except (ServerError, DataError) as error:
            failed = f"{_UNNAMED}: {error}" if unequal else str(error)
        return Verdict(
            range_id=range_id(planned),
            planned=planned,
            rows_expected=rows,
            rows_found=found,
            at=time.time(),
            method=method,
            differences=differences,
            failed=failed,
            undecided=undecided,
        )

    def _sums(self, planned: KeyRange, method: RangeMethod) -> tuple[int, int, int]:
        """Returns the numbers of rows and keys, and the fingerprint, of a range in the target.

        If the target also has rows from elsewhere, only keys of the source count.
        """
        ours = self._ours(planned)
        if method == "count" and ours is None:
            rows = self._target.count(planned)
            return rows, rows, 0
        keys, fingerprinted = self._fingerprint(planned, method, ours)
        if ours is None:
            return self._target.count(planned), keys, fingerprinted
        return keys + self._count_duplicates(planned, ours), keys, fingerprinted

    def _count_duplicates(self, planned: KeyRange, ours: pa.Array) -> int:
        """Returns how many of the keys `ours` the target has more than once."""
        existing = pa.concat_arrays([rows.column(0) for _, rows in self._keys[1].scan(planned)])
        if self._target.count(planned) <= len(existing):
            return 0
        keys = sorted(existing.to_pylist())
        duplicates = [key for _, key in self._find_duplicates(planned, keys)]
        is_ours = pc.is_in(pa.array(duplicates, ours.type), value_set=ours)
        return int(pc.sum(is_ours, min_count=0).as_py())

    def _ours(self, planned: KeyRange) -> pa.Array | None:
        """Returns the keys of the source in a range; None if the target must have no other keys."""
        if not self._plan.append:
            return None
        self._ensure_source()
        return pa.concat_arrays([rows.column(0) for rows in self._keys[0].complete(planned)])

    def sync_range(self, planned: KeyRange, *, delete: bool) -> SyncResult:
        """Makes an unequal range equal to the source; deletes extra keys only with `delete`.

        Without `delete`, it keeps extra keys even if the target has them more than once.

        Raises:
            RowsHidden: the source does not return all of its rows; then nothing is deleted.
        """
        self._ensure_source()
        read = self._keys[0].complete(planned)
        ours = {key for rows in read for key in rows.column(0).to_pylist()}
        existing = self._target_hashes(planned)
        duplicates = ours & {key for _, key in self._find_duplicates(planned, sorted(existing))}
        if self._plan.append:
            existing = {key: value for key, value in existing.items() if key in ours}
        result = sync_range(
            self._source,
            self._client,
            self._plan,
            planned,
            TargetRows(existing, frozenset(duplicates)),
            find_undecided=partial(self._undecided, planned.partition),
            delete=delete,
            json_by_value=self._json_by_value,
        )
        for reader in (self._target, self._keys[1]):
            reader.wait_for_writes()
        return result

    def _fingerprint(
        self, planned: KeyRange, method: RangeMethod, ours: pa.Array | None
    ) -> tuple[int, int]:
        """Returns the number of keys and the fingerprint of a range in the target, or of `ours`."""
        keys, total = 0, 0
        reader = self._target if method == "full" else self._keys[1]
        for _, page in reader.scan(planned):
            rows = page if ours is None else _among(page, self._primary, ours)
            keys += rows.num_rows
            if method == "count":
                continue
            written = convert.written(rows, self._plan)
            part = fingerprint.of(written, json_by_value=self._json_by_value)
            total = fingerprint.add(total, part)
        return keys, total

    def _differences(self, planned: KeyRange) -> tuple[tuple[Difference, ...], int]:
        """Returns the differing keys of an unequal range, and the number of undecided keys.

        There are none if the target makes new IDs.
        """
        if self._plan.new_ids:
            return (), 0
        self._ensure_source()
        source, target = self._source_hashes(planned), self._target_hashes(planned)
        signed = [*self._signed(source, target), *self._find_duplicates(planned, sorted(target))]
        if self._plan.append:
            signed = [(sign, key) for sign, key in signed if key in source]
        # If the rows differ from what was read, but not from what the source returns now, the
        # source may return another row of some key now.
        differing = sorted(key for sign, key in signed if sign == "*") if signed else sorted(source)
        undecided = self._undecided(planned.partition, differing)
        signed = [(sign, key) for sign, key in signed if sign != "*" or key not in undecided]
        named = sorted(signed, key=lambda pair: pair[1])[:NAMED_KEYS]
        differences = (
            Difference(sign, key, self._fields(planned, key) if sign == "*" else ())
            for sign, key in named
        )
        return tuple(differences), len(undecided)

    def _undecided(self, partition: str, keys: list[Key]) -> set[Key]:
        """Returns those of `keys` that the source has in several rows.

        Which of them it returns may change, so that no comparison can decide which one is right.
        """
        if self._decided or not keys or self._keys[0].count_among(keys, partition) <= len(keys):
            return set()
        if len(keys) == 1:
            return {*keys}
        half = len(keys) // 2
        return self._undecided(partition, keys[:half]) | self._undecided(partition, keys[half:])

    def _source_hashes(self, planned: KeyRange) -> dict[Key, bytes]:
        read = self._source.complete(planned)
        return self._hashes(convert.reshaped(rows, self._plan) for rows in read)

    def _target_hashes(self, planned: KeyRange) -> dict[Key, bytes]:
        return self._hashes(rows for _, rows in self._target.scan(planned))

    def _hashes(self, batches: Iterable[pa.RecordBatch]) -> dict[Key, bytes]:
        hashes: dict[Key, bytes] = {}
        for rows in batches:
            written = convert.written(rows, self._plan)
            of_rows = fingerprint.row_hashes(written, json_by_value=self._json_by_value)
            keys = rows.column(self._primary).to_pylist()
            hashes.update(zip(keys, (row.tobytes() for row in of_rows), strict=True))
        return hashes

    @staticmethod
    def _signed(source: dict[Key, bytes], target: dict[Key, bytes]) -> Iterator[tuple[Sign, Key]]:
        for key in source.keys() - target.keys():
            yield "-", key
        for key in target.keys() - source.keys():
            yield "+", key
        for key in source.keys() & target.keys():
            if source[key] != target[key]:
                yield "*", key

    def _find_duplicates(self, within: KeyRange, keys: list[Key]) -> Iterator[tuple[Sign, Key]]:
        """Yields keys that the target has more than once; only counts of halves reveal them."""
        if not keys or self._target.count(within) <= len(keys):
            return
        if len(keys) == 1:
            yield "#", keys[0]
            return
        half = len(keys) // 2
        cut = keys[half - 1]
        yield from self._find_duplicates(replace(within, upto=cut), keys[:half])
        yield from self._find_duplicates(replace(within, after=cut), keys[half:])

    def _fields(self, planned: KeyRange, key: Key) -> tuple[str, ...]:
        """Returns the names of the fields in which one row differs."""
        read = self._source.row(key, planned.partition)
        left = convert.written(convert.reshaped(read, self._plan), self._plan)
        right = convert.written(self._target.row(key, planned.partition), self._plan)
        if left.num_rows != 1 or right.num_rows != 1:
            return ()
        return tuple(fingerprint.cell_differences(left, right, json_by_value=self._json_by_value))


def _among(rows: pa.RecordBatch, primary: str, keys: pa.Array) -> pa.RecordBatch:
    return rows.filter(pc.is_in(rows.column(primary), value_set=keys))


_UNEXPLAINED = (
    "the rows that were read differ from the source, but source and target are equal now: the "
    "source changed during the copy. Stop the writes to the source, then run `kitelift verify`."
)
_UNNAMED = "the range differs in the target, and Kitelift could not find the differing keys"
_NO_KEYS = (
    "the content differs; Kitelift cannot name the keys, because the target generated new IDs"
)
