"""Compares ranges of one collection between source and target, and names the keys that differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from transforms import convert, fingerprint
from transforms.errors import DataError, ServerError
from transforms.ledger import Difference, Sign, Verdict, range_id
from transforms.mend import Mending, mend
from transforms.milvus.client import Client
from transforms.milvus.pages import Reader
from transforms.plan import CollectionPlan
from transforms.ranges import Key, KeyRange

RangeMethod = Literal["full", "count"]

NAMED_KEYS = 1_000
"""Differing keys that one range names; the rest is counted by the verdict's sums."""


class Comparison:
    """Compares ranges of one collection between source and target."""

    def __init__(
        self,
        source: Client,
        target: Client,
        plan: CollectionPlan,
        *,
        json_by_value: bool,
        checked: tuple[bool, ...] = (False, False),
    ) -> None:
        self._plan, self._json_by_value = plan, json_by_value
        self._client = target
        self._source = Reader(source, plan.name, plan.source.schema, checked=checked[0])
        schema = plan.wanted.schema
        self._target = Reader(target, plan.target, schema, checked=checked[1])
        self._primary = schema.primary.name

    def judge(self, planned: KeyRange, rows: int, total: int, method: RangeMethod) -> Verdict:
        """Returns the verdict on a range; `rows` rows with fingerprint `total` were written."""
        found, failed = 0, ""
        differences: tuple[Difference, ...] = ()
        try:
            found = self._target.count(planned)
            if method == "full":
                keys, fingerprinted = self._fingerprint(planned)
                equal = (keys, fingerprinted) == (rows, total) and found == rows
            else:
                equal = found == rows
            if not equal:
                differences = tuple(self._differences(planned))
                unnamed = _NO_KEYS if self._plan.new_ids else _UNEXPLAINED
                failed = "" if differences or found != rows else unnamed
        except (ServerError, DataError) as error:
            failed = str(error)
        return Verdict(
            range_id=range_id(planned),
            planned=planned,
            rows_expected=rows,
            rows_found=found,
            at=time.time(),
            method=method,
            differences=differences,
            failed=failed,
        )

    def mend(self, planned: KeyRange, *, delete: bool) -> Mending:
        """Makes an unequal range equal to the source; extra keys go only with `delete`."""
        there = self._hashes(self._target, planned)
        repeated = {key for _, key in self._repeated(planned, sorted(there))}
        done = mend(
            self._source,
            self._client,
            self._plan,
            planned,
            there,
            repeated,
            delete=delete,
            json_by_value=self._json_by_value,
        )
        self._target.wait_for_writes()
        return done

    def _fingerprint(self, planned: KeyRange) -> tuple[int, int]:
        """Returns keys and fingerprint of a range as it is in the target."""
        keys, total = 0, 0
        for _, rows in self._target.scan(planned):
            keys += rows.num_rows
            written = convert.written(rows, self._plan)
            part = fingerprint.of(written, json_by_value=self._json_by_value)
            total = fingerprint.add(total, part)
        return keys, total

    def _differences(self, planned: KeyRange) -> Iterator[Difference]:
        """Names the keys of an unequal range; nothing where new ids leave no key to name."""
        if self._plan.new_ids:
            return
        source, target = self._hashes(self._source, planned), self._hashes(self._target, planned)
        signed = [*self._signed(source, target), *self._repeated(planned, sorted(target))]
        for sign, key in sorted(signed, key=lambda pair: pair[1])[:NAMED_KEYS]:
            yield Difference(sign, key, self._fields(planned, key) if sign == "*" else ())

    def _hashes(self, reader: Reader, planned: KeyRange) -> dict[Key, bytes]:
        hashes: dict[Key, bytes] = {}
        for _, rows in reader.scan(planned):
            written = convert.written(rows, self._plan)
            of_rows = fingerprint.row_hashes(written, json_by_value=self._json_by_value)
            keys = rows.column(self._primary).to_pylist()
            hashes.update(zip(keys, (each.tobytes() for each in of_rows), strict=True))
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

    def _repeated(self, within: KeyRange, keys: list[Key]) -> Iterator[tuple[Sign, Key]]:
        """Finds keys that stand more than once, by counting halves: nothing else shows them."""
        if not keys or self._target.count(within) <= len(keys):
            return
        if len(keys) == 1:
            yield "#", keys[0]
            return
        half = len(keys) // 2
        cut = keys[half - 1]
        yield from self._repeated(replace(within, upto=cut), keys[:half])
        yield from self._repeated(replace(within, after=cut), keys[half:])

    def _fields(self, planned: KeyRange, key: Key) -> tuple[str, ...]:
        """Names the fields in which one row differs."""
        left, right = (
            convert.written(reader.only([key], planned.partition), self._plan)
            for reader in (self._source, self._target)
        )
        if left.num_rows != 1 or right.num_rows != 1:
            return ()
        return tuple(fingerprint.cell_differences(left, right, json_by_value=self._json_by_value))


_UNEXPLAINED = (
    "the content differs from what was read from the source, but both sides are equal now: the "
    "source was changed while it was copied. Run verify again when nothing writes to it."
)
_NO_KEYS = "the content differs; the target made new ids, so that the keys cannot be named"
