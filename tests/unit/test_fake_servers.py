"""What tests can order of a fake server beside its version: lags, faults, failing loads, time."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import (
    BOUNDED,
    CUSTOMIZED,
    EVENTUALLY,
    PLAIN,
    SESSION,
    STRONG,
    Asker,
    field,
    vector_field,
)
from tests.fakes.cases.lines import LINES, NAME, Line, code
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault
from transforms.errors import Ambiguous, Refused
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint

NEWEST = "2.6.19"


@pytest.fixture(params=LINES)
def any_line(request: pytest.FixtureRequest) -> Iterator[Line]:
    yield from line_of(request.param)


@pytest.fixture
def newest() -> Iterator[Line]:
    yield from line_of(NEWEST)


def line_of(version: str) -> Iterator[Line]:
    with FakeMilvus(version, nodes=2) as server:
        asker = Asker(server.url, settle=lambda seconds: None)
        yield Line(version, server, asker)
        asker.close()


# Replicas


def test_replicas_answer_in_turn_each_behind_by_its_lag(any_line: Line) -> None:
    any_line.ready(*PLAIN, rows=1)
    any_line.server.clock.advance(60.0)
    any_line.insert(1)
    any_line.server.lags(0.0, 3.0)
    seen = [any_line.count(level=BOUNDED) for _ in range(4)]
    assert seen == [2, 1, 2, 1]
    any_line.server.clock.advance(3.0)
    assert [any_line.count(level=BOUNDED) for _ in range(2)] == [2, 2]


def test_a_bounded_read_is_never_older_than_five_seconds(any_line: Line) -> None:
    any_line.ready(*PLAIN, rows=1)
    any_line.server.lags(3600.0)
    assert any_line.count(level=BOUNDED) == 0
    any_line.server.clock.advance(5.1)
    assert (any_line.count(level=BOUNDED), any_line.count(level=EVENTUALLY)) == (1, 0)


@pytest.mark.parametrize("level", [SESSION, CUSTOMIZED])
def test_a_read_waits_for_the_timestamp_that_it_names(any_line: Line, level: int) -> None:
    any_line.ready(*PLAIN, rows=1)
    any_line.server.lags(3600.0)
    written = any_line.insert(1).timestamp
    assert any_line.count(level=level, at=written) == 2
    assert any_line.count(level=level, at=written - 1) == 1
    assert any_line.count(level=STRONG) == 2


def test_a_pin_shows_the_same_rows_on_every_replica() -> None:
    for line in line_of(NEWEST):
        line.ready(*PLAIN, rows=3)
        taken = line.snapshot()
        line.insert(3)
        line.server.lags(0.0, 3600.0)
        assert [line.keys(iterator=True, at=taken) for _ in range(3)] == [[0, 1, 2]] * 3


# Timestamps


def test_writes_and_flushes_tell_their_timestamps_in_order(any_line: Line) -> None:
    any_line.ready(*PLAIN)
    request = milvus_pb2.AllocTimestampRequest()
    before = any_line.asker.call("AllocTimestamp", request).timestamp
    inserted = any_line.insert(1).timestamp
    flushed = any_line.asker.flush(NAME).coll_flush_ts[NAME]
    after = any_line.asker.call("AllocTimestamp", request).timestamp
    assert 0 < before < inserted < flushed < after


def test_a_server_need_not_give_timestamps(newest: Line) -> None:
    newest.server.gives_timestamps = False
    answer = newest.asker.call("AllocTimestamp", milvus_pb2.AllocTimestampRequest())
    assert code(answer) == "UNIMPLEMENTED"


def test_the_timestamp_of_a_bounded_read_is_a_reading_of_the_proxy_s_clock(newest: Line) -> None:
    newest.ready(*PLAIN)
    newest.server.clock.proxy_skew_s = 60.0
    skewed = newest.query(limit=1, iterator=True, level=BOUNDED).session_ts
    assert skewed > newest.snapshot()


def test_a_server_that_hides_its_version_behaves_as_some_release() -> None:
    with FakeMilvus("", behaves_as=NEWEST) as server:
        asker = Asker(server.url)
        line = Line("", server, asker)
        line.ready(*PLAIN)
        assert line.query(limit=1, iterator=True).session_ts > 0
        asker.close()


# Writes that break off


@pytest.fixture
def client(newest: Line) -> Iterator[Client]:
    client = Client(Endpoint(newest.server.url))
    yield client
    client.close()


@pytest.mark.parametrize("broken", [10000, 1302, 65535])
def test_an_insert_can_break_off_after_its_first_shard(any_line: Line, broken: int) -> None:
    any_line.ready(*PLAIN, shards=2)
    any_line.server.fails("Insert", Fault(code=broken, text="context canceled", shards_written=1))
    answer = any_line.insert(*range(20))
    assert code(answer) == broken
    assert list(answer.err_index) == [*range(20)]
    assert 0 < any_line.count() < 20
    assert code(any_line.insert(*range(20, 40))) == 0


def test_the_client_is_told_of_an_insert_that_broke_off(newest: Line, client: Client) -> None:
    newest.ready(*PLAIN, rows=2)
    schema = client.describe(NAME).schema
    rows, _ = client.page(NAME, schema, rows=10)
    newest.server.fails("Insert", Fault(code=65535, text="context canceled", shards_written=0))
    with pytest.raises(Ambiguous):
        client.insert(NAME, "", schema, rows)
    assert newest.count() == 2


# Statuses


@pytest.mark.parametrize(
    ("retried", "expected"),
    [
        (2, [True] * 5),
        (3, [False] * 5),
        (8, [False, False, False, True, True]),
        (12, [False, True, True, True, True]),
        (505, [False, False, False, True, True]),
        (1003, [False, False, False, True, True]),
        (65535, [False] * 5),
        (1100, [False] * 5),
    ],
)
def test_a_code_is_retriable_by_the_line(retried: int, expected: list[bool]) -> None:
    assert [_status(version, retried).retriable for version in LINES] == expected


def test_mistakes_of_the_caller_are_flagged_and_never_retriable() -> None:
    status = _status(NEWEST, 1100)
    assert dict(status.extra_info) == {"is_input_error": "true"}
    assert not _status(NEWEST, 65535).extra_info


def _status(version: str, failing: int) -> object:
    with FakeMilvus(version) as server:
        server.fails("ShowCollections", Fault(code=failing, text="no"))
        asker = Asker(server.url)
        answer = asker.call("ShowCollections", milvus_pb2.ShowCollectionsRequest())
        asker.close()
        return answer.status


# Loading


def test_a_load_can_fail(newest: Line, client: Client) -> None:
    newest.ready(*PLAIN)
    newest.asker.release(NAME)
    newest.server[NAME].load_failure = "load segment failed, out of memory"
    newest.asker.load(NAME, wait_s=0.0)
    progress = newest.asker.progress(NAME)
    assert (code(progress), "out of memory" in progress.status.reason) == (101, True)


def test_no_number_of_replicas_is_that_of_the_cluster(newest: Line) -> None:
    newest.server.default_replicas = 2
    newest.ready(*PLAIN)
    request = milvus_pb2.GetReplicasRequest(collection_name=NAME)
    assert len(newest.asker.call("GetReplicas", request).replicas) == 2


# Limits


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [(2, [65535, 0, 0, 0, 0]), (5, [65535, 65535, 65535, 0, 0]), (11, [65535] * 3 + [1100] * 2)],
)
def test_the_number_of_vectors_is_limited_by_the_line(vectors: int, expected: list[int]) -> None:
    fields = [PLAIN[0], *(vector_field(f"v{number}") for number in range(vectors))]
    assert [_created(version, fields) for version in LINES] == expected


@pytest.mark.parametrize(
    ("many", "expected"), [(65, [65535] * 3 + [1100, 0]), (257, [65535] * 3 + [1100] * 2)]
)
def test_the_number_of_fields_is_limited_by_the_line(many: int, expected: list[int]) -> None:
    fields = [*PLAIN, *(field(f"f{number}", DataType.Int64) for number in range(many - 2))]
    assert [_created(version, fields) for version in LINES] == expected


def test_the_number_of_partitions_is_limited_by_the_line() -> None:
    fields = [*PLAIN, field("k", DataType.Int64, is_partition_key=True)]
    found = [_created(version, fields, partitions=1025) for version in LINES]
    assert found == [0, 65535, 65535, 1100, 1100]


def _created(version: str, fields: list, *, partitions: int = 0) -> object:
    for line in line_of(version):
        return code(line.asker.create(NAME, fields, partitions=partitions))
    return None


# The client


def test_the_client_is_refused_an_upsert_of_one_key_twice(newest: Line, client: Client) -> None:
    newest.ready(*PLAIN, rows=1)
    schema = client.describe(NAME).schema
    row, _ = client.page(NAME, schema, rows=1)
    with pytest.raises(Refused, match="duplicate primary keys"):
        client.upsert(NAME, "", schema, pa.concat_batches([row, row]))


@pytest.mark.parametrize("version", LINES)
def test_the_client_reads_what_it_wrote(version: str) -> None:
    for line in line_of(version):
        client = Client(Endpoint(line.server.url))
        line.ready(*PLAIN, shards=2, rows=50)
        schema = client.describe(NAME).schema
        rows, _ = client.page(NAME, schema, rows=100, fits=True)
        assert client.insert(NAME, "", schema, rows) == rows.num_rows
        assert client.count(NAME) == 50 + rows.num_rows
        client.close()
