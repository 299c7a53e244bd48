"""The rows of one collection in Parquet files: written once, read in the order of their keys.

    COLLECTION/collection.json               what a server would say of it
    COLLECTION/PARTITION/TIME-HASH.parquet   one write: rows in key order, a single row group
    COLLECTION/manifest.json                 all files that count, once the collection is whole

HASH is that of the file's bytes, so that a file which was damaged, or is not the one, is noticed
when it is read. Where a key stands in two files, as it does when a write was tried again, the later
one counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from transforms.errors import DataError
from transforms.ledger.store import Store
from transforms.milvus.parquet.key_filters import Keys
from transforms.ranges import Key

MANIFEST = "manifest.json"
HASH_DIGITS = 32

_KIND = ".parquet"
_ABOUT = b"kitelift"
_DAMAGED = "is damaged (its content has changed)"
_FOOTERS_AT_ONCE = 16
_TABLES_HELD = 4
"""Pages are smaller than files, so that a file is needed for several pages in a row."""


@dataclass(frozen=True)
class File:
    """One file: where it is, and the keys that it begins and ends with; `keys` is a hash of all."""

    name: str
    partition: str
    rows: int
    first: Key
    last: Key
    keys: str

    @property
    def path(self) -> str:
        """Where it is in the collection's folder."""
        return f"{self.partition}/{self.name}"

    def meets(self, keys: Keys) -> bool:
        """Whether some of these keys may be in it."""
        return keys.meets(self.first, self.last)


@dataclass(frozen=True)
class Manifest:
    """All files of a collection that is whole."""

    files: tuple[File, ...]
    rows: int
    format: int = 1


_MANIFEST = TypeAdapter(Manifest)


class Unfinished(Exception):
    """A collection was not written to its end."""


class Dataset:
    """The files of one collection. Threads may share it."""

    def __init__(self, store: Store, collection: str, primary: str) -> None:
        self._store, self._collection, self._primary = store, collection, primary
        self._known: Manifest | None = None
        self._open = False
        self._load = lru_cache(maxsize=_TABLES_HELD)(self._read)

    def put(self, partition: str, rows: pa.RecordBatch, *, over: bool) -> None:
        """Writes rows as a file of their own, which others see once the collection is sealed.

        Args:
            over: in place of what is there with the same keys.
        """
        if not rows.num_rows:
            return
        self._open = True
        rows = _in_key_order(rows, self._primary)
        keys = rows.column(self._primary).to_pylist()
        about = {"first": keys[0], "last": keys[-1], "rows": len(keys)}
        about["keys"] = _hash(json.dumps(keys).encode())
        schema = storable(rows.schema).with_metadata({_ABOUT: json.dumps(about).encode()})
        stream = io.BytesIO()
        table = pa.Table.from_batches([rows.cast(schema)])
        pq.write_table(table, stream, compression="zstd", row_group_size=rows.num_rows)
        data = stream.getvalue()
        at_ns = max(time.time_ns(), self._newest(partition) + 1 if over else 0)
        name = f"{at_ns:020d}-{_hash(data)}{_KIND}"
        self._store.replace(f"{self._collection}/{partition}/{name}", data)

    def seal(self) -> None:
        """Makes the collection whole: says which files count, and removes the others."""
        there = self._there()
        files = tuple(_latest(there))
        rows = sum(
            _count_rows(self._keys(files, partition, Keys())) for partition in _partitions(files)
        )
        self._open, self._known = False, None
        data = _MANIFEST.dump_json(Manifest(files, rows), indent=1)
        self._store.replace(f"{self._collection}/{MANIFEST}", data)
        for each in there:
            if each not in files:
                self._store.remove(f"{self._collection}/{each.path}")

    def rows(self) -> int:
        """Returns the rows of a whole collection; of one that is not, those of all files."""
        manifest = self._manifest()
        return manifest.rows if manifest else sum(each.rows for each in self._there())

    def check(self) -> None:
        """Makes sure that the collection is whole.

        Raises:
            Unfinished: it is not.
        """
        self._files([])

    def count(self, partitions: Sequence[str], keys: Keys) -> int:
        """Counts the keys that are there, of these."""
        files = self._files(partitions)
        return sum(
            _count_rows(self._keys(files, partition, keys)) for partition in _partitions(files)
        )

    def page(
        self, partitions: Sequence[str], keys: Keys, names: list[str], limit: int
    ) -> pa.RecordBatch | None:
        """Returns the rows with the smallest keys, at most `limit`; None if there are none.

        Raises:
            DataError: a file is missing or damaged.
            Unfinished: the collection is not whole.
        """
        files = sorted(self._files(partitions), key=lambda file: file.first)
        left = [file for file in files if file.meets(keys)]
        found: list[pa.RecordBatch] = []
        while left:
            # Up to the end of the first file, nothing comes from those that begin behind it.
            edge = left[0].last
            near = [each for each in left if each.first <= edge]  # type: ignore[operator]
            rows = self._merged(near, keys.up_to(edge), names)
            # A page of a range may be short; of named keys, none may be left out.
            if rows.num_rows and keys.among is None:
                return rows.slice(0, limit)
            found += [rows] if rows.num_rows else []
            keys = replace(keys, after=edge)
            left = [each for each in left if each.meets(keys)]
        return _joined(found).slice(0, limit) if found else None

    # -- inside ---------------------------------------------------------------------------------

    def _merged(self, files: list[File], keys: Keys, names: list[str]) -> pa.RecordBatch:
        """Returns the rows of these keys; of those in several files, the latest."""
        merged: pa.RecordBatch | None = None
        for file in sorted(files, key=lambda file: file.name, reverse=True):
            rows = keys.of(self._load(file, tuple(names)), self._primary)
            if merged is None or not merged.num_rows:
                merged = rows
            elif rows.num_rows:
                known = pc.is_in(rows.column(self._primary), merged.column(self._primary))
                merged = _joined([merged, rows.filter(pc.invert(known))])
        assert merged is not None
        return _in_key_order(merged, self._primary)

    def _keys(self, files: Iterable[File], partition: str, keys: Keys) -> Iterator[int | pa.Array]:
        """Yields, for each file with some of these keys, how many; or the keys themselves.

        The keys of a file need to be looked at where it shares them with another one, or has more.
        """
        near = [file for file in files if file.partition == partition and file.meets(keys)]
        for group in _overlapping(near):
            for each in group:
                if len(group) > 1 or not keys.holds(each.first, each.last):
                    found = keys.of(self._load(each, (self._primary,)), self._primary)
                    yield found.column(0)
                else:
                    yield each.rows

    def _files(self, partitions: Sequence[str]) -> list[File]:
        manifest = self._manifest()
        if self._open:  # What we have written ourselves, we see.
            files = tuple(_latest(self._there()))
        elif manifest:
            files = manifest.files
        else:
            raise Unfinished(
                f"{self._store.location}/{self._collection} has no {MANIFEST}, so it is "
                "incomplete: rerun the job that writes it"
            )
        return [file for file in files if not partitions or file.partition in partitions]

    def _manifest(self) -> Manifest | None:
        if self._known is None:
            self._known = self._store.value(_MANIFEST, f"{self._collection}/{MANIFEST}")
        return self._known

    def _there(self) -> list[File]:
        """Looks at all files, whether they count or not."""
        partitions = [name for name in self._store.names(self._collection) if "." not in name]
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            return [
                found
                for partition in partitions
                for found in pool.map(self._looked_at, *self._listed(partition))
            ]

    def _newest(self, partition: str) -> int:
        """Returns the latest TIME of a partition: the clock that gave it may have been ahead."""
        return max((int(name.partition("-")[0]) for name in self._listed(partition)[1]), default=0)

    def _listed(self, partition: str) -> tuple[list[str], list[str]]:
        names = self._store.names(f"{self._collection}/{partition}")
        names = [name for name in names if name.endswith(_KIND)]
        return [partition] * len(names), names

    def _looked_at(self, partition: str, name: str) -> File:
        with self._store.stream(f"{self._collection}/{partition}/{name}") as stream:
            about = json.loads(pq.read_metadata(stream).metadata[_ABOUT])
        return File(name, partition, **about)

    def _read(self, file: File, names: tuple[str, ...]) -> pa.RecordBatch:
        """Reads columns of a file; all of its bytes are looked at unless it is for the keys."""
        path = f"{self._collection}/{file.path}"
        if names == (self._primary,):
            try:
                with self._store.stream(path) as stream:
                    table = pq.read_table(stream, columns=list(names))
            except (pa.ArrowInvalid, OSError) as error:
                raise self._unfit(path, _DAMAGED) from error
        else:
            data = self._store.read(path)
            if data is None or _hash(data) not in file.name:
                raise self._unfit(path, "is missing" if data is None else _DAMAGED)
            table = pq.read_table(io.BytesIO(data), columns=list(names))
        return _joined(table.select(names).to_batches())

    def _unfit(self, path: str, what: str) -> DataError:
        return DataError(f"{self._store.location}/{path} {what}. Copy the file here again.")


def storable(schema: pa.Schema) -> pa.Schema:
    """Returns the schema in which rows are written.

    Vectors that may be null become lists of any length: what is written of null lists of one length
    cannot be read (pyarrow 25).
    """
    return pa.schema([_storable(field) for field in schema])


def _storable(field: pa.Field) -> pa.Field:
    if field.nullable and pa.types.is_fixed_size_list(field.type):
        return field.with_type(pa.list_(field.type.value_field))
    return field


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def _partitions(files: Iterable[File]) -> list[str]:
    return sorted({file.partition for file in files})


def _latest(files: list[File]) -> Iterator[File]:
    """Leaves out what a later file has replaced as a whole, which is what a second try does."""
    same: dict[tuple[Any, ...], File] = {}
    for file in sorted(files, key=lambda file: file.name):
        same[file.partition, file.keys] = file
    yield from same.values()


def _overlapping(files: Iterable[File]) -> Iterator[list[File]]:
    """Groups files in key order, so that no two groups share a key."""
    group: list[File] = []
    reach: Key | None = None
    for file in sorted(files, key=lambda file: file.first):
        if reach is not None and file.first > reach:  # type: ignore[operator]
            yield group
            group, reach = [], None
        group.append(file)
        reach = file.last if reach is None else max(reach, file.last)
    if group:
        yield group


def _count_rows(parts: Iterable[int | pa.Array]) -> int:
    """Adds up numbers of keys, and keys, each of which counts once."""
    total, keys = 0, []
    for part in parts:
        if isinstance(part, int):
            total += part
        else:
            keys.append(part)
    return total + (len(pa.chunked_array(keys).unique()) if keys else 0)


def _in_key_order(rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
    keys = rows.column(primary)
    if rows.num_rows < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return rows
    return rows.take(pc.sort_indices(keys))
