"""Snapshots, pages, counts and filters by release."""

from __future__ import annotations

from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionSchema, FunctionType

from tests.fakes.answers.asking import (
    BOUNDED,
    PLAIN,
    field,
    longs,
    pairs,
    text_field,
    texts,
    vectors,
)
from tests.fakes.cases.lines import NAME, Cases, Line, around, by_line, code, column, flagged

reads = Cases()

# The shards of the keys 0 to 19: a page of 5 of each ends at the ninth key.
TWENTY = range(20)


@reads.of("pins_iterators", by_line(3, 3, 0, 0, 0))
def rows_at_timestamp_2(line: Line) -> object:
    line.ready(*PLAIN, rows=3)
    return len(line.keys(iterator=True, level=BOUNDED, at=2))


@reads.of("pins_iterators", by_line((5, 5), (5, 5), (3, 3), (3, 3), (3, 3)))
def rows_and_count_at_a_snapshot(line: Line) -> object:
    line.ready(*PLAIN, rows=3)
    taken = line.snapshot()
    line.insert(3, 4)
    at = {"iterator": True, "level": BOUNDED, "at": taken}
    return len(line.keys(**at)), line.count(**at)


@reads.of("pins_iterators", by_line((2, 2), (2, 2), (3, 2), (3, 2), (3, 2)))
def deleted_rows_at_a_snapshot_before_and_after_compaction(line: Line) -> object:
    line.ready(*PLAIN, rows=3)
    taken = line.snapshot()
    line.asker.delete(NAME, "id in [1]")
    before = line.count(iterator=True, at=taken)
    line.server[NAME].compact()
    return before, line.count(iterator=True, at=taken)


@reads.of("pins_iterators", by_line(*[5] * 5))
def a_timestamp_without_iterator_hides_nothing(line: Line) -> object:
    line.ready(*PLAIN, rows=3)
    taken = line.snapshot()
    line.insert(3, 4)
    return line.count(level=BOUNDED, at=taken)


@reads.of("gives_session_ts", by_line(False, False, True, True, True))
def session_ts_of_an_iterator(line: Line) -> object:
    line.ready(*PLAIN)
    plain = line.query(limit=1)
    pinned = line.query(limit=1, iterator=True, at=2)
    assert not plain.session_ts
    assert not pinned.session_ts
    return line.query(limit=1, iterator=True).session_ts > 0


@reads.of("hides_expired_rows", by_line(1, 1, 0, 0, 0), around("2.5.12", 1, "2.5.13", 0))
def expired_rows(line: Line) -> object:
    line.ready(*PLAIN, rows=1, properties={"collection.ttl.seconds": 10})
    line.server.clock.advance(20.0)
    assert len(line.keys()) == line.count()
    return line.count()


@reads.of(
    "stalled_read_is_505",
    by_line(65535, 65535, 65535, 505, 505),
    around("2.6.16", 65535, "2.6.17", 505),
)
def strong_read_of_a_stalled_replica(line: Line) -> object:
    line.ready(*PLAIN)
    line.server.stalled = True
    return code(line.query(limit=1))


@reads.of("pages_by_iterator", by_line(9, 9, 5, 5, 5))
def page_without_iterator_of_two_shards(line: Line) -> object:
    line.ready(*PLAIN, shards=2)
    line.insert(*TWENTY)
    return len(line.keys(limit=5, reduce_stop_for_best=True))


@reads.of("pages_by_iterator", by_line(*[5] * 5))
def page_cut_at_the_limit(line: Line) -> object:
    line.ready(*PLAIN, shards=2)
    line.insert(*TWENTY)
    return len(line.keys(limit=5, iterator=True, reduce_stop_for_best=False))


@reads.of("pages_end_at_limit", by_line(9, 9, 9, 9, 5))
def page_of_two_shards(line: Line) -> object:
    line.ready(*PLAIN, shards=2)
    line.insert(*TWENTY)
    return len(line.keys(limit=5, iterator=True, reduce_stop_for_best=True))


@reads.of("merge_ends_where_more", by_line(18, 18, 20, 20, 20))
def page_that_all_rows_fit_into(line: Line) -> object:
    line.ready(*PLAIN, shards=2)
    line.insert(*TWENTY)
    return len(line.keys(limit=100, iterator=True, reduce_stop_for_best=True))


@reads.of(
    "merge_loses_rows",
    around("2.3.13", True, "2.3.14", False),
    around("2.3.16", False, "2.3.17", True),
    around("2.3.22", True, "2.4.0", False),
    around("2.4.4", False, "2.4.5", True),
)
def pages_that_show_every_key(line: Line) -> object:
    line.ready(*PLAIN)
    line.insert(1, 1, 1, 2, 4)
    line.insert(3, 5)
    seen, page = [0], [0]
    while page:
        where = f"id > {seen[-1]}"
        page = line.keys(where=where, limit=3, iterator=True, reduce_stop_for_best=True)
        seen += page
    return seen == [*range(6)]


@reads.of(
    "newest_row_wins",
    around("2.3.20", 0.25, "2.3.21", 0.75),
    around("2.4.7", 0.25, "2.4.8", 0.75),
    by_line(*[0.75] * 5),
)
def vector_of_a_repeated_key(line: Line) -> object:
    line.ready(*PLAIN)
    line.insert(1, value=0.25)
    line.insert(1, value=0.75)
    page = line.query("id", "v", limit=10, iterator=True)
    return column(page, "v").vectors.float_vector.data[0]


@reads.of(
    "hides_largest_key",
    by_line((1, 2), (1, 2), (1, 2), (2, 2), (2, 2)),
    around("2.6.7", (1, 2), "2.6.8", (2, 2)),
)
def rows_shown_and_counted_with_the_largest_key(line: Line) -> object:
    line.ready(*PLAIN)
    line.insert(5, 2**63 - 1)
    return len(line.keys()), line.count()


@reads.of("query_faults_are_1100", by_line(65535, 1100, 1100, 1100, 1100))
def count_with_a_limit(line: Line) -> object:
    line.ready(*PLAIN)
    return code(line.query("count(*)", limit=10))


@reads.of("query_faults_are_1100", by_line(*[(2, 0)] * 5))
def counts_by_lists_of_keys(line: Line) -> object:
    line.ready(*PLAIN)
    line.insert(1, 1, 2)
    return line.count(where="id in [1, 7]"), line.count(where="id in []")


@reads.of("reads_min_int64", by_line(65535, 1100, 1100, 0, 0))
def filter_with_the_smallest_number(line: Line) -> object:
    line.ready(*PLAIN)
    return code(line.query(where=f"id >= {-(2**63)}", limit=1))


@reads.of("names_primary_field", by_line("", "", "id", "id", "id"))
def primary_field_of_an_answer(line: Line) -> object:
    line.ready(*PLAIN)
    return line.query(limit=1).primary_field_name


@reads.of("skips_bm25_outputs", {"2.4.24": True, "2.5.27": False, "2.6.19": False, "3.0.0": False})
def outputs_of_bm25_among_all_columns(line: Line) -> object:
    text = text_field("t", 20)
    text.type_params.extend(pairs({"enable_analyzer": "true"}))
    function = FunctionSchema(
        name="f", type=FunctionType.BM25, input_field_names=["t"], output_field_names=["sp"]
    )
    fields = [*PLAIN, text, field("sp", DataType.SparseFloatVector)]
    line.asker.create(NAME, fields, functions=[function])
    for name in ("v", "sp"):
        line.asker.index(NAME, name, index_type="FLAT", metric_type="L2")
    line.asker.load(NAME)
    return "sp" in [data.field_name for data in line.query("*", limit=1).fields_data]


@reads.of("refuses_unloaded_fields", by_line(0, 0, 65535, 0, 0))
def field_that_is_not_loaded(line: Line) -> object:
    line.asker.create(NAME, [*PLAIN, text_field("t", 20)])
    line.asker.index(NAME, "v", index_type="FLAT", metric_type="L2")
    line.asker.load(NAME, load_fields=["id", "v"])
    return code(line.query("t", limit=1))


@reads.of("flags_absent_in_rows", by_line(False, False, True, True, True))
def query_of_no_collection_flagged(line: Line) -> object:
    return flagged(line.asker.query("none", "id > 0", ["id"], limit=1))


@reads.of(
    "describes_absent_with_0",
    by_line((100, 1), (100, 1), (0, 4), (0, 4), (100, 1)),
    around("2.5.17", (100, 1), "2.5.18", (0, 4)),
)
def description_of_no_collection(line: Line) -> object:
    status = line.asker.describe("none").status
    return status.code, status.error_code


@reads.of("absent_database_is_800", by_line(100, 100, 800, 800, 800))
def description_in_no_database(line: Line) -> object:
    request = milvus_pb2.DescribeCollectionRequest(collection_name="none", db_name="none")
    return code(line.asker.call("DescribeCollection", request))


_TIME = "2026-01-02T03:04:05.5+08:00"


@reads.of(
    "empty_timestamptz_is_long",
    around("2.6.5", "string_data", "2.6.6", "long_data"),
    {"2.6.19": "long_data", "3.0.0": "long_data"},
)
def member_of_an_empty_column_of_times(line: Line) -> object:
    line.ready(*PLAIN, field("ts", DataType.Timestamptz))
    return column(line.query("ts", limit=1), "ts").scalars.WhichOneof("data")


@reads.of(
    "query_timezone",
    around("2.6.5", "2026-01-02T03:04:05.5+08:00", "2.6.6", "2026-01-01T19:04:05.5Z"),
    {"2.6.19": "2026-01-01T19:04:05.5Z", "3.0.0": "2026-01-01T19:04:05.5Z"},
)
def time_asked_for_in_utc(line: Line) -> object:
    zone = {"timezone": "Asia/Shanghai"}
    line.ready(*PLAIN, field("ts", DataType.Timestamptz), properties=zone)
    times = texts("ts", [_TIME], DataType.Timestamptz)
    line.asker.insert(NAME, longs("id", [1]), vectors("v", 1), times)
    [in_zone] = column(line.query("ts", limit=1), "ts").scalars.string_data.data
    assert in_zone == _TIME
    page = line.query("ts", limit=1, timezone="UTC")
    return column(page, "ts").scalars.string_data.data[0]
