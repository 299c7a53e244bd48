"""The data sets, and the code that fills a source with them.

Keys are 0 to rows - 1 in random order. Vectors are uniform noise. Texts and documents are drawn
from a pool. All use one seed. The index is FLAT, the cheapest to build, because the benchmark
measures the copy.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from transforms.milvus.client import Client
from transforms.milvus.codec import row_data
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.schema import Field, Schema

POOL = 2_000
"""Number of distinct texts and documents of a data set."""

SHORT = 12
"""Bytes of a short text."""

ROWS_AT_A_TIME = 5_000
MAX_REQUEST_BYTES = 8 * 1024 * 1024

_WORDS = ("kite", "wind", "string", "tail", "loft", "sky", "field", "cloud", "spar", "gust")
_KINDS = (
    DataType.BOOL,
    DataType.INT16,
    DataType.INT32,
    DataType.INT64,
    DataType.FLOAT,
    DataType.DOUBLE,
    DataType.VARCHAR,
)

Dice = np.random.Generator


@dataclass(frozen=True)
class DataSet:
    """A collection to be copied; `text`, `document` and `extras` are bytes per row, 0 is none.

    Attributes:
        rows: enough rows that the copy by the floor takes 15 s or more on two cores.
        document: size of a JSON field.
        extras: size of the dynamic fields.
        scalars: number of columns of each number type and of short text.
        arrays: number of array columns.
    """

    name: str
    title: str
    rows: int
    dim: int
    text: int = 0
    document: int = 0
    extras: int = 0
    scalars: int = 0
    arrays: int = 0

    def schema(self) -> CollectionSchema:
        """Returns the schema as a user would write it."""
        schema = MilvusClient.create_schema(enable_dynamic_field=bool(self.extras))
        schema.add_field("id", DataType.INT64, is_primary=True)
        if self.text:
            schema.add_field("text", DataType.VARCHAR, max_length=4 * self.text)
        if self.document:
            schema.add_field("document", DataType.JSON)
        for kind in _KINDS:
            for place in range(self.scalars):
                length = {"max_length": 32} if kind is DataType.VARCHAR else {}
                schema.add_field(f"{kind.name.lower()}_{place}", kind, **length)
        for place in range(self.arrays):
            schema.add_field(
                f"array_{place}", DataType.ARRAY, element_type=DataType.INT64, max_capacity=16
            )
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        return schema

    def index(self) -> IndexParams:
        """Returns the index as a user would write it."""
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="L2")
        return index

    def batches(self, schema: Schema, rows: int) -> Iterator[pa.RecordBatch]:
        """Yields the rows as batches with the columns of `schema`."""
        dice = np.random.default_rng(1)
        keys = dice.permutation(rows)
        draw = _Draw(self, dice)
        for start in range(0, rows, ROWS_AT_A_TIME):
            batch_keys = keys[start : start + ROWS_AT_A_TIME]
            columns = [draw.column(field, batch_keys) for field in schema.fields]
            yield pa.RecordBatch.from_arrays(columns, schema=schema.arrow())


SETS = (
    DataSet("128", "128-d with scalars", 700_000, 128, text=40, document=60, extras=30, scalars=1),
    DataSet("768", "768-d", 300_000, 768),
    DataSet("1536", "1536-d", 125_000, 1536),
    DataSet("text", "text-heavy", 400_000, 32, text=3_000),
    DataSet("json", "JSON-heavy", 280_000, 32, document=2_000, extras=1_000),
    DataSet("wide", "wide: 60 fields", 450_000, 64, scalars=8, arrays=2),
)


def fill(url: str, data: DataSet, rows: int, name: str) -> int:
    """Creates a loaded collection with this many rows; returns the bytes of its inserts."""
    with contextlib.closing(MilvusClient(url)) as admin:
        admin.create_collection(name, schema=data.schema())
        written = _insert(Client(Endpoint(url)), data, rows, name)
        admin.flush(name)
        admin.create_index(name, data.index())
        admin.load_collection(name)
    return written


def _insert(client: Client, data: DataSet, rows: int, name: str) -> int:
    schema = client.describe(name).schema

    def send(batch: pa.RecordBatch) -> int:
        pieces = row_data.cut(batch, max_rows=ROWS_AT_A_TIME, max_bytes=MAX_REQUEST_BYTES)
        for piece in pieces:
            client.insert(name, "", schema, piece)
        return sum(map(len, row_data.encode_fields(schema, batch)))

    with contextlib.closing(client), ThreadPoolExecutor(2) as pool:
        return sum(pool.map(send, data.batches(schema, rows)))


class _Draw:
    """Draws random columns of a data set by the types of their fields."""

    def __init__(self, data: DataSet, dice: Dice) -> None:
        self._dice = dice
        self._short = _pool(_texts(dice, SHORT))
        self._long = {
            "text": _pool(_texts(dice, data.text)),
            "document": _pool(_documents(dice, data.document)),
            "$meta": _pool(_documents(dice, data.extras)),
        }

    def column(self, field: Field, keys: np.ndarray[Any, Any]) -> pa.Array:
        """Returns the values of a field for the rows with these keys."""
        rows, arrow = len(keys), field.arrow().type
        if field.primary:
            return pa.array(keys, pa.int64())
        if pa.types.is_fixed_size_list(arrow):
            numbers = self._dice.random(rows * field.dim, dtype=np.float32)
            return pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=arrow)
        if pa.types.is_list(arrow):
            # No array is empty: the floor forwards empty arrays unchanged, which crashes 2.3.5.
            bounds = np.append(0, np.cumsum(self._dice.integers(1, 9, rows))).astype(np.int32)
            items = pa.array(self._dice.integers(-(10**9), 10**9, bounds[-1]), pa.int64())
            return pa.ListArray.from_arrays(pa.array(bounds), items, type=arrow)
        if pa.types.is_string(arrow) or pa.types.is_binary(arrow):
            pool = self._long.get(field.name, self._short)
            return pool.take(pa.array(self._dice.integers(0, POOL, rows))).cast(arrow)
        if pa.types.is_floating(arrow):
            return pa.array(self._dice.random(rows)).cast(arrow)
        limit = 2 if pa.types.is_boolean(arrow) else 2 ** min(arrow.bit_width - 1, 40)
        return pa.array(self._dice.integers(0, limit, rows)).cast(arrow)


def _pool(texts: list[str]) -> pa.Array:
    return pa.array([text.encode() for text in texts], pa.binary())


def _texts(dice: Dice, size: int) -> list[str]:
    """Returns ASCII texts with several lines, of 0.5 to 1.5 times the size."""
    long = " ".join(dice.choice(_WORDS, 2 * POOL + size)).replace("gust ", "gust\n")
    starts = dice.integers(0, len(long) - 2 * size - 1, POOL)
    sizes = dice.integers(size // 2, size + size // 2 + 1, POOL)
    return [long[start : start + length] for start, length in zip(starts, sizes, strict=True)]


def _documents(dice: Dice, size: int) -> list[str]:
    """Returns JSON objects of about this size: a number and texts of ten words."""
    if not size:
        return ["{}"] * POOL
    documents = []
    for number in range(POOL):
        document: dict[str, Any] = {"n": number}
        words = dice.choice(_WORDS, 10)
        for place in range(max(1, size // 70)):
            document[f"key_{place}"] = " ".join(words) if size > 70 else str(words[0])
        documents.append(json.dumps(document))
    return documents
