"""The main job on two real servers: fill, migrate, prove, report. ``make demo`` runs it.

Starts both servers in a temporary folder, fills the source through plain pymilvus, writes a job
file, runs ``python -m pipeline`` as a user would, and leaves only the report behind.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient

from tests import servers

REPORT = Path("demo-report")
ROWS_PER_INSERT = 5_000
WORDS = ("kite", "wind", "string", "tail", "loft", "sky", "field", "cloud", "spar", "gust")

JOB = """\
env {{
  parallelism = 2
  job.mode = "BATCH"
  accept = ["source-version"]    # the servers of this demo are Milvus 2.3.5
}}
source {{ Milvus {{
  url = "{source}"
  collections = ["articles", "tenants", "events"]
  batch_size = 10000
}} }}
sink {{ Milvus {{
  url = "{target}"
  batch_size = 10000
  enable_auto_id = false
}} }}
"""


def main() -> int:
    """Runs the demo and returns the job's exit code."""
    # Ctrl-C, and a kill, end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="kitelift-demo-"))
    try:
        return _demo(folder)
    except KeyboardInterrupt:
        return 5
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _demo(folder: Path) -> int:
    with _told("starting two servers"), _servers(folder) as (source, target):
        client = MilvusClient(source)
        with _told("filling the source: 100,000 articles, 20,000 rows of tenants, 10,000 events"):
            articles(client)
            tenants(client)
            events(client)
        client.close()
        job = folder / "migration.conf"
        job.write_text(JOB.format(source=source, target=target))
        print(f"\n{job.read_text()}")
        command = ["-m", "pipeline", "--runner=DirectRunner", f"--config={job.name}"]
        print(f"$ python {' '.join(command)}", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, *command], cwd=folder, check=False).returncode
        print(f"\nexit code {code} after {time.monotonic() - started:.0f} s")
        _keep_report(folder / "kitelift-state")
        return code


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str]]:
    if servers.have_milvus():
        pair: tuple[servers.Server, servers.Server] = (
            servers.Milvus(folder / "source"),
            servers.Milvus(folder / "target"),
        )
    else:
        print("Milvus has no wheel for this platform: milvus-lite takes its place.")
        pair = servers.MilvusLite(folder / "source"), servers.MilvusLite(folder / "target")
    with servers.started(*pair) as (source, target):
        yield source.url, target.url


@contextmanager
def _told(what: str) -> Iterator[None]:
    print(f"{what} …", flush=True)
    yield


def _keep_report(state: Path) -> None:
    REPORT.mkdir(exist_ok=True)
    for report in state.glob("*/report.*"):
        shutil.copy(report, REPORT / report.name)
    print("The servers and the job's folder, with ./kitelift-state, are removed. What stays:")
    print(f"report: {REPORT}/report.html, {REPORT}/report.json")


# -- what the source holds -----------------------------------------------------------------------


def articles(client: MilvusClient, rows: int = 100_000) -> None:
    """Text, JSON and 128-d vectors under an HNSW index; int64 keys."""
    schema = client.create_schema(description="Articles and their embeddings")
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("title", DataType.VARCHAR, max_length=200)
    schema.add_field("meta", DataType.JSON)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=128)
    _create(client, "articles", schema, "embedding", "HNSW", {"M": 8, "efConstruction": 64})
    dice = np.random.default_rng(1)
    for start in range(0, rows, ROWS_PER_INSERT):
        vectors = dice.random((ROWS_PER_INSERT, 128), dtype=np.float32)
        words = dice.choice(WORDS, (ROWS_PER_INSERT, 4))
        client.insert(
            "articles",
            [
                {
                    "id": start + i,
                    "title": " ".join(words[i]),
                    "meta": {"year": 1990 + i % 36, "tags": words[i].tolist()},
                    "embedding": vectors[i],
                }
                for i in range(ROWS_PER_INSERT)
            ],
        )
    _load(client, "articles")
    client.create_alias("articles", "reading_list")


def tenants(client: MilvusClient, rows: int = 20_000) -> None:
    """A partition key, and VarChar keys of every kind."""
    schema = client.create_schema()
    schema.add_field("key", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=32, is_partition_key=True)
    schema.add_field("score", DataType.DOUBLE)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=64)
    _create(client, "tenants", schema, "embedding", "IVF_FLAT", {"nlist": 64}, num_partitions=16)
    dice = np.random.default_rng(2)
    for start in range(0, rows, ROWS_PER_INSERT):
        vectors = dice.random((ROWS_PER_INSERT, 64), dtype=np.float32)
        client.insert(
            "tenants",
            [
                {
                    "key": f'{"abc"[i % 3]}"{start + i}\\ñ',
                    "tenant": f"tenant {i % 40}",
                    "score": float(i) / 7,
                    "embedding": vectors[i],
                }
                for i in range(ROWS_PER_INSERT)
            ],
        )
    _load(client, "tenants")


def events(client: MilvusClient, rows: int = 10_000) -> None:
    """Dynamic fields, partitions by name, negative keys, and keys that stand twice."""
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=32)
    _create(client, "events", schema, "embedding", "FLAT", {})
    for partition in ("y2024", "y2025"):
        client.create_partition("events", partition)
    dice = np.random.default_rng(3)
    vectors = dice.random((rows, 32), dtype=np.float32)
    data = [
        {"id": i - rows // 2, "embedding": vectors[i], "kind": WORDS[i % len(WORDS)], "n": i}
        for i in range(rows)
    ]
    client.insert("events", data[: rows // 2], partition_name="y2024")
    client.insert("events", data[rows // 2 :], partition_name="y2025")
    client.insert("events", data[:100], partition_name="y2024")
    _load(client, "events")


def _create(
    client: MilvusClient,
    name: str,
    schema: CollectionSchema,
    vector: str,
    index_type: str,
    params: dict[str, int],
    **extra: int,
) -> None:
    client.create_collection(name, schema=schema, **extra)
    index = client.prepare_index_params()
    index.add_index(vector, index_type=index_type, metric_type="L2", params=params)
    client.create_index(name, index)


def _load(client: MilvusClient, name: str) -> None:
    client.flush(name)
    client.load_collection(name)


if __name__ == "__main__":
    raise SystemExit(main())
