"""Rows in another shape: what holds for every batch, and what a function may do."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile import constant_values
from tests import strategies
from tests.clusters import described
from transforms import fingerprint
from transforms.errors import FunctionFailed
from transforms.milvus import field_layout, schema
from transforms.milvus.codec import row_data
from transforms.milvus.field_layout import Slot
from transforms.milvus.schema import Field, Schema
from transforms.reshape import reshape as reshapes
from transforms.reshape.column import Column, Replacement
from transforms.reshape.functions import function_of
from transforms.reshape.reshape import Shape, Stage


def key_of(message: schema_pb2.CollectionSchema) -> str:
    return next(field.name for field in message.fields if field.is_primary_key)


@st.composite
def chosen(draw: st.DrawFn) -> tuple[schema_pb2.CollectionSchema, pa.RecordBatch, list[Column]]:
    """A collection, some of its rows, and columns of it: kept, renamed, copied, in any order."""
    message = draw(strategies.collections())
    parsed, batch = draw(strategies.batches(schema.parse(message)))
    names = [name for name in parsed.names if name != "$meta"]
    kept = draw(st.lists(st.sampled_from(names), unique=True))
    renamed = [Column(f"new_{name}", name) for name in {key_of(message), *kept}]
    copied = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    meta = [Column("$meta", "$meta")] if parsed.dynamic and draw(st.booleans()) else []
    copies = [Column(f"copy_{name}", name, copied=True) for name in copied]
    return message, batch, draw(st.permutations([*renamed, *copies, *meta]))


def reshape(batch: pa.RecordBatch, shape: Shape) -> pa.RecordBatch:
    return reshapes.reshape(batch, shape).rows


def shape_of(columns: list[Column], key: str) -> Shape:
    return Shape(stages=(Stage(tuple(columns), key),))


@strategies.laws
@given(chosen())
def test_rows_have_the_schema_that_the_target_is_made_with(example) -> None:
    message, batch, columns = example
    slots = [Slot(column.name, column.origin, column.copied) for column in columns]
    made = field_layout.lay_out(described(message), slots)
    rows = reshape(batch, shape_of(columns, f"new_{key_of(message)}"))
    assert rows.schema == made.columns([column.name for column in columns]).arrow()
    assert made.schema.primary.name == f"new_{key_of(message)}"
    assert len(row_data.encode_fields(made.schema, rows)) == len(columns)


@strategies.laws
@given(chosen())
def test_columns_that_are_not_touched_stay_views(example) -> None:
    message, batch, columns = example
    rows = reshape(batch, shape_of(columns, f"new_{key_of(message)}"))
    for column in columns:
        left, right = rows.column(column.name).buffers(), batch.column(column.origin).buffers()
        assert [b and b.address for b in left] == [b and b.address for b in right]


@strategies.laws
@given(chosen(), st.integers(0, 6))
def test_cutting_before_or_after_is_the_same(example, at: int) -> None:
    message, batch, columns = example
    shape = shape_of(columns, f"new_{key_of(message)}")
    before, after = reshape(batch.slice(at), shape), reshape(batch, shape).slice(at)
    assert before.schema == after.schema
    assert fingerprint.of(before) == fingerprint.of(after)  # NaN is not equal to itself.


@given(message=strategies.collections())
def test_all_fields_laid_out_again_are_the_same_collection(message) -> None:
    before = described(message)
    slots = [Slot(name, name) for name in field_layout.names(before)]
    assert field_layout.lay_out(before, slots).message == message


def test_a_shape_crosses_to_workers() -> None:
    column = Column("b", "a", replacements=(Replacement("x", "y"),))
    stage = Stage((column,), "b", "m:f", (Field("b", DataType.Int64, primary=True),))
    shape = Shape("b > 1", (stage, Stage((Column("c", value=1, kind="Int8"),), "b")))
    assert pickle.loads(pickle.dumps(shape)) == shape
    assert (shape.origins, shape.names) == (("a",), ("c",))


# Constants and replacements

ROWS = pa.RecordBatch.from_pydict(
    {"id": [1, 2, 3], "title": ["a-b-c", None, "-"], "vector": pa.array([[0.0, 1.0]] * 3)},
    schema=pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("title", pa.string()),
            Field("vector", DataType.FloatVector, dim=2).arrow(),
        ]
    ),
)
ID = Column("id", "id")


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("Int8", 7, 7),
        ("Float", 0.5, 0.5),
        ("Bool", False, False),
        ("JSON", '{"a": 1}', b'{"a": 1}'),
    ],
)
def test_a_constant_stands_in_every_row(kind: str, value: object, stored: object) -> None:
    column = Column("made", value=value, kind=kind)  # type: ignore[arg-type]
    rows = reshape(ROWS, shape_of([ID, column], "id"))
    assert rows.column("made").to_pylist() == [stored] * 3
    assert rows.schema.field("made") == Field("made", DataType.Value(kind)).arrow()


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("Int8", 127, ""),
        ("Int8", 128, "128 is not a valid Int8 value"),
        ("Int64", 2**63, "9223372036854775808 is not a valid Int64 value"),
        ("Int64", True, "True is not a valid Int64 value"),
        ("Int64", 1.5, "1.5 is not a valid Int64 value"),
        ("Int32", 7.0, ""),
        ("Float", 1e39, "1e+39 is not a valid Float value"),
        ("Double", float("inf"), "inf is not a valid Double value"),
        ("Float", float("nan"), "nan is not a valid Float value"),
        ("JSON", '{"a": NaN}', "'{\"a\": NaN}' is not a valid JSON value"),
        ("Int64", float("nan"), "nan is not a valid Int64 value"),
        ("Bool", 1, "1 is not a valid Bool value"),
        ("Float", 2, ""),
        ("VarChar", "x", ""),
        ("VarChar", 1, "1 is not a valid VarChar value"),
        ("JSON", "{", "'{' is not a valid JSON value"),
    ],
)
def test_a_constant_must_be_a_value_of_its_type(kind: str, value: object, problem: str) -> None:
    assert constant_values.problem(kind, value) == problem  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("replacement", "texts"),
    [
        (Replacement("-", "+"), ["a+b+c", None, "+"]),
        (Replacement("-", "+", first=True), ["a+b-c", None, "+"]),
        (Replacement(".", "x"), ["a-b-c", None, "-"]),
        (Replacement("[a-c]", "x", regex=True), ["x-x-x", None, "-"]),
        (Replacement("(.)-(.)", r"\2-\1", regex=True, first=True), ["b-a-c", None, "-"]),
    ],
)
def test_a_part_of_each_text_is_replaced(replacement: Replacement, texts: list[str | None]) -> None:
    column = Column("title", "title", replacements=(replacement,))
    assert reshape(ROWS, shape_of([ID, column], "id")).column("title").to_pylist() == texts


# Functions: `package.module:function` of this module


def doubled(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Vectors of twice the dimensions, as float64, and a new text."""
    vectors = [vector * 2 for vector in rows.column("vector").to_pylist()]
    made = rows.set_column(
        rows.schema.get_field_index("vector"),
        "vector",
        pa.array(vectors, pa.list_(pa.float64(), 4)),
    )
    return made.append_column("note", pa.array(["new"] * rows.num_rows))


def tried(function: Callable[[pa.RecordBatch], object]) -> tuple[Field, ...]:
    stage = Stage(tuple(Column(name, name) for name in ROWS.schema.names), "id", named(function))
    return reshapes.try_function(ROWS, [stage], FIELDS)


def named(function: Callable[[pa.RecordBatch], object]) -> str:
    globals()[function.__name__] = function
    function_of.cache_clear()
    return f"{__name__}:{function.__name__}"


FIELDS = Schema(
    "docs",
    (
        Field("id", DataType.Int64, primary=True),
        Field("title", DataType.VarChar, max_length=64, nullable=True),
        Field("vector", DataType.FloatVector, dim=2),
    ),
)


def test_a_function_may_change_a_vector_and_add_a_column() -> None:
    fields = tried(doubled)
    assert fields == (
        *FIELDS.fields[:2],
        Field("vector", DataType.FloatVector, dim=4),
        Field("note", DataType.VarChar, max_length=65_535),
    )
    stage = Stage(tuple(Column(n, n) for n in FIELDS.names), "id", named(doubled), fields)
    rows = reshape(ROWS, Shape(stages=(stage, Stage((ID, Column("n", "note")), "id"))))
    assert rows.to_pydict() == {"id": [1, 2, 3], "n": ["new"] * 3}
    wide = reshape(ROWS, Shape(stages=(stage,)))
    assert wide.schema == replace(FIELDS, fields=fields).arrow()
    assert wide.column("vector")[0].as_py() == [0.0, 1.0, 0.0, 1.0]


def test_texts_as_other_libraries_have_them_are_texts() -> None:
    def other(rows: pa.RecordBatch) -> pa.RecordBatch:
        for number, kind in enumerate((pa.large_string(), pa.string_view())):
            rows = rows.append_column(f"text_{number}", pa.array(["a"] * 3, kind))
        return rows

    fields = tried(other)
    assert [field.type.name for field in fields[3:]] == ["VarChar", "VarChar"]
    stage = Stage(tuple(Column(n, n) for n in FIELDS.names), "id", named(other), fields)
    rows = reshape(ROWS, Shape(stages=(stage,)))
    assert rows.select(["text_0", "text_1"]).to_pydict() == {f"text_{n}": ["a"] * 3 for n in (0, 1)}


def test_keys_may_come_back_as_other_libraries_have_them() -> None:
    rows = ROWS.set_column(0, "id", pa.array(["a", "b", "c"]))
    fields = replace(FIELDS, fields=(Field("id", DataType.VarChar, primary=True), FIELDS.fields[1]))

    def other(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.set_column(0, "id", rows.column("id").cast(pa.large_string()))

    columns = (ID, Column("title", "title"))
    made = reshapes.try_function(rows, [Stage(columns, "id", named(other))], fields)
    assert made == fields.fields
    stage = Stage(columns, "id", named(other), made)
    assert reshape(rows, Shape(stages=(stage,))).column("id").type == pa.string()


def test_a_field_in_which_a_function_puts_null_is_known_to_be_nullable() -> None:
    def hides(rows: pa.RecordBatch) -> pa.RecordBatch:
        made = rows.append_column("note", pa.array(["a", None, "c"]))
        return made.set_column(2, "vector", pa.nulls(3, rows.column("vector").type))

    assert [field.nullable for field in tried(hides)] == [False, True, True, True]
    stage = Stage(tuple(Column(name, name) for name in ROWS.schema.names), "id", named(hides))
    made_up = reshapes.try_function(ROWS, [stage], FIELDS, made_up=True)
    assert [field.nullable for field in made_up] == [False, True, False, False]


@given(message=strategies.collections())
def test_a_row_that_stands_in_for_others_can_be_written(message) -> None:
    fields = schema.parse(message)
    row = reshapes.sample_row(fields)
    assert row.num_rows == 1
    assert not any(column.null_count for column in row.columns)
    assert len(row_data.encode_fields(fields, row)) == len(fields.fields)


def test_a_function_is_not_called_for_no_rows() -> None:
    def fails(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise AssertionError

    stage = Stage((ID,), "id", named(fails), FIELDS.fields)
    none = reshape(ROWS.slice(3), Shape(stages=(stage,)))
    assert (none.num_rows, none.schema) == (0, FIELDS.arrow())


VECTOR = pa.list_(pa.float32(), 2)

WRONG: list[tuple[str, Callable[[pa.RecordBatch], object], str]] = [
    ("no_batch", lambda rows: rows.to_pydict(), "returned dict, not a pyarrow.RecordBatch"),
    ("fewer", lambda rows: rows.slice(1), "returned 2 rows for 3"),
    ("no_key", lambda rows: rows.drop_columns(["id"]), "returned no column id"),
    (
        "other_keys",
        lambda rows: rows.take(pa.array([2, 1, 0])),
        "returned other keys: it must not change id or the order of rows",
    ),
    ("twice", lambda rows: rows.append_column("id", rows.column(0)), "returned two columns id"),
    ("raises", lambda rows: rows.column("nmae"), "raised KeyError"),
    ("leaves", lambda rows: sys.exit(3), "raised SystemExit: 3"),
    ("no_batch_at_all", lambda rows: None, "returned NoneType, not a pyarrow.RecordBatch"),
    (
        "hollow_vector",
        lambda rows: rows.set_column(2, "vector", pa.array([[0.0, None]] * 3, VECTOR)),
        "returned vector with a null inside a list or vector",
    ),
    (
        "hollow_list",
        lambda rows: rows.append_column("tags", pa.array([["a", None]] * 3)),
        "returned tags with a null inside a list or vector",
    ),
    (
        "no_type",
        lambda rows: rows.append_column("x", pa.nulls(3)),
        "returned x as null, for which Milvus has no type",
    ),
    (
        "another_type",
        lambda rows: rows.set_column(1, "title", pa.array([[1]] * 3)),
        "returned title as list<item: int64>, not string",
    ),
]


@pytest.mark.parametrize(("name", "function", "reason"), WRONG, ids=[case[0] for case in WRONG])
def test_what_a_function_must_not_do(
    name: str, function: Callable[[pa.RecordBatch], object], reason: str
) -> None:
    function.__name__ = name
    with pytest.raises(FunctionFailed) as raised:
        tried(function)
    assert raised.value.reason.startswith(reason)


def test_a_function_that_returns_something_else_later_fails_its_rows() -> None:
    def unsteady(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.append_column("late", rows.column(0))

    stage = Stage(tuple(Column(n, n) for n in FIELDS.names), "id", named(unsteady), FIELDS.fields)
    with pytest.raises(FunctionFailed, match="returned the columns id, late, title, vector, not"):
        reshape(ROWS, Shape(stages=(stage,)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:f", "no_such_module cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:no_such", f"{__name__} has no function no_such"),
        (f"{__name__}:ROWS", f"{__name__} has no function ROWS"),
    ],
)
def test_a_function_that_cannot_be_imported_is_named(name: str, reason: str) -> None:
    with pytest.raises(FunctionFailed) as raised:
        function_of(name)
    assert raised.value.reason.startswith(reason)
