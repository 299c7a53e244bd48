"""The ledger on an object store: a server that speaks S3, on loopback."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import fs

from pipeline.engines.job_lock import Lock, holder_of
from tests import kitelift, strategies, zoo
from tests.clusters import described, schema
from tests.end_to_end.conftest import Desk
from tests.fakes.proxy import Proxy
from tests.fakes.script import Fault
from tests.servers import Server
from tests.sockets import closed_port
from transforms.errors import LedgerError
from transforms.ledger.ledger import Ledger
from transforms.milvus import schema as schemas
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.ranges import KeyRange

KEYS = {
    "AWS_ACCESS_KEY_ID": "kitelift",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Store:
    """A bucket, and what asks for it as a URI."""

    endpoint: str
    bucket: str = "bucket"

    @property
    def state(self) -> str:
        return f"s3://{self.bucket}/some/prefix?endpoint_override={self.endpoint}&scheme=http"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed")
    port = closed_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("s3") / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as server,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name, value in KEYS.items():
            patched.setenv(name, value)
        made = Store(f"127.0.0.1:{port}")
        _make_bucket(made, log)
        yield made
        server.terminate()


def _make_bucket(store: Store, log: Path, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fs.S3FileSystem(
                endpoint_override=store.endpoint, scheme="http", allow_bucket_creation=True
            ).create_dir(store.bucket)
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.fixture
def ledger(store: Store, request: pytest.FixtureRequest) -> Ledger:
    return Ledger(store.state, request.node.name)


def test_the_options_of_the_uri_are_no_part_of_the_place(ledger: Ledger) -> None:
    assert ledger.location == f"s3://bucket/some/prefix/{ledger.job_id}"


def test_a_key_in_the_uri_is_not_shown() -> None:
    assert Ledger("s3://key:secret@bucket/prefix", "job").location == "s3://bucket/prefix/job"


def test_an_object_is_written_once_listed_and_removed(ledger: Ledger) -> None:
    assert ledger.read("intents/a") is None
    assert ledger.names("intents") == []
    assert ledger.write_once("intents/a", b"first")
    assert not ledger.write_once("intents/a", b"second")
    assert ledger.read("intents/a") == b"first"
    assert ledger.names("intents") == ["a"]
    ledger.remove("intents/a")
    ledger.remove("intents/a")
    assert ledger.names("intents") == []


def test_files_stand_in_for_a_server_there_too(store: Store) -> None:
    endpoint = Endpoint(f"parquet:{store.state}")
    client, wanted = Client(endpoint), schemas.parse(schema())
    rows = [{"id": key, "title": f"{key}", "vector": [0.5, 1.0]} for key in range(5)]
    assert client.collections() == []
    client.create_collection("docs", described())
    client.insert("docs", "", wanted, strategies.batch_of(wanted, rows))
    client.flush("docs", timeout_s=10.0)
    again = Client(endpoint)
    assert (again.collections(), again.count("docs"), again.stored_rows("docs")) == (["docs"], 5, 5)
    [page] = [page for _, page in Reader(again, "docs", wanted).scan(KeyRange("docs", 0, 3))]
    assert page.to_pylist() == rows[1:4]
    client.drop_collection("docs")
    assert again.collections() == []


def test_a_ledger_is_set_aside(ledger: Ledger) -> None:
    ledger.write_once("receipts/a.jsonl", b"a")
    aside = ledger.archive()
    assert ledger.names("receipts") == []
    kept = Ledger(ledger.state, aside.rpartition("/")[2])
    assert kept.read("receipts/a.jsonl") == b"a"


def test_a_job_is_locked(ledger: Ledger) -> None:
    with Lock(ledger, "ours"):
        holder = holder_of(ledger)
        assert holder is not None
        assert holder.run_id == "ours"
    assert holder_of(ledger) is None


def test_a_bucket_that_is_not_there_is_told(store: Store) -> None:
    missing = Ledger(store.state.replace("bucket/", "other/"), "job")
    with pytest.raises(LedgerError, match="cannot write"):
        missing.write_once("plan.json", b"{}")


def test_a_killed_job_goes_on_from_its_ledger_in_a_bucket(
    desk: Desk, target: Server, store: Store
) -> None:
    zoo.numbers(desk.source, "docs", rows=10_000)
    with Proxy(target.address) as slow:
        slow.spoils(Fault(delay_s=1), share=1.0, when=lambda method, _: method == "Insert")
        conf = kitelift.write_job(
            desk.folder,
            desk.source_url,
            slow.url,
            ["docs"],
            env={"parallelism": 2, "job.name": "job", "state": store.state},
            source={"database": desk.database},
            sink={"database": desk.database, "batch_size": 200},
        )
        job = Ledger(store.state, "job")
        first = kitelift.start(conf)
        while not job.names("receipts"):
            time.sleep(0.1)
        assert first.kill().code == -9
        standing = json.loads(kitelift.run(conf, "status", "--json").out)
        assert standing["state"] == "stopped"
        acknowledged = standing["collections"][0]["rows_acknowledged"]
        assert 0 < acknowledged < 10_000
        slow.heal()
        ended = kitelift.run(conf, "--report=report.json")
        nothing = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert "s3://bucket/some/prefix/job/report.html" in ended.out
    assert json.loads((desk.folder / "report.json").read_text())["outcome"] == "proven"
    assert desk.differences("docs") == []
    assert desk.count("docs") == 10_000
    assert nothing.code == 0
    assert nothing.out.startswith("Nothing to do")
    assert not kitelift.state(desk.folder).exists()
