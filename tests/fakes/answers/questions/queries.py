"""Loading, pages, snapshots, counts and filters."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import (
    BOUNDED,
    CUSTOMIZED,
    PLAIN,
    Answer,
    Asker,
    documents,
    field,
    integer_arrays,
    longs,
    scalars,
    text_field,
    texts,
    vectors,
)
from tests.fakes.answers.shown import counted
from tests.fakes.answers.steps import Steps

query = Steps("query")

TAKEN_AT = "the timestamp of a snapshot"

_MIXED = [
    *PLAIN,
    text_field("t", 20),
    field("j", DataType.JSON),
    field("a", DataType.Array, element=DataType.Int32, params={"max_capacity": 4}),
    field("b", DataType.Bool),
]


@query
def not_loaded(asker: Asker) -> Answer:
    asker.drop("probe_q")
    asker.create("probe_q", PLAIN)
    return asker.query("probe_q", "id > 0", ["id"], limit=1)


@query
def load_without_index(asker: Asker) -> Answer:
    return asker.load("probe_q", wait_s=0.0)


@query
def replicas_not_loaded(asker: Asker) -> Answer:
    return asker.call("GetReplicas", milvus_pb2.GetReplicasRequest(collection_name="probe_q"))


@query
def empty_page(asker: Asker) -> Answer:
    asker.ready("probe_q", _MIXED, enable_dynamic_field=True)
    return asker.query("probe_q", "id > 0", ["*"], limit=10, iterator=True)


@query
def load_loaded(asker: Asker) -> Answer:
    return asker.load("probe_q", wait_s=0.0, replica_number=1)


@query
def load_with_two_replicas(asker: Asker) -> Answer:
    return asker.load("probe_q", wait_s=0.0, replica_number=2)


@query
def paging(asker: Asker) -> Answer:
    """Stores rows 0 to 99 and takes a snapshot; then adds 100 to 149 and deletes 0 to 9."""
    asker.ready("probe_p", PLAIN, rows=100)
    answer = asker.query("probe_p", "id >= 0", ["id"], limit=1, iterator=True)
    asker.notes[TAKEN_AT] = getattr(answer, "session_ts", 0)
    asker.settle(0.3)
    asker.insert("probe_p", longs("id", range(100, 150)), vectors("v", 50))
    asker.delete("probe_p", f"id in {list(range(10))}")
    asker.settle(0.5)
    return answer


def _page(name: str, *, pinned: bool = False, where: str = "id >= 0", **how: Any) -> None:
    columns = how.pop("columns", ["id"])

    def ask(asker: Asker) -> Answer:
        at = {"at": asker.notes[TAKEN_AT] or 1} if pinned else {}
        return counted(asker.query("probe_p", where, columns, **how, **at))

    query.add(name, ask)


COUNT = ["count(*)"]

_page("strong_iterator", limit=1000, iterator=True)
_page("bounded_iterator_ts0", level=BOUNDED, limit=1000, iterator=True)
_page("bounded_iterator_ts2", level=BOUNDED, at=2, limit=1000, iterator=True)
_page("bounded_iterator_ts1", level=BOUNDED, at=1, limit=1000, iterator=True)
_page("bounded_ts2_no_iterator", level=BOUNDED, at=2, limit=1000)
_page("strong_ts2_no_iterator", at=2, limit=1000)
_page("pinned_iterator", level=BOUNDED, pinned=True, limit=1000, iterator=True)
_page(
    "pinned_iterator_not_best",
    level=BOUNDED,
    pinned=True,
    limit=1000,
    iterator=True,
    reduce_stop_for_best=False,
)
_page("pinned_no_iterator", level=BOUNDED, pinned=True, limit=1000)
_page("customized_no_iterator", level=CUSTOMIZED, pinned=True, limit=1000)
_page("count_strong", columns=COUNT)
_page("count_bounded", level=BOUNDED, columns=COUNT)
_page("count_pinned_iterator", level=BOUNDED, pinned=True, columns=COUNT, iterator=True)
_page("count_in_list", columns=COUNT, where=f"id in {list(range(50, 120))}")
_page("count_in_empty_list", columns=COUNT, where="id in []")
_page("count_with_limit", columns=COUNT, limit=10)
_page("limit_small", limit=7, iterator=True, reduce_stop_for_best=True)
_page("limit_small_not_best", limit=7, iterator=True, reduce_stop_for_best=False)
_page("limit_too_large", limit=16_385, iterator=True)
_page("no_limit_no_filter", where="")
_page("no_limit_with_iterator", iterator=True)
_page("modulo", where="id % 10 == 3", limit=100)
_page("random_sample", where="random_sample(0.5)", limit=100)
_page("min_int64", where="id >= -9223372036854775808", limit=1)
_page("bad_filter", where="id >", limit=1)
_page("unknown_field", where="nope > 1", limit=1)
_page("unknown_output", columns=["nope"], limit=1)
_page("unknown_partition", partitions=["nope"], limit=1)


@query
def largest_key(asker: Asker) -> Answer:
    asker.ready("probe_m", PLAIN)
    asker.insert("probe_m", longs("id", [5, 2**63 - 1]), vectors("v", 2))
    return {
        "page": asker.query("probe_m", "id >= 0", ["id"], limit=10, iterator=True),
        "count": asker.query("probe_m", "id >= 0", COUNT),
    }


@query
def repeated_keys(asker: Asker) -> Answer:
    asker.ready("probe_r", PLAIN)
    asker.insert("probe_r", longs("id", [1, 1, 2]), vectors("v", 3))
    asker.settle(1.0)
    return {
        "page": counted(asker.query("probe_r", "id >= 0", ["id"], limit=10, iterator=True)),
        "count": counted(asker.query("probe_r", "id >= 0", COUNT)),
    }


@query
def page_of_all_columns(asker: Asker) -> Answer:
    fields = [*_MIXED, field("i8", DataType.Int8), field("d", DataType.Double)]
    asker.ready("probe_a", fields, enable_dynamic_field=True)
    numbers = schema_pb2.DoubleArray(data=[0.1, -0.0, 1e300])
    flags = schema_pb2.BoolArray(data=[True, False, True])
    asker.insert(
        "probe_a",
        longs("id", range(3)),
        vectors("v", 3),
        texts("t", ["x", "", "ü"]),
        documents("j", [b'{"a": 1.0}', b"[1]", b"null"]),
        integer_arrays("a", [[1, 2], [], [3]]),
        scalars("b", DataType.Bool, "bool_data", flags),
        scalars("i8", DataType.Int8, "int_data", schema_pb2.IntArray(data=[-128, 0, 127])),
        scalars("d", DataType.Double, "double_data", numbers),
        documents("$meta", [b"{}", b'{"x": 1}', b'{"y":[1, 2]}']),
    )
    return asker.query("probe_a", "id >= 0", ["*", "$meta"], limit=10, iterator=True)
