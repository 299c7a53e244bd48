"""Vectors of two bytes a number, float16 and bfloat16, between two milvus-lite 2.5.1.

Milvus 2.3.5 has no bfloat16, and milvus-lite 3.2.2 neither. This one is slow, and knows only the older half of the calls: few rows, and no partitions, aliases,
databases or properties.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from tests import compare, kitelift, servers
from tests.cluster import packages
from tests.kitelift import Ended

pytestmark = [pytest.mark.slow, pytest.mark.milvus]

ROWS, DIM = 40, 8

Row = dict[str, Any]


def _made(
    client: MilvusClient, name: str, fields: dict[str, dict[str, Any]], row: Callable[[int], Row]
) -> None:
    """Makes a collection with a key, fills it, and gives each vector an index."""
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    indexes = MilvusClient.prepare_index_params()
    for field, settings in fields.items():
        schema.add_field(field, **settings)
        kind = settings["datatype"]
        if kind is DataType.SPARSE_FLOAT_VECTOR:
            indexes.add_index(field, "SPARSE_INVERTED_INDEX", metric_type="IP")
        elif kind is DataType.BINARY_VECTOR:
            indexes.add_index(field, "BIN_FLAT", metric_type="HAMMING")
        elif kind >= DataType.BINARY_VECTOR:
            indexes.add_index(field, "FLAT", metric_type="L2")
    client.create_collection(name, schema=schema)
    client.insert(name, [{"id": key, **row(key)} for key in range(ROWS)])
    client.create_index(name, indexes)
    client.load_collection(name)


def _numbers(key: int) -> list[float]:
    return [random.Random(key * DIM + n).uniform(-1, 1) for n in range(DIM)]


def _brain(key: int) -> bytes:
    """bfloat16 is the upper half of a float32; numpy has no such type."""
    return np.array(_numbers(key), "<f4").view("<u2")[1::2].tobytes()


def vectors(client: MilvusClient) -> None:
    """A vector of each type, the special values of halves among them."""
    kinds = {
        "half": DataType.FLOAT16_VECTOR,
        "brain": DataType.BFLOAT16_VECTOR,
        "single": DataType.FLOAT_VECTOR,
        "bits": DataType.BINARY_VECTOR,
    }
    fields: dict[str, dict[str, Any]] = {
        name: {"datatype": kind, "dim": DIM} for name, kind in kinds.items()
    }
    fields["words"] = {"datatype": DataType.SPARSE_FLOAT_VECTOR}
    special = [0.0, -0.0, 6e-8, -65504.0, 65504.0, 1.0, -1.0, 2.0]

    def row(key: int) -> Row:
        half = np.array(_numbers(key) if key else special, np.float16)
        return {
            "half": half.tobytes(),
            "brain": _brain(key),
            "single": _numbers(key),
            "bits": bytes([key]),
            "words": {key + n: 0.5 + n for n in range(1 + key % 4)},
            **({"more": {"deep": [key]}} if key % 3 else {}),
        }

    _made(client, "vectors", fields, row)


def scalars(client: MilvusClient) -> None:
    """Scalars, JSON and an array beside a vector of halves."""
    text: dict[str, Any] = {"datatype": DataType.VARCHAR, "max_length": 60}
    tags = {"datatype": DataType.ARRAY, "element_type": DataType.INT64, "max_capacity": 4}
    fields: dict[str, dict[str, Any]] = {
        "flag": {"datatype": DataType.BOOL},
        "small": {"datatype": DataType.INT8},
        "ratio": {"datatype": DataType.DOUBLE},
        "text": text,
        "document": {"datatype": DataType.JSON},
        "tags": tags,
        "half": {"datatype": DataType.FLOAT16_VECTOR, "dim": DIM},
    }

    def row(key: int) -> Row:
        return {
            "flag": bool(key % 2),
            "small": key - 128,
            "ratio": key / 3,
            "text": f'"{key}" 世界',
            "document": {"a": [key, None], "b": key / 4},
            "tags": [key] * (key % 4),
            "half": np.array(_numbers(key), np.float16).tobytes(),
        }

    _made(client, "scalars", fields, row)


SPECIMENS = (vectors, scalars)


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return packages.old_milvus_lite()
    except packages.NotAvailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clients(
    tmp_path_factory: pytest.TempPathFactory, program: Path
) -> Iterator[tuple[MilvusClient, MilvusClient, Path]]:
    folder = tmp_path_factory.mktemp("old")
    pair = (servers.OldMilvusLite(folder / side, program) for side in ("source", "target"))
    with servers.started(*pair) as (source, target):
        conf = kitelift.write_job(
            folder, source.url, target.url, [specimen.__name__ for specimen in SPECIMENS]
        )
        with (
            contextlib.closing(MilvusClient(source.url)) as left,
            contextlib.closing(MilvusClient(target.url)) as right,
        ):
            yield left, right, conf


@pytest.fixture(scope="module")
def ended(clients: tuple[MilvusClient, MilvusClient, Path]) -> Ended:
    source, _, conf = clients
    for specimen in SPECIMENS:
        specimen(source)
    return kitelift.run(conf)


def rows(client: MilvusClient, name: str) -> dict[int, Any]:
    """All rows by their keys, with all of their bits."""
    found = client.query(name, filter="id >= 0", output_fields=["*"], limit=ROWS + 1)
    return {row["id"]: compare.exact(row) for row in found}


def test_halves_are_proven(ended: Ended) -> None:
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"


@pytest.mark.parametrize("name", [specimen.__name__ for specimen in SPECIMENS])
def test_every_bit_arrives(clients, ended: Ended, name: str) -> None:
    assert ended.code == 0, ended.text
    source, target, _ = clients
    assert len(rows(source, name)) == ROWS
    assert rows(target, name) == rows(source, name)
    left, right = (client.describe_collection(name) for client in (source, target))
    assert [*compare.unlike(*({f["name"]: f for f in d["fields"]} for d in (left, right)))] == []
    assert source.list_indexes(name) == target.list_indexes(name)
