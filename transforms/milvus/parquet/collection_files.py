"""The rows of one collection in Parquet files: written once, read in key order.

    COLLECTION/collection.json               the description, as a server returns it
    COLLECTION/PARTITION/TIME-HASH.parquet   one write: rows in key order, a single row group
    COLLECTION/manifest.json                 all valid files, once the collection is complete

HASH is the hash of the file's bytes, so a read detects a damaged or wrong file. If two files
contain a key, as after a retried write, the later file applies.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
"""Pages are smaller than files, so several consecutive pages need the same file."""


@dataclass(frozen=True)
class File:
    """One file with its place, and its first and last key; `keys` is a hash of all keys."""

    name: str
    partition: str
    rows: int
    first: Key
    last: Key
    keys: str

    @property
    def path(self) -> str:
        """The path in the collection's folder."""
        return f"{self.partition}/{self.name}"

    def meets(self, keys: Keys) -> bool:
        """Returns whether the file may contain one of these keys."""
        return keys.meets(self.first, self.last)


@dataclass(frozen=True)
class Manifest:
    """All files of a complete collection."""

    files: tuple[File, ...]
    rows: int
    format: int = 1


_MANIFEST = TypeAdapter(Manifest)


class Unfinished(Exception):
    """A collection is incomplete: it has no manifest."""


class Dataset:
    """The files of one collection. Thread-safe."""

    def __init__(self, store: Store, collection: str, primary: str) -> None:
        self._store, self._collection, self._primary = store, collection, primary
        self._known: Manifest | None = None
        self._open = False
        self._load = lru_cache(maxsize=_TABLES_HELD)(self._read)

    def put(self, partition: str, rows: pa.RecordBatch, *, replace_keys: bool) -> None:
        """Writes rows as a new file; other processes see it once the collection is sealed.

        Args:
            replace_keys: whether the rows replace existing rows with the same keys.
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
        at_ns = max(time.time_ns(), self._newest(partition) + 1 if replace_keys else 0)
        name = f"{at_ns:020d}-{_hash(data)}{_KIND}"
        self._store.replace(f"{self._collection}/{partition}/{name}", data)

    def seal(self) -> None:
        """Completes the collection: writes the list of valid files, and removes the others."""
        existing = self._list_files()
        files = tuple(_latest(existing))
        manifest = Manifest(files, self._count(files, Keys()))
        self._open, self._known = False, None
        data = _MANIFEST.dump_json(manifest, indent=1)
        self._store.replace(f"{self._collection}/{MANIFEST}", data)
        for file in existing:
            if file not in files:
                self._store.remove(f"{self._collection}/{file.path}")

    def rows(self) -> int:
        """Returns the rows of a complete collection; of an incomplete one, those of all files."""
        manifest = self._manifest()
        return manifest.rows if manifest else sum(file.rows for file in self._list_files())

    def check(self) -> None:
        """Checks that the collection is complete.

        Raises:
            Unfinished: it is not.
        """
        self._files([])

    def count(self, partitions: Sequence[str], keys: Keys) -> int:
        """Returns how many of these keys exist."""
        return self._count(self._files(partitions), keys)

    def page(
        self, partitions: Sequence[str], keys: Keys, names: list[str], limit: int
    ) -> pa.RecordBatch | None:
        """Returns the rows with the smallest keys, at most `limit`; None if there are none.

        Raises:
            DataError: a file is missing or damaged.
            Unfinished: the collection is incomplete.
        """
        files = sorted(self._files(partitions), key=lambda file: file.first)
        left = [file for file in files if file.meets(keys)]
        while left:
            # Up to the end of the first file, no rows come from files that start after it.
            edge = left[0].last
            near = [file for file in left if file.first <= edge]  # type: ignore[operator]
            rows = self._merged(near, keys.both(Keys((("<=", edge),))), names)
            if rows.num_rows:
                return rows.slice(0, limit)
            left = [file for file in left if file.last > edge]  # type: ignore[operator]
        return None

    # -- inside ---------------------------------------------------------------------------------

    def _merged(self, files: list[File], keys: Keys, names: list[str]) -> pa.RecordBatch:
        """Returns the rows of these keys; if several files contain a key, the latest."""
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

    def _count(self, files: Iterable[File], keys: Keys) -> int:
        """Returns how many of these keys the files have; partitions may share keys.

        The keys of a file must be read if another file may share them, or if it has other keys.
        """
        rows = 0
        for group in _overlapping(file for file in files if file.meets(keys)):
            if len(group) == 1 and keys.include(group[0].first, group[0].last):
                rows += group[0].rows
                continue
            read = [keys.of(self._load(file, (self._primary,)), self._primary) for file in group]
            rows += len(pa.chunked_array([part.column(0) for part in read]).unique())
        return rows

    def _files(self, partitions: Sequence[str]) -> list[File]:
        manifest = self._manifest()
        if self._open:  # This process sees its own writes.
            files = tuple(_latest(self._list_files()))
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

    def _list_files(self) -> list[File]:
        """Returns all files, valid or not."""
        partitions = [name for name in self._store.names(self._collection) if "." not in name]
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            return [
                file
                for partition in partitions
                for file in pool.map(self._read_footer, *self._file_names(partition))
            ]

    def _newest(self, partition: str) -> int:
        """Returns the latest TIME of a partition; the clock that wrote it may have been ahead."""
        _, names = self._file_names(partition)
        return max((int(name.partition("-")[0]) for name in names), default=0)

    def _file_names(self, partition: str) -> tuple[list[str], list[str]]:
        names = self._store.names(f"{self._collection}/{partition}")
        names = [name for name in names if name.endswith(_KIND)]
        return [partition] * len(names), names

    def _read_footer(self, partition: str, name: str) -> File:
        with self._store.stream(f"{self._collection}/{partition}/{name}") as stream:
            about = json.loads(pq.read_metadata(stream).metadata[_ABOUT])
        return File(name, partition, **about)

    def _read(self, file: File, names: tuple[str, ...]) -> pa.RecordBatch:
        """Reads columns of a file; checks the hash of all bytes, except for the keys alone."""
        path = f"{self._collection}/{file.path}"
        if names == (self._primary,):
            try:
                with self._store.stream(path) as stream:
                    table = pq.read_table(stream, columns=list(names))
            except (pa.ArrowInvalid, OSError) as error:
                raise self._file_error(path, _DAMAGED) from error
        else:
            data = self._store.read(path)
            if data is None or _hash(data) not in file.name:
                raise self._file_error(path, "is missing" if data is None else _DAMAGED)
            table = pq.read_table(io.BytesIO(data), columns=list(names))
        return _joined(table.select(names).to_batches())

    def _file_error(self, path: str, what: str) -> DataError:
        return DataError(f"{self._store.location}/{path} {what}. Copy the file here again.")


def storable(schema: pa.Schema) -> pa.Schema:
    """Returns the schema in which rows are written.

    Nullable vectors become lists of variable length: pyarrow 25 cannot read back what it writes of
    null lists of fixed length.
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


def _latest(files: list[File]) -> Iterator[File]:
    """Yields the files without those that a later file with the same keys replaces (a retry)."""
    latest: dict[tuple[Any, ...], File] = {}
    for file in sorted(files, key=lambda file: file.name):
        latest[file.partition, file.keys] = file
    yield from latest.values()


def _overlapping(files: Iterable[File]) -> Iterator[list[File]]:
    """Yields groups of files so that no two groups of one partition share a key."""
    group: list[File] = []
    reach: Key = 0
    for file in sorted(files, key=lambda file: (file.partition, file.first)):
        if group and (file.partition != group[0].partition or file.first > reach):  # type: ignore[operator]
            yield group
            group = []
        reach = max(reach, file.last) if group else file.last
        group.append(file)
    if group:
        yield group


def _in_key_order(rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
    keys = rows.column(primary)
    if rows.num_rows < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return rows
    return rows.take(pc.sort_indices(keys))
