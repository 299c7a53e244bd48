"""What a server checks of the columns of an insert or upsert before it writes a row."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes import times
from tests.fakes.columns import Field, values_of
from tests.fakes.fields import META, is_struct, may_be_left_out, parameter
from tests.fakes.memory import Collection
from tests.fakes.rows import Row
from tests.fakes.rules import Rules
from tests.fakes.statuses import BAD_PARAMETER, IO_FAILED, UNEXPECTED, Refusal, invalid, plain


def rows_of(collection: Collection, request: Any, *, upsert: bool = False) -> list[Row]:
    """Reads the rows of an insert or upsert.

    Raises:
        Refusal: the server would write none of them.
    """
    fields = {field.name: field for field in collection.fields}
    made = collection.made_here
    if upsert and collection.host.rules.upserts_auto_ids:
        made = made - {collection.primary.name}
    _check_counts(request)
    _check_names(collection, [data.field_name for data in request.fields_data], made)
    _check_missing(collection, request, made)
    checks = _Checks(collection, request.num_rows)
    columns = {
        data.field_name: checks.values(fields[data.field_name], data)
        for data in request.fields_data
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _check_counts(request: Any) -> None:
    if not request.num_rows:
        _expect("num_rows should be greater than 0", "invalid num_rows", 0)
    twice = Counter(data.field_name for data in request.fields_data).most_common(1)
    if twice and twice[0][1] > 1:
        raise invalid(f"duplicated field {twice[0][0]} found")


def _check_names(collection: Collection, given: Sequence[str], made: set[str]) -> None:
    """Refuses columns that the server does not know, or that it makes itself."""
    rules, names = collection.host.rules, {field.name for field in collection.fields}
    unknown = [name for name in given if name not in names]
    if not {*given} & made and not unknown:
        return
    if rules.names_unknown_columns and unknown:
        words = f"fieldName {unknown[0]} not exist in collection schema"
        raise invalid(f"{words}, fieldType VarChar, fieldId 0")
    if rules.names_unknown_columns and {*given} & collection.outputs(bm25=True):
        raise invalid("attempt to insert bm25 function output field")
    adds_meta = META in names and META not in given
    if rules.names_missing_columns:
        actual = len(given) + len(made) + adds_meta
        _expect("more fieldData has pass in", len(names), actual)
    actual = len(given) + adds_meta
    _expect("the number of fields is less than needed", len(names - made), actual)


def _check_missing(collection: Collection, request: Any, made: set[str]) -> None:
    given = {data.field_name for data in request.fields_data}
    for field in collection.fields:
        if field.name in given | made or may_be_left_out(field):
            continue
        if collection.host.rules.names_missing_columns:
            raise invalid(f"fieldSchema({field.name}) has no corresponding fieldData pass in")
        words = f"varchar field '{field.name}' is illegal, array type mismatch"
        _expect(words, "need string array", "got nil")


class _Checks:
    """Checks of one column after the other, for an insert of some rows into a collection."""

    def __init__(self, collection: Collection, row_count: int) -> None:
        self._collection, self._row_count = collection, row_count
        self._rules: Rules = collection.host.rules

    def values(self, field: Field, data: schema_pb2.FieldData) -> list[Any]:
        """Returns the values of a column, None where there is none."""
        if is_struct(field):
            return self._structs(field, data)
        self._check_valid_data(field, data)
        values = self._read(field, data)
        if len(values) != self._row_count:
            words = f"the num_rows ({len(values)}) of field ({field.name})"
            # Until 2.3 the message repeats the number of rows.
            actual = len(values) if self._rules.names_missing_columns else self._row_count
            words = f"{words} is not equal to passed num_rows ({self._row_count})"
            _expect(words, self._row_count, actual)
        there = [value for value in values if value is not None]
        self._check_content(field, there)
        if field.data_type == DataType.Timestamptz:
            return [value and self._time(value) for value in values]
        return values

    def _check_valid_data(self, field: schema_pb2.FieldSchema, data: schema_pb2.FieldData) -> None:
        rules, given = self._rules, len(data.valid_data)
        if not rules.checks_valid_data or field.is_dynamic:
            return
        words = f"the length of valid_data of field({field.name}) is wrong"
        if field.nullable or field.HasField("default_value"):
            allowed = {self._row_count} if rules.needs_valid_data else {0, self._row_count}
            if given not in allowed:
                _expect(words, self._row_count, given)
        elif given:
            _expect(words, 0, given)

    def _read(self, field: schema_pb2.FieldSchema, data: schema_pb2.FieldData) -> list[Any]:
        if field.data_type == DataType.Timestamptz and data.scalars.HasField("timestamptz_data"):
            raise invalid("timestamptz field data must be a string array")
        if data.HasField("vectors") and data.vectors.HasField("float_vector"):
            length, dim = len(data.vectors.float_vector.data), parameter(field, "dim")
            if dim and length % dim:
                raise plain(
                    self._rules, f"the length({length}) of float data should divide the dim({dim})"
                )
        try:
            return values_of(data)
        except ValueError:
            there = len(list(_raw(data)))
            _expect("the length of field is wrong", sum(data.valid_data), there)

    def _check_content(self, field: schema_pb2.FieldSchema, values: Sequence[Any]) -> None:
        if field.data_type == DataType.VarChar:
            self._check_lengths(field, values)
        elif field.data_type == DataType.FloatVector:
            if any(not math.isfinite(number) for value in values for number in value):
                raise plain(self._rules, "value 'NaN' is not a number or infinity")
        elif field.data_type == DataType.Geometry:
            self._check_geometry(values)
        elif field.name == META:
            self._check_dynamic(values)
        elif field.data_type == DataType.JSON:
            self._check_json("json field", field.name, values)

    def _check_lengths(self, field: schema_pb2.FieldSchema, values: Sequence[str]) -> None:
        longest = parameter(field, "max_length")
        for row, text in enumerate(values):
            length = len(text.encode())
            if not longest or length <= longest:
                continue
            if self._rules.names_missing_columns:
                words = f"length of varchar field {field.name} exceeds max length"
                raise invalid(
                    f"{words}, row number: {row}, length: {length}, max length: {longest}"
                )
            words = f"the length ({length}) of {row}th string exceeds max length ({longest})"
            _expect(words, "valid length string", "string length exceeds max length")

    def _check_dynamic(self, values: Sequence[bytes]) -> None:
        self._check_json("dynamic field", "", values)
        for value in values:
            if value and not isinstance(json.loads(value), dict):
                self._refuse_dynamic()

    def _check_json(self, what: str, name: str, values: Sequence[bytes]) -> None:
        for value in values:
            if len(value) > self._rules.json_bytes:
                words = f"the length ({len(value)}) of {what} {name}".rstrip()
                words = f"{words} exceeds max length ({self._rules.json_bytes})"
                _expect(words, f"valid length {what}", "length exceeds max length")

    def _check_geometry(self, values: Sequence[str]) -> None:
        """Refuses texts whose coordinates are words."""
        for text in values:
            word = re.search(r"^(?!GEOMETRYCOLLECTION)\w+ ?\(+\s*(?=[A-Za-z])", text)
            if not word:
                continue
            at = word.end()
            words = f"syntax error: invalid keyword at line 1, pos {at}\nLINE 1: {text}\n"
            words += f"{' ' * (len('LINE 1: ') + at)}^"
            if self._rules.plain_errors_are_1100:
                raise invalid(f"invalid Geometry data, transform to wkb failed: {words}")
            raise Refusal(IO_FAILED, f"IO failed: {words}", is_input_error=True)

    def _refuse_dynamic(self) -> None:
        if not self._rules.dynamic_keys_clash:
            words = "json: cannot unmarshal array into Go value of type map[string]interface {}"
            raise Refusal(UNEXPECTED, words)
        words = "Mismatch type map[string]interface {} with value array"
        where = r'"at index 0: mismatched type with value\n\n\t[1]\n\t^..\n"'
        if self._rules.plain_errors_are_1100:
            lead = "invalid dynamic field data, only json map is supported"
            raise invalid(f"{lead}: {words} {where}")
        raise Refusal(IO_FAILED, f"IO failed: {words} {where}")

    def _time(self, text: str) -> str:
        """Returns a time with its offset; the zone of the collection if it has none."""
        try:
            return times.with_offset(text, self._collection.time_zone)
        except ValueError as error:
            hint = "must be a valid IANA Time Zone ID (e.g., 'Asia/Shanghai' or 'UTC')"
            words = f"got invalid timestamptz string '{text}': invalid timezone name; {hint}"
            raise invalid(words) from error

    def _structs(
        self, field: schema_pb2.StructArrayFieldSchema, data: schema_pb2.FieldData
    ) -> list[Any]:
        rows = values_of(data)
        for number, row in enumerate(rows):
            lengths = {name: len(value) for name, value in (row or {}).items()}
            if self._rules.struct_lengths_checked and len({*lengths.values()}) > 1:
                [one, other, *_] = lengths.items()
                words = f"inconsistent struct element count in struct '{field.name}'"
                words = f"{words} at row {number}: '{one[0]}' has {one[1]}"
                raise invalid(f"{words}, '{other[0]}' has {other[1]}")
        return rows


def _raw(data: schema_pb2.FieldData) -> Iterator[Any]:
    """Yields the values of a column as they came, whatever `valid_data` says."""
    bare = schema_pb2.FieldData()
    bare.CopyFrom(data)
    del bare.valid_data[:]
    return iter(values_of(bare))


def _expect(words: str, expected: object, actual: object) -> Any:
    details = f"[expected={expected}][actual={actual}]"
    raise Refusal(BAD_PARAMETER, f"{words}: invalid parameter{details}")
