"""The meaning of the codes of Milvus 2.3 to 3.0 for a read, a write and a load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from transforms import errors
from transforms.errors import (
    Ambiguous,
    Busy,
    PrivilegeMissing,
    Refused,
    ServerError,
    Unexplained,
)
from transforms.milvus.codes import FINAL, NOTHING_WRITTEN, PASSING
from transforms.milvus.faults import fault_in, surely_not_done

UNEXPECTED = 65535

# Read in the server's source, code by code; the first two columns of each group are the truth that
# the product's own lists are held against.
PASSES_AND_NOTHING_WRITTEN = [1, 3, 4, 7, 8, 9, 11, 12]
PASSES_AND_MAYBE_WRITTEN = [
    *(2, 101, 103, 106, 110, 201, 202, 305, 400, 401),
    *(500, 501, 503, 504, 505, 507, 600, 601, 602, 604, 605),
    *(901, 902, 903, 904, 905, 906, 1002, 1003, 1008, 1302, 2038, 2200, 10000, 10001),
]
FINAL_AND_NOTHING_WRITTEN = [
    *(6, 10, 100, 102, 104, 105, 108, 109, 200, 250, 700, 702, 800, 801),
    *(1100, 1101, 1303, 1600, 1601, 1602, 1700, 1701, 1804),
    *(2001, 2100, 2201, 2400, 3000),
]
UNEXPLAINED_AND_MAYBE_WRITTEN = [
    *(5, 1000, 1001, 1009, 1300, 2000, 2037, 2039, 2040, 2099),
    *(UNEXPECTED, 4711),
]
"""4711 is not a code of any release; a later one may use it."""


def answered(
    code: int,
    text: str = "not now",
    *,
    method: str = "Query",
    legacy: int = 0,
    retriable: bool = False,
    input_error: bool = False,
) -> ServerError:
    """Returns the error for a Status."""
    more = {"is_input_error": "true"} if input_error else {}
    status = common_pb2.Status(
        code=code, error_code=legacy, reason=text, retriable=retriable, extra_info=more
    )
    alone = method == "LoadCollection"
    answer = status if alone else milvus_pb2.QueryResults(status=status)
    fault = fault_in("http://a:19530", method, answer.SerializeToString())
    assert fault is not None
    return fault


@pytest.mark.parametrize("code", PASSES_AND_NOTHING_WRITTEN)
def test_a_temporary_error_before_the_first_row_is_retried_for_inserts_too(code: int) -> None:
    fault = answered(code)
    assert (type(fault), surely_not_done(fault)) == (Busy, True)


@pytest.mark.parametrize("code", PASSES_AND_MAYBE_WRITTEN)
def test_a_temporary_error_after_a_part_of_the_rows_is_not_retried_for_inserts(code: int) -> None:
    fault = answered(code)
    assert (type(fault), surely_not_done(fault)) == (Busy, False)


@pytest.mark.parametrize("code", FINAL_AND_NOTHING_WRITTEN)
def test_a_mistake_of_the_caller_is_permanent_and_wrote_nothing(code: int) -> None:
    fault = answered(code)
    assert (type(fault), surely_not_done(fault)) == (Refused, True)


@pytest.mark.parametrize("code", UNEXPLAINED_AND_MAYBE_WRITTEN)
def test_an_unknown_code_is_neither_permanent_nor_surely_not_done(code: int) -> None:
    fault = answered(code)
    assert (type(fault), surely_not_done(fault)) == (Unexplained, False)


def test_no_code_is_both_temporary_and_permanent() -> None:
    assert not PASSING & FINAL
    assert NOTHING_WRITTEN <= PASSING | FINAL


@given(code=st.integers(1, 70_000), retriable=st.booleans(), input_error=st.booleans())
def test_only_listed_codes_are_surely_not_done_whatever_the_server_flags(
    code: int, retriable: bool, input_error: bool
) -> None:
    fault = answered(code, "words", retriable=retriable, input_error=input_error)
    assert surely_not_done(fault) is (code in NOTHING_WRITTEN)


@given(code=st.integers(1, 70_000))
def test_after_an_ambiguous_write_nothing_is_sure_whatever_its_code(code: int) -> None:
    assert not surely_not_done(Ambiguous("a", "Insert", "words", code))
    assert not surely_not_done(errors.Unreachable("a", "Insert", "words", code))


# The flags of an answer


@pytest.mark.parametrize("code", [5, 1301, 2000, 4711, UNEXPECTED])
def test_retriable_from_a_server_is_trusted(code: int) -> None:
    assert type(answered(code, retriable=True)) is Busy


def test_not_retriable_from_a_server_is_ignored() -> None:
    """2.5.27 answers a rate limit like this."""
    assert type(answered(8, "rate limit exceeded[rate=0.1]", legacy=49)) is Busy


@pytest.mark.parametrize("code", [5, 8, 103, 1001, 4711, UNEXPECTED])
def test_a_flagged_mistake_of_the_caller_is_permanent(code: int) -> None:
    assert type(answered(code, input_error=True)) is Refused


# Servers that send only the legacy number


@pytest.mark.parametrize(
    ("legacy", "code", "kind"),
    [
        (1, UNEXPECTED, Unexplained),
        (3, 1401, PrivilegeMissing),
        (4, 100, Refused),
        (5, 1100, Refused),
        (25, 700, Refused),
        (28, 100, Refused),
        (45, 503, Busy),
        (46, 401, Busy),
        (47, 600, Busy),
        (48, 9, Busy),
        (49, 8, Busy),
        (50, 904, Busy),
        (52, 3, Busy),
        (53, 3, Busy),
        (54, 7, Busy),
        (55, 11, Busy),
        (56, 1, Busy),
        (62, 109, Refused),
        (100, 2, Busy),
    ],
)
def test_a_legacy_number_without_a_code_means_its_code(
    legacy: int, code: int, kind: type[ServerError]
) -> None:
    fault = answered(0, legacy=legacy)
    assert (type(fault), fault.code) == (kind, code)


def test_a_collection_that_2_5_18_does_not_find_is_not_found() -> None:
    words = "can't find collection[database=default][collection=probe_none]"
    fault = answered(0, words, method="DescribeCollection", legacy=4, input_error=True)
    assert (type(fault), fault.code) == (Refused, 100)


# 65535, where the text decides

MISTAKES = [
    # Recorded from 2.3.5.
    "count entities with pagination is not allowed",
    "invalid max query result window, (offset+limit) should be in range [1, 16384], but got 16385",
    "empty expression should be used with limit",
    "cannot parse expression: id >, error: line 1:4 no viable alternative at input '>'",
    "field nope not exist",
    "partition name nope not found",
    "the length(5) of float data should divide the dim(4)",
    "value 'NaN' is not a number or infinity",
    "json: cannot unmarshal array into Go value of type map[string]interface {}",
    "not support manually specifying the partition names if partition key mode is used",
    "only metric type can be passed when use AutoIndex",
    "invalid index type: IVF_RABITQ",
    "CreateIndex failed: at most one distinct index is allowed per field",
    "CreateIndex failed: creating multiple indexes on same field is not supported",
    "multiple vector fields is not supported, fields name: v, w",
    "maximum field's number should be limited to 64",
    "create duplicate collection with different parameters, collection: probe_c",
    "database already exist: probe_db",
    # Recorded from 2.5.27.
    "fail to Query on QueryNode 1: worker(1) query failed: Create retrieve plan by expr failed:  => function random_sample(float) not found.  at FILE\n",
    "dynamic field name cannot include the static field name: t",
    "unable to drop the collection [probe_l2] because it has associated aliases [probe_alias], please remove all aliases before dropping the collection",
    "BM25 function input field must set enable_analyzer to true",
    "not allowed to retrieve raw data of field sp",
    "Invalid index name: st[e]. Index name can only contain numbers, letters, and underscores.",
    # Read in the source.
    "field title is not loaded",
    "can not assign primary field data when auto id enabled ",
    "there is no vector index on field: [v], please create index firstly",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_text_about_a_mistake_is_permanent(text: str) -> None:
    assert type(answered(UNEXPECTED, text)) is Refused


PASSING_TEXTS = [
    "Timestamp lag too large",  # up to 2.6.16
    "fail to Query on QueryNode 3: context canceled",
    "fail to get shard leaders from QueryCoord: collection not loaded",
    "node not match[expectedNodeID=3]: channel not available",
]


@pytest.mark.parametrize("text", PASSING_TEXTS)
def test_a_text_about_a_temporary_error_is_retried(text: str) -> None:
    fault = answered(UNEXPECTED, text)
    assert (type(fault), surely_not_done(fault)) == (Busy, False)


NO_VECTOR_TEXTS = [
    'Assert "failed to get vector: diskann inner error: " at VectorDiskIndex.cpp:292',
    "worker(2) query failed: output fields for IVF_SQ8 index is not allowed",
]


@pytest.mark.parametrize("text", NO_VECTOR_TEXTS)
def test_an_index_that_returns_no_vectors_has_a_remedy(text: str) -> None:
    said = str(answered(UNEXPECTED, text))
    assert text in said
    assert "Release the collection and load it again." in said
    assert "build another index (HNSW, IVF_FLAT or FLAT)" in said


UNKNOWN_TEXTS = [
    "panic",
    "runtime error: index out of range [0] with length 0",
    "runtime error: invalid memory address or nil pointer dereference",
    "rpc error: code = Unknown desc = EOF",
]


@pytest.mark.parametrize("text", UNKNOWN_TEXTS)
def test_an_unknown_text_is_neither(text: str) -> None:
    fault = answered(UNEXPECTED, text)
    assert (type(fault), surely_not_done(fault)) == (Unexplained, False)


def test_a_message_that_is_too_large_inside_the_server_may_be_half_written() -> None:
    inside = answered(1302, "Broker: Message too large", method="Insert")
    assert (type(inside), surely_not_done(inside)) == (errors.TooLarge, False)
    at_the_door = answered(1102, "parameter too large", method="Insert")
    assert (type(at_the_door), surely_not_done(at_the_door)) == (errors.TooLarge, True)


# The same code in different calls


@pytest.mark.parametrize("code", [3, 101, 103, 604, 901])
def test_a_code_that_is_temporary_for_a_query_is_permanent_for_a_load(code: int) -> None:
    assert type(answered(code)) is Busy
    assert type(answered(code, method="GetLoadingProgress")) is Refused


@pytest.mark.parametrize("code", [1, 2, 8, 904, 10000, 10001])
def test_a_load_waits_for_a_coordinator_that_starts(code: int) -> None:
    assert type(answered(code, method="GetLoadingProgress")) is Busy


def test_retriable_for_a_load_is_trusted() -> None:
    assert type(answered(106, method="GetLoadingProgress", retriable=True)) is Busy


def test_a_failed_load_of_2_5_is_known_by_its_text() -> None:
    said = "show collection failed: std::bad_alloc"
    assert type(answered(UNEXPECTED, said, method="GetLoadingProgress")) is Refused


@pytest.mark.parametrize(("code", "kind"), [(3, Refused), (101, Refused), (12, Busy), (1, Busy)])
def test_a_refused_load_is_permanent_unless_nodes_are_missing(
    code: int, kind: type[ServerError]
) -> None:
    assert type(answered(code, method="LoadCollection")) is kind


def test_a_collection_without_replicas_has_none() -> None:
    """2.3 answers with 400, which other calls get while replicas move."""
    assert type(answered(400, "replica not found", method="GetReplicas")) is Refused
