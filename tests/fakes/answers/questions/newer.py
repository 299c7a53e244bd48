"""What 2.5 and later have; that an older server refuses it is an answer too."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import (
    PLAIN,
    Answer,
    Asker,
    field,
    longs,
    pairs,
    text_field,
    texts,
    vector_field,
    vectors,
)
from tests.fakes.answers.questions.functions import newer
from tests.fakes.answers.shown import counted

FLAT = {"index_type": "FLAT", "metric_type": "L2"}
HNSW = {"index_type": "HNSW", "M": 8, "efConstruction": 50}


def whole(asker: Asker, name: str) -> Answer:
    """Returns a page of all columns."""
    return asker.query(name, "id >= 0", ["*"], limit=10, iterator=True)


def _settled(asker: Asker, name: str) -> Answer:
    asker.settle(1.0)
    return whole(asker, name)


@newer
def timestamptz(asker: Asker) -> Answer:
    name, null = "probe_z", {"valid_data": [False]}
    asker.drop(name)
    created = asker.create(name, [*PLAIN, field("ts", DataType.Timestamptz, nullable=True)])
    asker.index(name, "v", **FLAT)
    asker.load(name)

    def insert(keys: list[int], written: list[str], **valid: Any) -> Answer:
        valid = valid or {"valid_data": [True] * len(keys)}
        times = texts("ts", written, DataType.Timestamptz, **valid)
        return asker.insert(name, longs("id", keys), vectors("v", len(keys)), times)

    micros = schema_pb2.FieldData(field_name="ts", type=DataType.Timestamptz, valid_data=[True])
    micros.scalars.timestamptz_data.data.append(1_767_294_245_123_456)
    zoned = "2026-01-02T03:04:05.123456+08:00"
    answers = {
        "create": created,
        "empty_page": whole(asker, name),
        "insert_text": insert([1, 2], [zoned, "1900-01-01T00:00:00Z"]),
        "insert_null": insert([3], [], **null),
        "insert_naive": insert([4], ["2026-01-02 03:04:05"]),
        "insert_bad": insert([5], ["yesterday"]),
        "insert_micros": asker.insert(name, longs("id", [6]), vectors("v", 1), micros),
        "read": _settled(asker, name),
        "zone": asker.alter(name, timezone="Asia/Shanghai"),
    }
    return answers | {"read_in_zone": _settled(asker, name)}


@newer
def geometry(asker: Asker) -> Answer:
    name = "probe_g"
    asker.drop(name)
    created = asker.create(name, [*PLAIN, field("g", DataType.Geometry, nullable=True)])
    asker.index(name, "v", **FLAT)
    rtree = asker.index(name, "g", index_type="RTREE")
    asker.load(name)

    def insert(keys: list[int], shapes: list[str], *, valid: bool = True) -> Answer:
        column = schema_pb2.FieldData(field_name="g", type=DataType.Geometry)
        column.scalars.geometry_wkt_data.data.extend(shapes)
        column.scalars.geometry_wkt_data.SetInParent()
        column.valid_data.extend([valid] * len(keys))
        return asker.insert(name, longs("id", keys), vectors("v", len(keys)), column)

    return {
        "create": created,
        "rtree": rtree,
        "empty_page": whole(asker, name),
        "insert": insert([1, 2], ["POINT (1.5 2)", "POLYGON ((0 0, 0 1, 1 1, 0 0))"]),
        "insert_null": insert([3], [], valid=False),
        "insert_bad": insert([4], ["POINT (x)"]),
        "read": _settled(asker, name),
    }


@newer
def struct_array(asker: Asker) -> Answer:
    name = "probe_y"
    asker.drop(name)
    created = asker.create(name, PLAIN, struct_array_fields=[_struct()])
    described = asker.describe(name)
    asker.index(name, "v", **FLAT)
    answers = {
        "create": created,
        "described": {"structs": [_shape(made) for made in described.schema.struct_array_fields]},
        "index_sub": asker.index(name, "st[e]", **HNSW, metric_type="MAX_SIM"),
        "indexes": asker.indexes(name),
        "load": asker.load(name),
        "empty_page": whole(asker, name),
        "insert": _insert_structs(asker, name, [1, 2], [[1, 2, 3, 4], []]),
        "insert_lengths_differ": _insert_structs(asker, name, [3, 4], [[1, 2], [1, 2]]),
    }
    read = _settled(asker, name)
    parts = [each for each in read.fields_data if each.WhichOneof("field") == "struct_arrays"]
    return answers | {"read": read, "read_structs": {"fields": [_read(part) for part in parts]}}


def _struct() -> schema_pb2.StructArrayFieldSchema:
    capacity: dict[str, object] = {"max_capacity": 4}
    numbers = field("w", DataType.Array, element=DataType.Int32, params=capacity)
    inner = field(
        "e",
        DataType.ArrayOfVector,
        element=DataType.FloatVector,
        params={"dim": 2, "max_capacity": 4},
    )
    return schema_pb2.StructArrayFieldSchema(
        name="st", fields=[numbers, inner], type_params=pairs(capacity)
    )


def _shape(struct: Any) -> dict[str, Any]:
    return {
        "name": struct.name,
        "fields": [
            {
                "name": part.name,
                "type": DataType.Name(part.data_type),
                "element": DataType.Name(part.element_type),
                "params": {pair.key: pair.value for pair in part.type_params},
            }
            for part in struct.fields
        ],
    }


def _insert_structs(
    asker: Asker, name: str, keys: list[int], embedded: list[list[float]]
) -> Answer:
    """Inserts two rows: the first has two numbers, the second none, beside vectors."""
    numbers = schema_pb2.FieldData(field_name="w", type=DataType.Array)
    numbers.scalars.array_data.element_type = DataType.Int32
    for row in ([1, 2], []):
        numbers.scalars.array_data.data.add().int_data.data.extend(row)
        numbers.scalars.array_data.data[-1].int_data.SetInParent()
    inner = schema_pb2.FieldData(field_name="e", type=DataType.ArrayOfVector)
    inner.vectors.dim = inner.vectors.vector_array.dim = 2
    inner.vectors.vector_array.element_type = DataType.FloatVector
    for floats in embedded:
        vector = inner.vectors.vector_array.data.add(dim=2)
        vector.float_vector.data.extend(floats)
        vector.float_vector.SetInParent()
    struct = schema_pb2.FieldData(field_name="st", type=DataType.ArrayOfStruct)
    struct.struct_arrays.fields.extend([numbers, inner])
    return asker.insert(name, longs("id", keys), vectors("v", 2), struct)


def _read(column: Any) -> dict[str, Any]:
    parts = []
    for part in column.struct_arrays.fields:
        kind = part.WhichOneof("field")
        array = part.vectors.vector_array if kind == "vectors" else part.scalars.array_data
        parts.append([part.field_name, DataType.Name(part.type), kind, len(array.data)])
    return {
        "name": column.field_name,
        "type": DataType.Name(column.type),
        "sub": sorted(parts),
    }


@newer
def int8_and_nullable_vectors(asker: Asker) -> Answer:
    name = "probe_w"
    asker.drop(name)
    created = asker.create(name, [*PLAIN, vector_field("w", DataType.Int8Vector)])
    asker.index(name, "v", **FLAT)
    small = schema_pb2.FieldData(field_name="w", type=DataType.Int8Vector)
    small.vectors.dim, small.vectors.int8_vector = 4, bytes([1, 255, 128, 127])
    answers = {
        "create": created,
        "index": asker.index(name, "w", **HNSW, metric_type="COSINE"),
        "load": asker.load(name),
        "empty_page": whole(asker, name),
        "insert": asker.insert(name, longs("id", [1]), vectors("v", 1), small),
        "read": _settled(asker, name),
    }
    return answers | _nullable_vectors(asker, name)


def _nullable_vectors(asker: Asker, name: str) -> dict[str, Answer]:
    asker.drop(name)
    created = asker.create(name, [*PLAIN, vector_field("w", nullable=True)])
    asker.index(name, "v", **FLAT)
    asker.index(name, "w", **FLAT)
    one_of_two = vectors("w", 1, valid_data=[True, False])
    return {
        "create_nullable": created,
        "load_nullable": asker.load(name),
        "empty_nullable": whole(asker, name),
        "insert_nullable": asker.insert(name, longs("id", [1, 2]), vectors("v", 2), one_of_two),
        "read_nullable": _settled(asker, name),
    }


@newer
def added_field(asker: Asker) -> Answer:
    name = "probe_f"
    asker.ready(name, PLAIN, rows=3)

    def add(new: schema_pb2.FieldSchema) -> Answer:
        request = milvus_pb2.AddCollectionFieldRequest(
            collection_name=name, schema=new.SerializeToString()
        )
        return asker.call("AddCollectionField", request)

    return {
        "nullable": add(field("a", DataType.Int64, nullable=True)),
        "default": add(text_field("b", 9, nullable=True, default="dd")),
        "required": add(field("c", DataType.Int64)),
        "old_rows": _settled(asker, name),
        "insert_without": asker.insert(name, longs("id", [7]), vectors("v", 1)),
        "read": _settled(asker, name),
    }


@newer
def two_shards_one_key(asker: Asker) -> Answer:
    name = "probe_h"
    asker.drop(name)
    asker.create(name, PLAIN, shards=2)
    asker.index(name, "v", **FLAT)
    asker.load(name)
    for value in (0.5, 0.7):
        asker.insert(name, longs("id", range(20)), vectors("v", 20, value=value))
    asker.settle(1.0)

    def page(limit: int, **more: object) -> dict[str, Any]:
        more = {"limit": limit, "iterator": True, **more}
        return counted(asker.query(name, "id >= 0", ["id"], **more))

    return {
        "page": page(100),
        "page_best": page(5, reduce_stop_for_best=True),
        "page_not_best": page(5, reduce_stop_for_best=False),
        "count": counted(asker.query(name, "", ["count(*)"])),
        "newest": asker.query(name, "id == 3", ["id", "v"], limit=5, iterator=True),
    }
