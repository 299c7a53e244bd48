"""`field_schema` of the sink: field settings that differ in the target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.extracted_keys import ITEM_TYPES, TYPES, Extract, dynamic_key
from pipeline.jobfile.spelling import suggestion
from pipeline.jobfile.value_types import Maybe, MaybeFlag, NameList, Text
from transforms.milvus.qualified_names import spellings

SETTINGS = {
    "max_length": "max_length",
    "max_capacity": "max_capacity",
    "is_nullable": "nullable",
    "default_value": "default_value",
    "description": "description",
    "enable_analyzer": "enable_analyzer",
    "analyzer_params": "analyzer_params",
    "enable_match": "enable_match",
}
"""The keys that change a setting, with the names of the settings in a collection."""

_REFUSED = {"auto_id": "use sink.Milvus.enable_auto_id"}


def _scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError("must be text, a number, true or false")


def _params(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


SettingValue = Annotated[Any, BeforeValidator(_scalar), Field(title="text, number, true or false")]
Params = Annotated[str, BeforeValidator(_params), Field(title="JSON")]

_TYPE = (
    "Cannot be changed; must be the same as in the source. For a key of the dynamic field: the "
    "number of the type, such as 21 for VarChar and 5 for Int64."
)
_FIXED = "Cannot be changed; must be the same as in the source."


class FieldSetting(Block):
    """Settings of one field in the target; settings that are not given stay as in the source."""

    field_name: Text = key("The field, by its name in the target.")
    source_field_name: Text = key(
        "Where the field comes from: a key of the dynamic field, as with `transform.Extract`, or a "
        "field with another name in the source. Then `field_name` may be left out.",
        "",
    )
    collections: NameList = key(
        "Apply only to these collections, by their names in the source. Default: all.", None
    )
    max_length: Maybe = key("Maximum length of texts.", None, unit="bytes")
    max_capacity: Maybe = key("Maximum number of array items.", None, unit="items")
    is_nullable: MaybeFlag = key("Whether the field may be null.", None)
    default_value: SettingValue = key("The value to store if a row has none.", None)
    description: Text = key("Description of the field.", "")
    enable_analyzer: MaybeFlag = key("Whether an analyzer splits texts into words.", None)
    analyzer_params: Params = key("Settings of the analyzer.", "")
    enable_match: MaybeFlag = key("Whether filters can match words (`text_match`).", None)
    data_type: Maybe = key(_TYPE, None)
    element_type: Maybe = key(_TYPE, None)
    dimension: Maybe = key(_FIXED, None)
    is_primary_key: MaybeFlag = key(_FIXED, None)
    is_partition_key: MaybeFlag = key(_FIXED, None)

    def applies_to(self, collection: str) -> bool:
        """Whether the setting applies to a collection of the source."""
        return self.collections is None or bool({*self.collections} & {*spellings(collection)})

    @property
    def settings(self) -> dict[str, Any]:
        """The changed settings, by their names in a collection."""
        values = ((SETTINGS[name], getattr(self, name)) for name in SETTINGS)
        return {name: value for name, value in values if value not in (None, "")}

    def extraction(self) -> Extract:
        """Returns the same as a plugin, for a key of the dynamic field.

        Raises:
            ValueError: it has no valid type.
        """
        kind = self._type("data_type", TYPES)
        given = {
            "key": self.source_field_name,
            "type": kind,
            "element_type": self._type("element_type", ITEM_TYPES) if kind == "Array" else None,
            **{setting: getattr(self, setting) for setting in _OF_A_KEY},
        }
        settings = {setting: value for setting, value in given.items() if value is not None}
        wanted = dynamic_key(self.field_name, settings)
        return Extract.model_construct(fields={self.field_name: wanted})

    def _type(self, setting: str, known: Mapping[str, int]) -> str:
        """Returns the name of the type that a setting has the number of."""
        given = getattr(self, setting)
        for name, number in known.items():
            if number == given:
                return name
        numbers = ", ".join(f"{number} ({name})" for name, number in known.items())
        raise ValueError(f"{self.field_name} requires {setting}, one of {numbers}")


_OF_A_KEY = ("max_length", "max_capacity", "is_nullable", "default_value")


def _settings(value: object) -> tuple[FieldSetting, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list such as [{ field_name = title, max_length = 512 }]")
    return tuple(_setting(item) for item in value)


def _setting(value: object) -> FieldSetting:
    if not isinstance(value, dict):
        raise ValueError("must be a list of blocks: [{ field_name = title, max_length = 512 }]")
    value = {"field_name": value.get("source_field_name", "?"), **value}
    where = f"field {value['field_name']}"
    for name in value:
        if name in _REFUSED:
            raise ValueError(f"{where} has {name}; {_REFUSED[name]}")
        if name not in FieldSetting.known():
            hint = suggestion(name, FieldSetting.known())
            raise ValueError(f"{where} has the unknown key {name}{hint}")
    try:
        setting = FieldSetting.model_validate(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        why = wrong.get("ctx", {}).get("error", wrong["msg"])
        raise ValueError(f"{where}: {'.'.join(map(str, wrong['loc'][:1]))} {why}") from None
    agreeing = ("data_type", "element_type", "dimension", "is_primary_key", "is_partition_key")
    if setting.source_field_name not in ("", setting.field_name):
        return setting
    if not setting.settings and all(getattr(setting, name) is None for name in agreeing):
        raise ValueError(f"{where} changes nothing; set one of {', '.join(SETTINGS)}")
    return setting


FieldSettings = Annotated[
    tuple[FieldSetting, ...],
    BeforeValidator(_settings),
    Field(title="list of `{ field_name, … }`"),
]
