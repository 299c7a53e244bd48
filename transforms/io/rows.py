"""Converts rows and batches of other pipelines to those of one collection, and back.

JSON is a value in rows, and text in batches.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from transforms.errors import DataError
from transforms.milvus.parquet.collection_files import storable
from transforms.milvus.schema import Field, Schema
from transforms.milvus.types import META

Row = Mapping[str, Any]

ROW_META = "meta"
"""The name of `$meta`, the dynamic fields of a row, in a Beam Row: a valid Python name."""


def batch_of(rows: Sequence[Row], schema: Schema) -> pa.RecordBatch:
    """Returns rows as a batch with those columns of `schema` that any row has.

    Other values of a row go into the dynamic fields, if the collection has them. JSON is a value,
    or encoded as bytes. A sparse vector is ``{index: value}`` or bytes. A vector of another type
    than float32 is any object with these bytes.

    Raises:
        DataError: a value does not fit its field, or a field is unknown or missing.
    """
    rows = [_with_meta(row, schema) for row in rows]
    present = {name for row in rows for name in row}
    arrays, fields = [], []
    for field in schema.fields:
        if field.name in present:
            arrays.append(_column(schema, field, [row.get(field.name) for row in rows]))
            fields.append(field.arrow())
    _check(schema, present)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def conformed(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Returns a batch with those columns of `schema` that it has, in the schema's order and types.

    Other columns go into the dynamic fields, if the collection has them. JSON is text.

    Raises:
        DataError: a column cannot be cast, or is unknown or missing.
    """
    if schema.dynamic:
        batch = _with_dynamic(batch, schema)
    _check(schema, {*batch.schema.names})
    fields = [field for field in schema.fields if field.name in batch.schema.names]
    arrays = [_cast(schema, field, batch.column(field.name)) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([field.arrow() for field in fields]))


def _with_dynamic(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """Moves columns that have no field of their own into the dynamic fields."""
    own = batch.select([name for name in batch.schema.names if name not in schema.names])
    if META in batch.schema.names and not own.num_columns:
        return batch
    rows = own.to_pylist() if own.num_columns else [{}] * batch.num_rows
    if META in batch.schema.names:
        metas = batch.column(META).to_pylist()
        rows = [{**json.loads(meta or b"{}"), **row} for meta, row in zip(metas, rows, strict=True)]
    known = batch.select([name for name in batch.schema.names if name in schema.names])
    known = known.drop_columns([META]) if META in known.schema.names else known
    column = _column(schema, schema.field(META), rows)
    return known.append_column(schema.field(META).arrow(), column)


def portable(schema: pa.Schema) -> pa.Schema:
    """Returns the schema in which other pipelines get rows: valid for Parquet and for pickle.

    Beam pickles the schemas of its sinks, and a pickled schema loses that the items of a vector are
    not nullable (pyarrow 25). A cast to the returned schema copies little or nothing.
    """
    return pa.schema([field.with_type(_portable(field.type)) for field in storable(schema)])


def _portable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_portable(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_portable(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([child.with_type(_portable(child.type)) for child in kind])
    return kind


def _with_meta(row: Row, schema: Schema) -> Row:
    """Moves values that have no field of their own into the dynamic fields."""
    if not schema.dynamic:
        return row
    meta = row.get(META) or {}
    if ROW_META in row and ROW_META not in schema.names:
        meta = row[ROW_META]
        row = {name: value for name, value in row.items() if name != ROW_META}
    own = {name: value for name, value in row.items() if name not in schema.names}
    if own:
        if isinstance(meta, bytes):
            meta = json.loads(meta)
        meta = {**meta, **own}
    return {name: row[name] for name in schema.names if name in row} | {META: meta}


def _check(schema: Schema, present: set[str]) -> None:
    if unknown := sorted(present - {*schema.names}):
        known = ", ".join(schema.names)
        raise DataError(
            f"{schema.collection}.{unknown[0]}: no writable field has this name; "
            f"the fields are: {known}"
        )
    needed = {f.name for f in schema.fields if not (f.nullable or f.has_default or f.dynamic)}
    if missing := sorted(needed - present):
        raise DataError(f"{schema.collection}.{missing[0]}: the rows do not have this field")


def _column(schema: Schema, field: Field, values: list[Any]) -> pa.Array:
    convert = _converter(field)
    try:
        ready = [None if value is None else convert(value) for value in values]
        return pa.array(ready, field.arrow().type)
    except (pa.ArrowException, TypeError, ValueError, struct.error) as error:
        raise DataError(f"{schema.collection}.{field.name}: {error}") from error


def _cast(schema: Schema, field: Field, column: pa.Array) -> pa.Array:
    try:
        return column if column.type == field.arrow().type else column.cast(field.arrow().type)
    except pa.ArrowException as error:
        raise DataError(f"{schema.collection}.{field.name}: {error}") from error


def _converter(field: Field) -> Callable[[Any], Any]:
    if field.type.name == "JSON":
        return _json
    if field.type.sparse:
        return _sparse
    if pa.types.is_fixed_size_binary(field.arrow().type):
        return bytes
    return lambda value: value


def _json(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _sparse(value: Any) -> bytes:
    """Returns (uint32 index, float32 value) pairs in the format of Milvus, sorted by index."""
    if isinstance(value, bytes):
        return value
    return b"".join(struct.pack("<If", index, value[index]) for index in sorted(value))
