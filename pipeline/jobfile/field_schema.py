"""`field_schema` of the sink: settings of fields that the target is to have otherwise."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.values import Maybe, MaybeFlag, NameList, Text, suggestion

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
"""The keys that change something, with what they are called in the collection."""

_REFUSED = {
    "source_field_name": "fields are renamed by transform.FieldRename",
    "auto_id": "use sink.Milvus.enable_auto_id",
}


def _scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError("must be text, a number, true or false")


def _params(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


SettingValue = Annotated[Any, BeforeValidator(_scalar), Field(title="text, number, true or false")]
Params = Annotated[str, BeforeValidator(_params), Field(title="JSON")]


class FieldSetting(Block):
    """One field of the target; what is left out stays as the source has it."""

    field_name: Text = key("The field, by its name in the target.")
    collections: NameList = key("Only in these collections, by their names in the source.", None)
    max_length: Maybe = key("Of texts: the most bytes.", None, unit="bytes")
    max_capacity: Maybe = key("Of arrays: the most items.", None, unit="items")
    is_nullable: MaybeFlag = key("Whether there may be nulls.", None)
    default_value: SettingValue = key("What is stored where a row has no value.", None)
    description: Text = key("The description.", "")
    enable_analyzer: MaybeFlag = key("Whether texts are taken apart into words.", None)
    analyzer_params: Params = key("How they are taken apart.", "")
    enable_match: MaybeFlag = key("Whether filters can match words.", None)
    data_type: Maybe = key("Cannot be changed; may be given as it is, as the next ones.", None)
    element_type: Maybe = key("", None)
    dimension: Maybe = key("", None)
    is_primary_key: MaybeFlag = key("", None)
    is_partition_key: MaybeFlag = key("", None)

    def applies_to(self, collection: str) -> bool:
        """Whether it is meant for a collection of the source."""
        return self.collections is None or collection in self.collections

    @property
    def settings(self) -> dict[str, Any]:
        """What it changes, by the names that the collection has for it."""
        given = ((SETTINGS[name], getattr(self, name)) for name in SETTINGS)
        return {name: value for name, value in given if value not in (None, "")}


def _settings(value: object) -> tuple[FieldSetting, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list, as [{ field_name = title, max_length = 512 }]")
    return tuple(_setting(each) for each in value)


def _setting(value: object) -> FieldSetting:
    if not isinstance(value, dict):
        raise ValueError("must be a list of blocks, as [{ field_name = title, max_length = 512 }]")
    where = f"of {value.get('field_name', '?')}"
    for name in value:
        if name in _REFUSED:
            raise ValueError(f"{where} has {name}; {_REFUSED[name]}")
        if name not in FieldSetting.known():
            hint = suggestion(name, FieldSetting.known()) or "; unknown key"
            raise ValueError(f"{where} has {name}{hint}")
    try:
        found = FieldSetting.model_validate(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        why = wrong.get("ctx", {}).get("error", wrong["msg"])
        raise ValueError(f"{where}: {'.'.join(map(str, wrong['loc'][:1]))} {why}") from None
    agreeing = ("data_type", "element_type", "dimension", "is_primary_key", "is_partition_key")
    if not found.settings and all(getattr(found, each) is None for each in agreeing):
        raise ValueError(f"{where} changes nothing; known are {', '.join(SETTINGS)}")
    return found


FieldSettings = Annotated[
    tuple[FieldSetting, ...],
    BeforeValidator(_settings),
    Field(title="list of `{ field_name, … }`"),
]
