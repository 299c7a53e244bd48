"""Delivery: whatever a write meets, each row is in the target once, or rejected, or it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.planning import planner
from tests.clock import Clock
from tests.clusters import described, job, schema, side, survey
from tests.dataflow.jobs import keys_of, row, rows, writes
from tests.fakes.inserts import rows_of
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault, Refusal
from transforms.delivery import Delivery
from transforms.errors import Ambiguous, Refused, Unexplained
from transforms.milvus import channel, throttle
from transforms.milvus import schema as schemas
from transforms.milvus.channel import UNEXPLAINED_S
from transforms.milvus.client import Client
from transforms.milvus.codes import NOTHING_WRITTEN, OF_THE_COLLECTION
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan

pytestmark = pytest.mark.slow

COUNT = 16
UNEXPECTED = 65535


@dataclass
class Failure:
    """What the next insert meets, after the rows of its first shards were written."""

    code: int
    shards: int = 1
    text: str = "words"


class Sharded(FakeMilvus):
    """A server that writes shard by shard, and fails between two of them."""

    SHARDS = 4

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Failure] = []

    def Insert(self, request: Any, context: Any = None) -> Any:  # noqa: N802
        if not self.failures:
            return super().Insert(request, context)
        failure = self.failures.pop(0)
        sent = enumerate(rows_of(self[request.collection_name], request))
        written = [each for place, each in sent if place % self.SHARDS < failure.shards]
        if written:
            self[request.collection_name].insert(written)
        raise Refusal(failure.code, failure.text)


@pytest.fixture(scope="module")
def plan() -> CollectionPlan:
    made = planner.build_plan(job(), survey(side(described())), (), plan_id="p1", made_at=1.5)
    return made["docs"]


@pytest.fixture(scope="module")
def running() -> Iterator[Sharded]:
    with Sharded() as server:
        yield server


@pytest.fixture
def server(running: Sharded) -> Sharded:
    running.reset()
    running.failures.clear()
    running.create(schema())
    return running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (throttle, channel, tenacity, tenacity.nap):
        monkeypatch.setattr(module, "time", made)
    return made


def batch(found: Iterable[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(found), schema=schemas.parse(schema()).arrow())


def deliver(
    server: FakeMilvus,
    plan: CollectionPlan,
    *,
    found: pa.RecordBatch | None = None,
    upsert: bool = True,
    first_time: bool = True,
    max_rejected: int = 10,
) -> Delivery:
    client = Client(Endpoint(server.url))
    try:
        made = Delivery(client, plan, "", upsert, most_rejected=lambda: max_rejected)
        made.send(batch(rows(COUNT)) if found is None else found, first_time=first_time)
        return made
    finally:
        client.close()


def rejected(made: Delivery) -> list[int]:
    return [key for each in made.rejected for key in each.row["id"].to_pylist()]


# Written on one shard, failed on another


HALF_WRITTEN = [
    *(Failure(code) for code in (5, 10000, 10001, 1000, 1001, 1002, 1008, 1302, 2000, 2099, 4711)),
    *(Failure(UNEXPECTED, text=text) for text in ("panic", "context canceled", "no available")),
    Failure(1302, text="Broker: Message too large"),
    Failure(UNEXPECTED, text="message too large"),
]


@pytest.mark.parametrize("upsert", [True, False], ids=["by upsert", "by delete and insert"])
@pytest.mark.parametrize("failure", HALF_WRITTEN, ids=lambda each: f"{each.code} {each.text}")
def test_what_is_written_on_one_shard_only_ends_with_each_row_once(
    server: Sharded, plan: CollectionPlan, clock: Clock, failure: Failure, upsert: bool
) -> None:
    server.failures = [replace(failure)]
    made = deliver(server, plan, upsert=upsert)
    assert server["docs"].rows() == rows(COUNT)
    assert (made.rejected, made.possible_duplicates) == ([], 0)


@pytest.mark.parametrize("code", [10000, 1302, UNEXPECTED, 5])
def test_a_half_written_batch_with_a_rejected_row_has_the_other_rows_once(
    server: Sharded, plan: CollectionPlan, clock: Clock, code: int
) -> None:
    server.failures = [Failure(code)]
    server.fails("Upsert", Fault(code=1100, text="no"), when=writes(7), times=None)
    made = deliver(server, plan)
    assert rejected(made) == [7]
    assert server.keys("docs") == [key for key in range(COUNT) if key != 7]


@pytest.mark.parametrize("code", sorted(NOTHING_WRITTEN & {1, 3, 4, 7, 8, 9, 11, 12}))
def test_what_is_turned_away_before_a_row_is_written_is_inserted_again(
    server: Sharded, plan: CollectionPlan, clock: Clock, code: int
) -> None:
    server.failures = [Failure(code, shards=0)] * 3
    deliver(server, plan)
    assert server["docs"].rows() == rows(COUNT)
    assert server.asked("Upsert") == []


def test_new_ids_do_not_count_as_doubled_where_surely_nothing_was_written(
    server: Sharded, clock: Clock
) -> None:
    made = planner.build_plan(
        job(sink="enable_auto_id = true"), survey(side(described())), (), plan_id="p", made_at=1.5
    )["docs"]
    server.reset()
    server.create(schema(auto_id=True))
    server.failures = [Failure(code, shards=0) for code in (1, 4, 12)]
    without_keys = batch(rows(COUNT)).drop_columns(["id"])
    assert deliver(server, made, found=without_keys).possible_duplicates == 0
    assert len(server.keys("docs")) == COUNT


@pytest.mark.parametrize("upsert", [True, False], ids=["by upsert", "by delete and insert"])
def test_a_key_that_no_delete_can_name_is_there_once_too(
    server: Sharded, plan: CollectionPlan, clock: Clock, upsert: bool
) -> None:
    """The target of a copy is not loaded, so that a delete cannot compare, only name."""
    server["docs"].loaded = False
    server.failures = [Failure(10000)]
    found = [row(-(2**63)), *rows(COUNT)]
    made = deliver(server, plan, found=batch(found), upsert=upsert)
    assert server["docs"].rows() == found
    assert (made.rejected, made.possible_duplicates) == ([], 0)


CODES = [
    *sorted(NOTHING_WRITTEN - OF_THE_COLLECTION - {6, 1400, 1401, 1402}),
    2,
    5,
    101,
    503,
    901,
    1002,
    1302,
    2000,
]
FAILURES = st.lists(
    st.builds(
        Failure, st.sampled_from([*CODES, 10000, UNEXPECTED]), st.integers(0, Sharded.SHARDS)
    ),
    max_size=5,
)


@settings(max_examples=60)
@given(failures=FAILURES, upsert=st.booleans())
def test_whatever_inserts_meet_each_row_is_written_once_or_rejected(
    running: Sharded, plan: CollectionPlan, failures: list[Failure], upsert: bool
) -> None:
    for failure in failures:
        failure.shards = 0 if failure.code in NOTHING_WRITTEN else failure.shards
    running.reset()
    running.create(schema())
    running.failures = failures
    clock = Clock()
    with pytest.MonkeyPatch.context() as patched:
        for module in (throttle, channel, tenacity, tenacity.nap):
            patched.setattr(module, "time", clock)
        made = deliver(running, plan, upsert=upsert, max_rejected=COUNT)
    assert sorted([*running.keys("docs"), *rejected(made)]) == [*range(COUNT)]


# Refused for good


def test_a_row_rejected_for_an_unknown_reason_is_found_in_reasonable_time(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    words = Fault(code=UNEXPECTED, text="row 7 is odd")
    for method in ("Insert", "Upsert"):
        server.fails(method, words, when=writes(7), times=None)
        server.fails(method, words, when=writes(12), times=None)
    made = deliver(server, plan)
    assert rejected(made) == [7, 12]
    assert server.keys("docs") == [key for key in range(COUNT) if key not in (7, 12)]
    assert sum(clock.slept) < 3 * UNEXPLAINED_S


def test_a_row_rejected_for_a_known_reason_is_found_at_once_and_the_others_are_inserted(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    words = Fault(code=UNEXPECTED, text="value 'NaN' is not a number or infinity")
    server.fails("Insert", words, when=writes(7), times=None)
    made = deliver(server, plan)
    assert rejected(made) == [7]
    assert (server.asked("Upsert"), clock.slept) == ([], [])


def test_a_server_that_rejects_every_row_for_an_unknown_reason_ends_the_batch_in_its_words(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    server.fails("Upsert", Fault(code=UNEXPECTED, text="panic"), times=None)
    with pytest.raises(Unexplained, match="panic"):
        deliver(server, plan, first_time=False)
    assert UNEXPLAINED_S <= sum(clock.slept) <= 2 * UNEXPLAINED_S


def test_by_delete_and_insert_a_refusal_for_good_ends_with_the_servers_words(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    server.fails("Insert", Fault(code=UNEXPECTED, text="panic"), times=None)
    with pytest.raises(Refused, match="panic"):
        deliver(server, plan, upsert=False)
    assert sum(clock.slept) <= 2 * UNEXPLAINED_S


def test_a_collection_that_is_gone_is_no_matter_of_rows(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    server.drop("docs")
    with pytest.raises(Refused, match=r"can't find collection|collection not found"):
        deliver(server, plan)
    assert len(server.asked("Insert")) == 1


def test_after_as_many_rejected_rows_as_are_searched_for_the_rest_is_left_out(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    server.fails("Insert", Fault(code=1100, text="no"), when=lambda _: True, times=None)
    made = deliver(server, plan, max_rejected=5)
    assert (rejected(made), made.untried) == ([*range(5)], [*range(5, COUNT)])
    assert len(server.asked("Insert")) < COUNT


def test_a_row_above_a_limit_is_reported_with_its_field_size_and_limit(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    made = deliver(server, plan, found=batch([*rows(3), row(3) | {"title": "ü" * 40}]))
    [found] = made.rejected
    assert (found.place, found.row["id"].to_pylist()) == (3, [3])
    assert "field `title` has 80 bytes, the limit is 64 (`max_length`)" in found.reason
    assert "field_schema" in found.remedy


# A key more than once


def test_rows_of_one_key_are_not_upserted_in_one_write(
    server: Sharded, plan: CollectionPlan, clock: Clock
) -> None:
    """2.6.8 and later reject such an upsert; rows inserted twice on purpose stay."""
    refuse_duplicates(server)
    server.failures = [Failure(10000, shards=2)]
    found = [*rows(COUNT), row(3) | {"title": "again"}]
    deliver(server, plan, found=batch(found))
    assert server.keys("docs") == sorted([*range(COUNT), 3])
    assert server.asked("Upsert") == []


def refuse_duplicates(server: FakeMilvus) -> None:
    """Makes the server reject upserts with a duplicate key, as 2.6.8 and later do."""

    def repeats(request: Any) -> bool:
        keys = keys_of(request)
        return len(keys) > len({*keys})

    words = "duplicate primary keys are not allowed in the same batch: invalid parameter"
    server.fails("Upsert", Fault(code=1100, text=words), when=repeats, times=None)


def test_an_ambiguous_error_means_what_the_server_answered_and_else_itself() -> None:
    alone = Ambiguous("a", "Insert", "INTERNAL: RST_STREAM")
    assert alone.meaning is alone
    cause = Refused("a", "Insert", "panic", UNEXPECTED)
    alone.__cause__ = cause
    assert alone.meaning is cause
