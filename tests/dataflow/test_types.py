"""Every type of field, with and without nulls, through a whole job: what arrives is what left.

The server imitates Milvus 3.0: it pads nulls in answers and takes them in requests only left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import described, schema
from tests.dataflow.jobs import Job, row
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
    DataType.Timestamptz: ("2026-01-02T02:04:05.5Z", "1970-01-01T00:00:00Z"),
    DataType.FloatVector: ([0.25] * DIM, [-1.5] * DIM),
    DataType.BinaryVector: (b"\x00", b"\xff"),
    DataType.Float16Vector: (b"\x01\x3c" * DIM, b"\x00\x80" * DIM),
    DataType.BFloat16Vector: (b"\x80\x3f" * DIM, b"\x00\x80" * DIM),
    DataType.Int8Vector: (b"\x80" * DIM, b"\x7f" * DIM),
    DataType.SparseFloatVector: (b"\x01\0\0\0\0\0\x80\x3f", b"\x07\0\0\0\0\0\0\x3f"),
}
ELEMENTS = types.ELEMENTS[DataType.Array]
VECTORS = types.ELEMENTS[DataType.ArrayOfVector]


def test_every_type_that_is_carried_is_here() -> None:
    carried = {kind.number for kind in types.TABLE if kind.packing}
    assert carried == {*VALUES, *types.ELEMENTS, DataType.ArrayOfStruct}


def collection(*, nullable: bool = False) -> schema_pb2.CollectionSchema:
    """A collection with a field of each type and an array of each; or with nullable ones.

    They are two, and struct arrays have their own: a collection has no more than ten vectors.
    """
    made = schema("nulls" if nullable else "docs", dynamic=True)
    end = "_or_null" if nullable else ""
    for number in VALUES:
        _add(made.fields, f"{types.name_of(number)}{end}", number, nullable)
    for number in ELEMENTS:
        _add(made.fields, f"{types.name_of(number)}s{end}", DataType.Array, nullable, number)
    return made


def structs(
    *, nullable: bool = False, vectors: Iterable[int] = VECTORS
) -> schema_pb2.CollectionSchema:
    """A collection with a struct array that has arrays of numbers, texts and vectors."""
    made = schema("null_structs" if nullable else "structs", dynamic=True)
    _add(made.fields, "Bool", DataType.Bool, False)
    end = "_or_null" if nullable else ""
    parts = made.struct_array_fields.add(name=f"parts{end}", nullable=nullable)
    for number in (DataType.Int64, DataType.VarChar):
        _add(parts.fields, types.name_of(number), DataType.Array, nullable, number)
    for number in vectors:
        _add(parts.fields, types.name_of(number), DataType.ArrayOfVector, nullable, number)
    return made


def _add(fields: Any, name: str, kind: int, nullable: bool, element_type: int = 0) -> None:
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


COLLECTIONS = (
    collection(),
    collection(nullable=True),
    structs(),
    structs(nullable=True),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder: Path = tmp_path_factory.mktemp("types")
    with FakeMilvus("v3.0.0") as source, FakeMilvus("v3.0.0") as target:
        for made in COLLECTIONS:
            source.create(made, [filled(made, key) for key in range(ROWS)])
        job = Job(folder, source, target)
        assert job.run() == 0
        yield job


def test_a_copy_of_all_of_them_is_proven(done: Job) -> None:
    assert [done.collection(made.name)["outcome"] for made in COLLECTIONS] == ["proven"] * 4
    assert {finding["code"] for finding in done.report["findings"]} == {"text-storage"}


NAMES = [
    (made.name, name)
    for made in COLLECTIONS
    for name in (
        *(field.name for field in made.fields),
        *(struct.name for struct in made.struct_array_fields),
        "$meta",
    )
]
NULLABLE = [(of, name) for of, name in NAMES if name.endswith("_or_null")]


@pytest.mark.parametrize(("of", "name"), NAMES)
def test_what_arrives_is_what_left(done: Job, of: str, name: str) -> None:
    left = [each[name] for each in done.source[of].rows()]
    assert [each[name] for each in done.target[of].rows()] == left
    assert len(left) == ROWS


@pytest.mark.parametrize(("of", "name"), NULLABLE)
def test_nulls_are_nulls(done: Job, of: str, name: str) -> None:
    nulls = [each["id"] for each in done.target[of].rows() if each[name] is None]
    assert nulls == [*range(0, ROWS, 3)]


def test_vectors_in_structs_keep_their_indexes_when_other_fields_are_dropped(
    tmp_path: Path,
) -> None:
    with FakeMilvus("v3.0.0") as source, FakeMilvus("v3.0.0") as target:
        made = structs(vectors=[DataType.FloatVector])
        source.create(made, [filled(made, key) for key in range(ROWS)])
        job = Job(tmp_path, source, target)
        job.transform = "Filter { exclude_fields = [Bool] }, Copy { fields { again = parts } }"
        assert job.run() == 0
        assert job.collection("structs")["outcome"] == "proven"
        indexed = {index.field_name for index in target["structs"].indexes}
        assert indexed >= {"parts[FloatVector]", "again[FloatVector]"}
        dropped = [
            e["what"] for e in job.collection("structs")["carried"] if e["fate"] == "dropped"
        ]
        assert dropped == ["fields.Bool"]


def test_a_struct_array_is_made_with_the_plain_names_of_its_parts() -> None:
    """Some servers say `parts[size]`, and all of them add the rest themselves."""
    made = schema()
    struct = made.struct_array_fields.add(name="parts", fieldID=104)
    _add(struct.fields, "parts[size]", DataType.Array, False, DataType.Int64)
    struct.fields[0].fieldID = 105
    with FakeMilvus("v3.0.0") as server:
        client = Client(Endpoint(server.url))
        client.create_collection("docs", described(made))
        client.close()
        [sent] = server.asked("CreateCollection")
    [struct] = schema_pb2.CollectionSchema.FromString(sent.schema).struct_array_fields
    assert (struct.name, struct.fieldID) == ("parts", 0)
    assert [(each.name, each.fieldID) for each in struct.fields] == [("size", 0)]
