"""BM25: a function whose output is made by the server."""

from __future__ import annotations

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes.answers.asking import (
    PLAIN,
    Answer,
    Asker,
    field,
    longs,
    pairs,
    text_field,
    texts,
    vectors,
)
from tests.fakes.answers.steps import Steps

newer = Steps("newer", newer=True)

NAME = "probe_b"
ALLOWED = "collection__function__allowInsertNonBM25FunctionOutputs"


@newer
def bm25(asker: Asker) -> Answer:
    answers = {
        "create": _created(asker, text_field("t", 200)),
        "create_analyzed": _created(asker, _analyzed()),
        "described": asker.describe(NAME),
        "index": asker.index(
            NAME,
            "sp",
            index_type="SPARSE_INVERTED_INDEX",
            metric_type="BM25",
            bm25_k1=1.2,
            bm25_b=0.75,
        ),
        "index_v": asker.index(NAME, "v", index_type="FLAT", metric_type="L2"),
        "indexes": asker.indexes(NAME),
        "load": asker.load(NAME),
        **_written(asker),
    }
    asker.settle(1.0)
    return answers | {
        "read_all": asker.query(NAME, "id >= 0", ["*"], limit=10, iterator=True),
        "read_output": asker.query(NAME, "id >= 0", ["id", "sp"], limit=10, iterator=True),
        "match": asker.query(NAME, "TEXT_MATCH(t, 'dogs')", ["id"], limit=5),
        "alter_non_output": asker.alter(NAME, **{ALLOWED: "true"}),
    }


def _created(asker: Asker, text: schema_pb2.FieldSchema) -> Answer:
    function = schema_pb2.FunctionSchema(
        name="f",
        type=FunctionType.BM25,
        input_field_names=["t"],
        output_field_names=["sp"],
    )
    asker.drop(NAME)
    fields = [*PLAIN, text, field("sp", DataType.SparseFloatVector)]
    return asker.create(NAME, fields, functions=[function])


def _analyzed() -> schema_pb2.FieldSchema:
    """A text as the input of BM25 has to be."""
    made = text_field("t", 200)
    params = {"enable_match": "true", "analyzer_params": '{"type": "english"}'}
    made.type_params.extend(pairs({"enable_analyzer": "true", **params}))
    return made


def _written(asker: Asker) -> dict[str, Answer]:
    output = schema_pb2.FieldData(field_name="sp", type=DataType.SparseFloatVector)
    output.vectors.dim = output.vectors.sparse_float_vector.dim = 10
    output.vectors.sparse_float_vector.contents.append(bytes.fromhex("050000000000803f"))
    two = longs("id", [1, 2]), vectors("v", 2), texts("t", ["red fox", "blue hen"])
    three = longs("id", [3]), vectors("v", 1), texts("t", ["x"]), output
    again = longs("id", [1]), vectors("v", 1), texts("t", ["red dog"])
    return {
        "insert": asker.insert(NAME, *two),
        "insert_with_output": asker.insert(NAME, *three),
        "upsert": asker.upsert(NAME, *again),
    }
