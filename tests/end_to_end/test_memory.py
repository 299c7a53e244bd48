"""The memory of a run does not grow with its rows, however many and however wide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from benchmarks import process
from tests import zoo
from tests.end_to_end.conftest import Desk

ROWS, DIM, TEXT = 6_000, 8_192, 32_000
"""Rows of 64 kB, half of it a vector and half of it text: 384 MB, six times the least budget."""

REQUEST_ROWS = 250

MB = 1_000_000
PROCESS_BYTES, WORKER_BYTES = 400 * MB, 128 * MB


def wide(client: MilvusClient, name: str) -> None:
    """A collection of wide rows, cheap to make and to index."""
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=TEXT)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    client.create_collection(name, schema=schema)
    for rows in requests():
        client.insert(name, rows)
    client.flush(name)
    zoo.serve(client, name, ("vector", "FLAT", "L2", {}))


def requests() -> Iterator[list[zoo.Row]]:
    dice = np.random.default_rng(1)
    text = "".join(chr(ord("a") + place % 26) for place in range(TEXT + 26))
    for start in range(0, ROWS, REQUEST_ROWS):
        vectors = dice.random((REQUEST_ROWS, DIM), dtype=np.float32)
        yield [
            {"id": start + place, "text": text[place % 26 :][:TEXT], "vector": vectors[place]}
            for place in range(REQUEST_ROWS)
        ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_of_64_kb_are_copied_and_proven_in_little_memory(desk: Desk) -> None:
    wide(desk.source, "wide")
    assert peak(desk, parallelism=4) <= PROCESS_BYTES + 4 * WORKER_BYTES
    assert peak(desk, parallelism=2, memory=64 * MB) <= PROCESS_BYTES + 64 * MB


def peak(desk: Desk, **env: int) -> int:
    """The largest resident set of a whole run; the target is empty again afterwards."""
    name = "-".join(map(str, env.values()))
    conf = desk.job("wide", env={"job.name": name, **env})
    ended = process.run(
        "pipeline", ["--runner=DirectRunner", f"--config={conf}", "--quiet"], folder=conf.parent
    )
    desk.target.drop_collection("wide")
    return ended.peak_bytes
