"""`transform.Extract`: keys of the dynamic field that become fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipeline.jobfile import constant_values
from pipeline.jobfile.block import key
from pipeline.jobfile.columns import Columns, Unfit
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.spelling import suggestion
from transforms.reshape.column import Column, DynamicKey

TYPES = {
    "Bool": 1,
    "Int8": 2,
    "Int16": 3,
    "Int32": 4,
    "Int64": 5,
    "Float": 10,
    "Double": 11,
    "VarChar": 21,
    "Array": 22,
    "JSON": 23,
}
"""The types that a key can become, with their numbers in Milvus."""

_NO_DEFAULT = ("Array", "JSON")

ITEM_TYPES = {name: number for name, number in TYPES.items() if name not in ("Array", "JSON")}
"""The types that the items of an array can have."""

_MAX_TEXT_BYTES = 65_535
_MAX_ITEMS = 4_096

_KEYS = (
    *("key", "type", "element_type", "max_length"),
    *("max_capacity", "is_nullable", "default_value"),
)


def dynamic_key(name: str, settings: dict[str, Any]) -> DynamicKey:
    """Returns the key of the dynamic field that a field comes from, by its settings.

    Raises:
        ValueError: the settings are not valid; the text starts with the field's name.
    """
    for setting in settings:
        if setting not in _KEYS:
            hint = suggestion(setting, _KEYS) or f"; the keys are {', '.join(_KEYS)}"
            raise ValueError(f"{name} has the unknown key {setting}{hint}")
    kind = _type(name, "type", settings.get("type"), tuple(TYPES))
    element = ""
    if kind == "Array":
        element = _type(name, "element_type", settings.get("element_type"), tuple(ITEM_TYPES))
    is_nullable = settings.get("is_nullable", False)
    if not isinstance(is_nullable, bool):
        raise ValueError(f"{name}: is_nullable must be true or false")
    return DynamicKey(
        key=str(settings.get("key", name)),
        kind=kind,
        element=element,
        max_length=_limit(
            name, "max_length", settings, _MAX_TEXT_BYTES, "VarChar" in (kind, element)
        ),
        max_capacity=_limit(name, "max_capacity", settings, _MAX_ITEMS, kind == "Array"),
        nullable=is_nullable,
        default=_default(name, kind, settings.get("default_value")),
    )


def _type(name: str, setting: str, kind: object, known: tuple[str, ...]) -> str:
    if isinstance(kind, str) and kind in known:
        return kind
    hint = suggestion(str(kind), known) if kind else ""
    raise ValueError(f"{name} requires {setting}, one of {', '.join(known)}{hint}")


def _limit(name: str, setting: str, settings: dict[str, Any], most: int, applies: bool) -> int:
    value = settings.get(setting)
    if not applies:
        if value is not None:
            raise ValueError(f"{name}: {setting} does not apply to its type")
        return 0
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name}: {setting} must be a whole number from 1 to {most:,}")
    return value


def _default(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind in _NO_DEFAULT:
        raise ValueError(f"{name}: a field of type {kind} cannot have a default value")
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{name}: default_value must be text, a number, true or false")
    if why := constant_values.problem(kind, value):
        raise ValueError(f"{name}: {why}")
    return value


def _dynamic_keys(value: object) -> dict[str, DynamicKey]:
    if not isinstance(value, dict) or not value:
        raise ValueError("must be a block such as { writer = { key = author, type = VarChar } }")
    keys = {}
    for name, settings in value.items():
        field = str(name).strip('"')
        given = settings if isinstance(settings, dict) else {"type": settings}
        keys[field] = dynamic_key(field, given)
    return keys


DynamicKeys = Annotated[
    dict[str, DynamicKey], BeforeValidator(_dynamic_keys), Field(title="`{ key, type, … }` by name")
]


class Extract(Plugin):
    """Takes keys out of the dynamic field, and adds a field for each."""

    fields: DynamicKeys = key(
        "`{ field = { key, type, … } }`: the new fields. `key` is the key of the dynamic field "
        "(default: the field's name). `type` is Bool, Int8 to Int64, Float, Double, VarChar, JSON, "
        "or Array with `element_type`. `max_length`, `max_capacity`, `is_nullable` and "
        "`default_value` are as in `field_schema`."
    )

    def apply(self, columns: Columns) -> Columns:
        """Adds the fields after all other fields, and removes their keys."""
        meta = next(filter(columns.is_dynamic, columns.columns), None)
        if meta is None:
            raise Unfit("the collection has no dynamic field.")
        keys = dict.fromkeys(wanted.key for wanted in self.fields.values())
        if taken := [key for key in keys if key in meta.removed]:
            raise Unfit(*(f"the key {key} is already extracted." for key in taken))
        rest = Column(meta.name, meta.origin, removed=(*meta.removed, *keys))
        new = [
            Column(name, meta.origin, kind=wanted.kind, extracted=wanted)
            for name, wanted in self.fields.items()
        ]
        kept = (rest if column is meta else column for column in columns.columns)
        return columns.with_columns((*kept, *new))
