"""Ledgers made by hand: what a job would have recorded, without a server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pymilvus.grpc_gen import schema_pb2

from transforms import fingerprint, ranges
from transforms.finding import Finding
from transforms.ledger.ledger import Difference, Finished, Ledger, Verdict, range_id
from transforms.ledger.receipts import Receipt, ReceiptWriter
from transforms.milvus.description import Description, Index
from transforms.milvus.retry_statistics import Lately, Reason, Retried
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

RUN = "run-1"
BEGAN = 1_772_403_245.0  # 2026-03-01 22:14:05 UTC
BYTES_A_ROW = 620

HNSW = (("index_type", "HNSW"), ("metric_type", "COSINE"), ("M", "16"), ("efConstruction", "200"))


def description(name: str) -> Description:
    """A collection with a key, a text, a vector and its index."""
    message = schema_pb2.CollectionSchema(name=name, enable_dynamic_field=True)
    message.fields.add(name="id", data_type=schema_pb2.Int64, is_primary_key=True)
    title = message.fields.add(name="title", data_type=schema_pb2.VarChar)
    title.type_params.add(key="max_length", value="100")
    vector = message.fields.add(name="vector", data_type=schema_pb2.FloatVector)
    vector.type_params.add(key="dim", value="128")
    return Description(
        name=name,
        collection_id=1,
        raw_schema=message.SerializeToString(deterministic=True),
        shards=2,
        consistency_level=2,
        partition_count=1,
        partitions=("_default",),
        indexes=(Index("vector", "vector", HNSW),),
    )


def collection(
    name: str,
    rows: int,
    *,
    target: str = "",
    new_ids: bool = False,
    partitions: tuple[str, ...] = ("",),
) -> CollectionPlan:
    source = description(name)
    wanted = replace(source, name=target or name)
    return CollectionPlan(source, target or name, wanted, partitions, rows, new_ids=new_ids)


def plan(*collections: CollectionPlan, findings: tuple[Finding, ...] = ()) -> Plan:
    return Plan(
        job_id="job-1",
        plan_id="plan-1",
        made_at=BEGAN,
        source_url="http://10.0.0.1:19530",
        target_url="http://target.example.com:19530",
        source_version="v2.3.5",
        target_version="v2.3.5",
        collections=collections,
        findings=findings,
        settings={"sink.Milvus.enable_auto_id": False},
    )


def receipt(planned: KeyRange, rows: int, *, at: float) -> Receipt:
    """A receipt for a whole range, of which the source has told no count."""
    return Receipt(
        range_id=range_id(planned),
        covered=planned,
        rows=rows,
        bytes=rows * BYTES_A_ROW,
        fingerprint=fingerprint.to_text(1),
        at=BEGAN + at,
        worker="w",
    )


@dataclass
class Job:
    """One job in a ledger of its own; each method records what a step would have recorded."""

    folder: Path
    plan: Plan
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(str(self.folder), self.plan.job_id)

    def cut(self, name: str, *cuts: int) -> list[KeyRange]:
        """Freezes the ranges of a collection, in each of its partitions."""
        places = (KeyRange(name, partition=partition) for partition in self.plan[name].partitions)
        pieces = [piece for place in places for piece in ranges.split(place, cuts)]
        return self.ledger.freeze(self.plan.plan_id, name, pieces)

    def copy(
        self,
        planned: KeyRange,
        rows: int,
        *,
        at: float,
        counted: int | None = -1,
        doubled: int = 0,
        rejected: int = 0,
        covered: KeyRange | None = None,
    ) -> None:
        """Records one receipt, by default for a whole range of which the source counts as many."""
        self.begin(planned, at - 0.5)
        made = receipt(planned, rows, at=at)
        counted = rows + rejected if counted == -1 else counted
        made = replace(made, covered=covered or planned)
        self.receive(replace(made, counted=counted, doubled=doubled, rejected=rejected))

    def fail(self, planned: KeyRange, reason: str, *, at: float) -> None:
        """Records that a range failed for good."""
        text = fingerprint.to_text(0)
        name = range_id(planned)
        self.receive(Receipt(name, planned, 0, 0, text, BEGAN + at, failed=reason))

    def begin(self, planned: KeyRange, at: float) -> None:
        entry = json.dumps({"range": str(planned), "at": BEGAN + at}).encode()
        self.ledger.write_once(f"intents/{range_id(planned)}.json", entry)

    def receive(self, *receipts: Receipt) -> None:
        writer = ReceiptWriter(self.ledger)
        for receipt in receipts:
            writer.add(receipt)
        writer.flush()

    def finish(
        self,
        name: str,
        *,
        source: int | None = None,
        target: int | None = None,
        at: float = 60,
        failed: str = "",
    ) -> None:
        """Records that a collection is complete; by default the source has the rows of the plan."""
        before = self.plan[name].rows if source is None else source
        self.ledger.finish(Finished(name, before, target, 12.5, BEGAN + at, failed))

    def retry(self, **sides: dict[Reason, Retried]) -> None:
        """Records the calls that one process has sent again, by side."""
        entry = {
            side: {reason: asdict(each) for reason, each in found.items()}
            for side, found in sides.items()
        }
        name = f"retries/{len(self.ledger.names('retries'))}.json"
        self.ledger.replace(name, json.dumps(entry).encode())

    def slow(self, **sides: Lately) -> None:
        """Records what the calls of one process take just now, by side."""
        told = {side: asdict(each) for side, each in sides.items()}
        name = f"workers/{len(self.ledger.names('workers'))}.json"
        self.ledger.replace(name, json.dumps({"host": "h", "pid": 1, "lately": told}).encode())

    def judge(
        self,
        planned: KeyRange,
        rows: int,
        *,
        found: int | None = None,
        method: str = "full",
        differences: Iterable[Difference] = (),
        failed: str = "",
        written: int = 0,
        deleted: int = 0,
        at: float = 90,
    ) -> None:
        self.ledger.record_verdict(
            RUN,
            Verdict(
                range_id=range_id(planned),
                planned=planned,
                rows_expected=rows,
                rows_found=rows if found is None else found,
                at=BEGAN + at,
                method="count" if method == "count" else "full",
                differences=tuple(differences),
                failed=failed,
                written=written,
                deleted=deleted,
            ),
        )

    def complete(self, name: str, *, ranges_of: int = 1_000, method: str = "full") -> None:
        """Records all steps of a collection in which nothing went wrong."""
        rows = self.plan[name].rows
        pieces = self.cut(name, *range(ranges_of, rows, ranges_of))
        for index, piece in enumerate(pieces):
            share = min(ranges_of, rows - index * ranges_of)
            self.copy(piece, share, at=5 + index)
            if method:
                self.judge(piece, share, method=method, at=80 + index)
        self.finish(name, target=rows)


def job(folder: Path, *collections: CollectionPlan, findings: Collection[Finding] = ()) -> Job:
    return Job(folder, plan(*collections, findings=tuple(findings)))
