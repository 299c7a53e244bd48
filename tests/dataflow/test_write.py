"""Writing: an intent before the first write, a receipt after each, and no more than is bearable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from pipeline.engines import engine_choice
from pipeline.planning import planner
from tests.clusters import described, job, schema, side, survey
from tests.dataflow.jobs import rows, writes, written
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Fault
from transforms import convert, fingerprint
from transforms.batch import Batch
from transforms.errors import RangeFailed
from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Acknowledged, Receipt, Receipts
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.plan import Plan
from transforms.ranges import KeyRange, split
from transforms.read import read
from transforms.write import WRITES_IN_FLIGHT, WriteBatches, cut_out

COUNT = 40
RANGES = split(KeyRange("docs"), [9, 19, 29])


@pytest.fixture
def server() -> Iterator[FakeMilvus]:
    with FakeMilvus() as running:
        running.create(schema())
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planner.build_plan(job(), survey(side(described())), (), plan_id="p1", made_at=1.5)


@pytest.fixture(scope="module")
def batches(plan: Plan) -> list[Batch]:
    """The rows 0 to 39 in four ranges, as reading and converting make them: three rows a batch."""
    with FakeMilvus() as source:
        source.create(schema(), rows(COUNT))
        client = Client(Endpoint(source.url))
        reader = Reader(client, "docs", plan["docs"].source.schema, page_rows=100)
        found = [batch for planned in RANGES for batch in read(reader, planned, [planned])]
        client.close()
    return [
        convert.fingerprinted(piece, json_by_value=False)
        for batch in found
        for piece in convert.pieces(batch, plan["docs"], 3)
    ]


def write(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch], **options: Any
) -> list[Receipt]:
    """Runs the transform alone; returns the receipts that are in the ledger."""
    with engine_choice.create_pipeline([], workers=1) as pipeline:
        _ = (
            pipeline
            | beam.Create([0], reshuffle=False)
            | beam.FlatMap(lambda _: batches).with_output_types(Batch)
            | WriteBatches(Endpoint(server.url), plan, ledger, **options)
        )
    return list(Receipts(ledger).news())


def test_each_batch_has_a_receipt_of_what_was_acknowledged(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    receipts = {each.covered: each for each in write(server, ledger, plan, batches)}
    assert server["docs"].rows() == rows(COUNT)
    assert len(receipts) == len(batches)
    for batch in batches:
        receipt = receipts[batch.covered]
        assert batch.rows is not None
        assert (receipt.rows, receipt.bytes > 0) == (batch.rows.num_rows, bool(batch.rows))
        assert receipt.range_id == range_id(batch.planned)
        assert receipt.fingerprint == fingerprint.to_text(batch.fingerprint)
        assert receipt.counted == batch.counted


def test_the_receipts_of_a_range_add_up_to_its_fingerprint(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    write(server, ledger, plan, batches)
    found = Acknowledged(ledger)
    found.refresh()
    for planned in RANGES:
        parts = [batch.fingerprint for batch in batches if batch.planned == planned]
        assert found.sum(planned) == (10, fingerprint.add(*parts))
        assert found.missing(planned) == []


def test_an_empty_batch_is_acknowledged_without_a_write(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    [empty] = [batch for batch in batches if batch.rows is not None and not batch.rows.num_rows]
    [receipt] = write(server, ledger, plan, [empty])
    assert (receipt.covered, receipt.rows, receipt.failed) == (empty.covered, 0, "")
    assert server.requests == []


def test_a_range_is_begun_before_its_first_write(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    begun: list[int] = []

    def look(request: Any) -> bool:
        begun.append(len(ledger.names("intents")))
        return False

    server.fails("Insert", REFUSED, when=look)
    write(server, ledger, plan, batches)
    assert min(begun) >= 1
    assert ledger.names("intents") == sorted(f"{range_id(key_range)}.json" for key_range in RANGES)


def test_receipts_are_in_the_ledger_long_before_the_stage_ends(
    server: FakeMilvus,
    ledger: Ledger,
    plan: Plan,
    batches: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("transforms.ledger.receipts.RECEIPTS_EVERY_S", 0.01)

    def wait_for_receipts(request: Any) -> bool:
        deadline = time.monotonic() + 5
        while not ledger.names("receipts") and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(len(ledger.names("receipts")))
        return False

    seen: list[int] = []
    server.fails("Insert", REFUSED, when=lambda each: writes(35)(each) and wait_for_receipts(each))
    write(server, ledger, plan, batches)
    assert seen[0] >= 1


def test_several_writes_are_under_way_but_no_more_than_three(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    server.fails("Insert", Fault(delay_s=0.02), times=None)
    write(server, ledger, plan, batches)
    assert server.most_at_once == WRITES_IN_FLIGHT == 3


def test_a_range_that_was_begun_before_is_written_by_key(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    ledger.begin_range(RANGES[1])
    write(server, ledger, plan, batches)
    assert written(server, "Upsert") == [*range(10, 20)]
    assert server["docs"].rows() == rows(COUNT)


def test_after_a_batch_that_failed_the_rest_of_its_range_is_not_written(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    server.fails("Insert", REFUSED, times=None, when=writes(10))
    receipts = write(server, ledger, plan, batches)
    [failed] = [receipt for receipt in receipts if receipt.failed]
    assert failed.range_id == range_id(RANGES[1])
    assert "the server does not like it" in failed.failed
    assert {*server.keys("docs")} >= {*range(10), *range(20, COUNT)}
    # Those that were under way when it failed may have arrived.
    assert len(server.keys("docs")) < COUNT


def test_what_could_not_be_read_becomes_a_failed_receipt(
    server: FakeMilvus, ledger: Ledger, plan: Plan
) -> None:
    unread = Batch(RANGES[0], RANGES[0], None, failed="the source is gone")
    [receipt] = write(server, ledger, plan, [unread])
    assert receipt.failed.endswith("the source is gone")
    assert (receipt.rows, server.requests) == (0, [])


def test_with_fail_fast_a_range_that_fails_fails_the_pipeline(
    server: FakeMilvus, ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    server.fails("Insert", REFUSED, times=None, when=writes(10))
    with pytest.raises(RangeFailed, match="the server does not like it"):
        write(server, ledger, plan, batches, fail_fast=True)
    assert [receipt for receipt in Receipts(ledger).news() if receipt.failed]


def test_a_target_that_acknowledges_fewer_rows_than_were_sent_fails_the_range(
    ledger: Ledger, plan: Plan, batches: list[Batch]
) -> None:
    class Forgetful(FakeMilvus):
        def Insert(self, request: Any, context: Any = None) -> Any:  # noqa: N802
            answer = super().Insert(request, context)
            answer.insert_cnt -= 1
            return answer

    with Forgetful() as server:
        server.create(schema())
        receipts = write(server, ledger, plan, batches[:1])
    assert "acknowledged 2 of 3 rows" in receipts[0].failed


# Around rows that are left out


def pieces_without(*left_out: int, keys: tuple[int, ...] = (1, 3, 5, 7)) -> list[tuple[str, int]]:
    found = pa.record_batch({"id": [*keys]})
    whole = KeyRange("docs", 0, 9)
    batch = Batch(whole, whole, found, counted=4, keys=found.column(0))
    return [
        (str(each.covered), each.rows.num_rows)
        for each in cut_out(batch, {*left_out})
        if each.rows is not None
    ]


def test_the_intervals_around_rows_that_are_left_out_hold_all_others() -> None:
    assert pieces_without() == [("docs(0..9]", 4)]
    assert pieces_without(0) == [("docs(1..9]", 3)]
    assert pieces_without(1) == [("docs(0..1]", 1), ("docs(3..9]", 2)]
    assert pieces_without(3) == [("docs(0..5]", 3), ("docs(7..9]", 0)]
    assert pieces_without(0, 1, 2, 3) == [("docs(7..9]", 0)]
    assert pieces_without(1, keys=(1, 3, 3, 7)) == [("docs(0..1]", 1), ("docs(3..9]", 1)]
