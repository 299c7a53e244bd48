"""Every type of field, with and without nulls, through a whole job: what arrives is what left.

The server imitates Milvus 3.0: it pads nulls in answers and takes them in requests only left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import described, schema
from tests.dataflow.jobs import Job, row
from tests.fakes import rules
from tests.fakes.milvus import FakeMilvus
from transforms.milvus import types
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint

ROWS = 20
DIM = 8

# Two values of each type; the bytes of vectors are those of the wire.
VALUES: dict[int, tuple[Any, Any]] = {
    DataType.Bool: (True, False),
    DataType.Int8: (-128, 127),
    DataType.Int16: (-(2**15), 2**15 - 1),
    DataType.Int32: (-(2**31), 2**31 - 1),
    DataType.Int64: (-(2**63), 2**63 - 1),
    DataType.Float: (-0.0, 0.5),
    DataType.Double: (5e-324, -1.7976931348623157e308),
    DataType.VarChar: ("", "naïve 世界"),
    DataType.Text: ("", "long " * 1_000),
    DataType.JSON: (b'{"a": 1.0}', b"[1,  null]"),
    DataType.Geometry: ("POINT (1 2)", "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
    DataType.Timestamptz: ("2026-01-02T02:04:05Z", "1970-01-01T00:00:00Z"),
    DataType.FloatVector: ([0.25] * DIM, [-1.5] * DIM),
    DataType.BinaryVector: (b"\x00", b"\xff"),
    DataType.Float16Vector: (b"\x01\x3c" * DIM, b"\x00\x80" * DIM),
    DataType.BFloat16Vector: (b"\x80\x3f" * DIM, b"\x00\x80" * DIM),
    DataType.Int8Vector: (b"\x80" * DIM, b"\x7f" * DIM),
    DataType.SparseFloatVector: (b"\x01\0\0\0\0\0\x80\x3f", b"\x07\0\0\0\0\0\0\x3f"),
}
RAISED = ["over-limit"]
"""There are more vectors than the default allows: the servers' configuration raises the limit."""
ELEMENTS = types.ELEMENTS[DataType.Array]
VECTORS = types.ELEMENTS[DataType.ArrayOfVector]


def test_every_type_that_is_carried_is_here() -> None:
    carried = {kind.number for kind in types.TABLE if kind.packing}
    assert carried == {*VALUES, *types.ELEMENTS, DataType.ArrayOfStruct}


def collection() -> schema_pb2.CollectionSchema:
    """A collection with a field of each type, an array of each, and each of them nullable too."""
    made = schema(dynamic=True)
    for number in VALUES:
        _add(made.fields, types.name_of(number), number)
    for number in ELEMENTS:
        _add(made.fields, f"{types.name_of(number)}s", DataType.Array, element_type=number)
    for name, nullable in (("parts", False), ("parts_or_null", True)):
        parts = made.struct_array_fields.add(name=name, nullable=nullable)
        for number in (DataType.Int64, DataType.VarChar):
            _add_one(parts.fields, types.name_of(number), DataType.Array, nullable, number)
        for number in VECTORS:
            _add_one(parts.fields, types.name_of(number), DataType.ArrayOfVector, nullable, number)
    return made


def _add(fields: Any, name: str, kind: int, element_type: int = 0) -> None:
    _add_one(fields, name, kind, False, element_type)
    _add_one(fields, f"{name}_or_null", kind, True, element_type)


def _add_one(fields: Any, name: str, kind: int, nullable: bool, element_type: int) -> None:
    field = fields.add(name=name, data_type=kind, nullable=nullable, element_type=element_type)
    if DataType.VarChar in (kind, element_type):
        field.type_params.add(key="max_length", value="65535")
    if kind >= DataType.BinaryVector and kind != DataType.SparseFloatVector:
        field.type_params.add(key="dim", value=str(DIM))
    if element_type:
        field.type_params.add(key="max_capacity", value="16")


def value(kind: int, key: int) -> Any:
    return VALUES[kind][key % 2]


def filled(made: schema_pb2.CollectionSchema, key: int) -> dict[str, Any]:
    """The row of a key: nulls in every third, arrays of none to three."""
    there = row(key) | {"$meta": b'{"more": %d}' % key}
    for field in made.fields:
        if field.name in there:
            continue
        if field.data_type == DataType.Array:
            found = [value(field.element_type, key + n) for n in range(key % 4)]
        else:
            found = value(field.data_type, key)
        there[field.name] = None if field.nullable and key % 3 == 0 else found
    for struct in made.struct_array_fields:
        parts = {
            sub.name: [value(sub.element_type, key + n) for n in range(key % 4)]
            for sub in struct.fields
        }
        there[struct.name] = None if struct.nullable and key % 3 == 0 else parts
    return there


@pytest.fixture(scope="module", autouse=True)
def _raised() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(rules.LIMITS, "vector_fields", (("", 64),))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder: Path = tmp_path_factory.mktemp("types")
    with FakeMilvus("v3.0.0") as source, FakeMilvus("v3.0.0") as target:
        made = collection()
        source.create(made, [filled(made, key) for key in range(ROWS)])
        job = Job(folder, source, target)
        job.env["accept"] = RAISED
        assert job.run() == 0
        yield job


def test_a_copy_of_all_of_them_is_proven(done: Job) -> None:
    assert done.collection()["outcome"] == "proven"
    assert {each["code"] for each in done.report["findings"]} == {*RAISED, "text-storage"}


NAMES = [
    *(field.name for field in collection().fields),
    *(struct.name for struct in collection().struct_array_fields),
    "$meta",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_arrives_is_what_left(done: Job, name: str) -> None:
    left = [each[name] for each in done.source["docs"].rows()]
    assert [each[name] for each in done.target["docs"].rows()] == left
    assert len(left) == ROWS


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_or_null")])
def test_nulls_are_nulls(done: Job, name: str) -> None:
    nulls = [each["id"] for each in done.target["docs"].rows() if each[name] is None]
    assert nulls == [*range(0, ROWS, 3)]


def test_vectors_in_structs_keep_their_indexes_when_other_fields_are_dropped(
    tmp_path: Path,
) -> None:
    with FakeMilvus("v3.0.0") as source, FakeMilvus("v3.0.0") as target:
        made = collection()
        source.create(made, [filled(made, key) for key in range(ROWS)])
        job = Job(tmp_path, source, target)
        job.env["accept"] = RAISED
        job.transform = "Filter { exclude_fields = [Bool] }, Copy { fields { again = parts } }"
        assert job.run() == 0
        assert job.collection()["outcome"] == "proven"
        indexed = {each.field_name for each in target["docs"].indexes}
        assert indexed >= {"parts[FloatVector]", "again[FloatVector]"}
        dropped = [e["what"] for e in job.collection()["carried"] if e["fate"] == "dropped"]
        assert dropped == ["fields.Bool"]


def test_a_struct_array_is_made_with_the_plain_names_of_its_parts() -> None:
    """Some servers say `parts[size]`, and all of them add the rest themselves."""
    made = schema()
    struct = made.struct_array_fields.add(name="parts", fieldID=104)
    _add_one(struct.fields, "parts[size]", DataType.Array, False, DataType.Int64)
    struct.fields[0].fieldID = 105
    with FakeMilvus("v3.0.0") as server:
        client = Client(Endpoint(server.url))
        client.create_collection("docs", described(made))
        client.close()
        [sent] = server.asked("CreateCollection")
    [struct] = schema_pb2.CollectionSchema.FromString(sent.schema).struct_array_fields
    assert (struct.name, struct.fieldID) == ("parts", 0)
    assert [(each.name, each.fieldID) for each in struct.fields] == [("size", 0)]
