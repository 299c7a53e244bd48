"""The field types of Milvus: one table for both directions.

Each row has the Milvus type, its Arrow type, its place on the wire, and the first server release
that knows it. A server may accept a type that it does not know, and then fail to restart. So
`since` is checked before a collection is created.

Vectors of 4-byte floats are FixedSizeList(float32, dim). All other dense vectors are
FixedSizeBinary(bytes per row): Arrow has no bfloat16 and no lists of bits, no code computes with
them, and their wire form, one blob for all rows, is then the Arrow buffer itself. A sparse
vector is the row's wire bytes, (uint32 index, float32 value) pairs. JSON and `$meta` are bytes, so
that a row is never parsed and never rewritten. Offsets are 32 bits: a page has at most 64 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import pyarrow as pa
from pymilvus.grpc_gen.schema_pb2 import DataType

from transforms.errors import UnsupportedField
from transforms.milvus.versions import ReleaseNumber

TYPE_KEY = b"milvus.type"
"""The key in an Arrow field's metadata for the name of its Milvus type."""

MAX_TEXT_BYTES = 65_535
"""The largest ``max_length`` of a VarChar, used for new text fields."""

META = "$meta"
"""The name of the field in which Milvus stores the dynamic fields of a row, as a JSON object."""

NAMESPACE = "$namespace_id"
"""The name of the field in which Milvus 2.6 stores the namespace of a row."""


class Packing(Enum):
    """The layout of the values of a column in their message on the wire."""

    VARINTS = auto()
    """``repeated bool | int32 | int64 data = 1``, packed."""
    FIXED = auto()
    """``repeated float | double data = 1``, packed."""
    PIECES = auto()
    """``repeated string | bytes data = 1``, one piece per row."""
    BLOB = auto()
    """One ``bytes``, all rows joined."""
    ARRAYS = auto()
    """``repeated ScalarField data = 1``, one message per row."""
    VECTOR_ARRAYS = auto()
    """``repeated VectorField data = 2``, one message per row."""
    STRUCTS = auto()
    """``repeated FieldData fields = 1``, one message per sub-field."""


def name_of(number: int) -> str:
    """Returns the name of a type, also of one unknown to this release of Kitelift.

    >>> name_of(21), name_of(999)
    ('VarChar', 'number 999')
    """
    return DataType.Name(number) if number in DataType.values() else f"number {number}"


@dataclass(frozen=True)
class FieldType:
    """One Milvus type.

    `slot` is the number of the oneof member of ScalarField or VectorField with its values. `arrow`
    is None if the Arrow type depends on the field. `bits` is the size of one dimension of a dense
    vector. A type without `packing` is known by name only and is not copied. `lite` is whether
    milvus-lite 3.2.2 has the type. `since` is the first release that has it, and `next_line` the
    first of the next release line, if that is not the line's first release.
    """

    number: int
    since: ReleaseNumber
    packing: Packing | None = None
    slot: int = 0
    arrow: pa.DataType | None = None
    bits: int = 0
    sparse: bool = False
    lite: bool = True
    next_line: ReleaseNumber | None = None

    @property
    def releases(self) -> tuple[ReleaseNumber, ...]:
        """The first releases that have the type, one for each release line."""
        return (self.since, self.next_line) if self.next_line else (self.since,)

    @property
    def name(self) -> str:
        """Milvus' name of the type."""
        return name_of(self.number)

    @property
    def vector(self) -> bool:
        """Whether values are in a VectorField on the wire; all others are in a ScalarField."""
        return self.bits > 0 or self.sparse or self.packing is Packing.VECTOR_ARRAYS

    @property
    def fixed(self) -> bool:
        """Whether each value is a number."""
        return self.packing in (Packing.VARINTS, Packing.FIXED) and not self.bits

    def width(self, dim: int) -> int:
        """Returns the bytes of one dense vector of `dim` dimensions."""
        return self.bits * dim // 8


_PACKED, _FIXED, _PIECES, _BLOB = Packing.VARINTS, Packing.FIXED, Packing.PIECES, Packing.BLOB

# If several Milvus types share one Arrow type, an Arrow column without a Milvus type in its
# metadata becomes the first of them.
TABLE = (
    FieldType(DataType.Bool, (2, 0, 0), _PACKED, 1, pa.bool_()),
    FieldType(DataType.Int8, (2, 0, 0), _PACKED, 2, pa.int8()),
    FieldType(DataType.Int16, (2, 0, 0), _PACKED, 2, pa.int16()),
    FieldType(DataType.Int32, (2, 0, 0), _PACKED, 2, pa.int32()),
    FieldType(DataType.Int64, (2, 0, 0), _PACKED, 3, pa.int64()),
    FieldType(DataType.Float, (2, 0, 0), _FIXED, 4, pa.float32()),
    FieldType(DataType.Double, (2, 0, 0), _FIXED, 5, pa.float64()),
    FieldType(DataType.VarChar, (2, 1, 0), _PIECES, 6, pa.string()),
    FieldType(DataType.JSON, (2, 2, 9), _PIECES, 9, pa.binary()),
    FieldType(DataType.Array, (2, 3, 2), Packing.ARRAYS, 8),
    # Commits cd931a0388 (2.5) and 19346fa389 (2.6) of Milvus.
    FieldType(DataType.Geometry, (2, 5, 18), _PIECES, 12, pa.string(), next_line=(2, 6, 3)),
    # 2.6 has only the name; 3.0 accepts the type only with `common.storage.useLoonFFI`.
    FieldType(DataType.Text, (3, 0, 0), _PIECES, 6, pa.string(), lite=False),
    FieldType(DataType.Timestamptz, (2, 6, 1), _PIECES, 6, pa.string()),
    FieldType(DataType.BinaryVector, (2, 0, 0), _BLOB, 3, bits=1, lite=False),
    FieldType(DataType.FloatVector, (2, 0, 0), _FIXED, 2, bits=32),
    FieldType(DataType.Float16Vector, (2, 4, 0), _BLOB, 4, bits=16, lite=False),
    FieldType(DataType.BFloat16Vector, (2, 4, 0), _BLOB, 5, bits=16, lite=False),
    FieldType(DataType.SparseFloatVector, (2, 4, 0), _PIECES, 6, pa.binary(), sparse=True),
    FieldType(DataType.Int8Vector, (2, 6, 0), _BLOB, 7, bits=8, lite=False),
    FieldType(DataType.ArrayOfVector, (2, 6, 0), Packing.VECTOR_ARRAYS, 8, lite=False),
    FieldType(DataType.ArrayOfStruct, (2, 6, 0), Packing.STRUCTS, lite=False),
    FieldType(DataType.Struct, (2, 6, 0)),
    FieldType(DataType.String, (2, 0, 0)),
    FieldType(DataType.Mol, (3, 0, 0)),
    FieldType(DataType.Date, (3, 0, 0)),
    FieldType(DataType.Time, (3, 0, 0)),
    FieldType(DataType.Decimal, (3, 0, 0)),
)

BY_NUMBER = {kind.number: kind for kind in TABLE}
BY_NAME = {kind.name: kind for kind in TABLE}
BY_ARROW = {kind.arrow: kind for kind in reversed(TABLE) if kind.arrow is not None}

_NUMBERS = {kind.number for kind in TABLE if kind.packing in (_PACKED, _FIXED) and not kind.bits}
ELEMENTS = {
    DataType.Array: frozenset({*_NUMBERS, DataType.VarChar}),
    DataType.ArrayOfVector: frozenset(kind.number for kind in TABLE if kind.bits),
}
"""Container type -> the element types that it can have."""


def is_vector(number: int) -> bool:
    """Returns whether a type is a vector type; Milvus reserves a number range for them.

    >>> is_vector(DataType.FloatVector), is_vector(107), is_vector(DataType.JSON)
    (True, True, False)
    """
    return bool(DataType.BinaryVector <= number < DataType.ArrayOfStruct)


def can_copy(number: int, element: int = 0) -> bool:
    """Returns whether fields of this type (and element type) can be copied."""
    kind = BY_NUMBER.get(number)
    if kind is None or kind.packing is None:
        return False
    return number not in ELEMENTS or element in ELEMENTS[number]


def of(number: int, *, collection: str = "", field: str = "") -> FieldType:
    """Returns the type with this number.

    Raises:
        UnsupportedField: it cannot be copied; `collection` and `field` name the place.
    """
    kind = BY_NUMBER.get(number)
    if kind is None or kind.packing is None:
        raise UnsupportedField(collection, field, name_of(number))
    return kind


def arrow_type(number: int, *, dim: int = 0, element: int = 0) -> pa.DataType:
    """Returns the Arrow type of a field.

    >>> for number in (101, 102):
    ...     print(arrow_type(number, dim=4))
    fixed_size_list<item: float not null>[4]
    fixed_size_binary[8]
    """
    kind = of(number)
    if kind.arrow is not None:
        return kind.arrow
    if number in ELEMENTS:
        return pa.list_(pa.field("item", arrow_type(element, dim=dim), nullable=False))
    if kind.packing is Packing.BLOB:
        return pa.binary(kind.width(dim))
    return pa.list_(pa.field("item", pa.float32(), nullable=False), dim)


def milvus_type(field: pa.Field) -> FieldType:
    """Returns the Milvus type of an Arrow field: from its metadata, otherwise from its Arrow type.

    >>> milvus_type(pa.field("title", pa.string())).name
    'VarChar'
    """
    name = (field.metadata or {}).get(TYPE_KEY)
    if name is not None:
        return BY_NAME[name.decode()]
    if pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float32():
        return BY_NUMBER[DataType.FloatVector]
    if pa.types.is_list(field.type):
        return BY_NUMBER[DataType.Array]
    if field.type in BY_ARROW:
        return BY_ARROW[field.type]
    raise UnsupportedField("", field.name, str(field.type))
