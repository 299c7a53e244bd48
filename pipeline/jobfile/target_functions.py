"""`sink.Milvus.functions`: BM25 functions that the target gets in addition to the source's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.spelling import suggestion
from pipeline.jobfile.value_types import NameList, Text
from transforms.milvus.qualified_names import spellings

_SPELLINGS = {
    "functionType": "type",
    "inputFieldNames": "input_field",
    "outputFieldNames": "output_field",
}
"""The keys of VTS, with ours."""

NO_EFFECT = "params"
"""A key of VTS; BM25 has no parameters."""


class TargetFunction(Block):
    """One BM25 function: it turns the words of a text field into sparse vectors."""

    name: Text = key("Name of the function.")
    input_field: Text = key(
        "The text field, by its name in the target. It needs an analyzer: `enable_analyzer = true` "
        "in `field_schema`."
    )
    output_field: Text = key("Name of the new field, which gets the sparse vectors and an index.")
    type: Text = key("Type of the function; only BM25.", "BM25")
    description: Text = key("Description of the function.", "")
    collections: NameList = key(
        "Apply only to these collections, by their names in the source. Default: all that have the "
        "input field.",
        None,
    )

    def applies_to(self, collection: str) -> bool:
        """Whether the function is added to a collection of the source."""
        return self.collections is None or bool({*self.collections} & {*spellings(collection)})


_EXAMPLE = "{ name = by_words, input_field = text, output_field = sparse }"


def _functions(value: object) -> tuple[TargetFunction, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"must be a list of blocks: [{_EXAMPLE}]")
    return tuple(map(_function, value))


def _function(value: dict[str, Any]) -> TargetFunction:
    where = f"function {value.get('name', '?')}"
    settings = {}
    for name, setting in value.items():
        if name in _SPELLINGS or name in TargetFunction.known():
            settings[_SPELLINGS.get(name, name)] = _only(where, name, setting)
        elif name != NO_EFFECT:
            hint = suggestion(name, TargetFunction.known())
            raise ValueError(f"{where} has the unknown key {name}{hint}")
    if str(settings.get("type", "BM25")).upper() != "BM25":
        raise ValueError(f"{where} has the type {settings['type']}; Kitelift adds only BM25")
    try:
        return TargetFunction.model_validate(settings | {"type": "BM25"})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        why = wrong.get("ctx", {}).get("error", wrong["msg"])
        if wrong["type"] == "missing":
            why = f"is missing, as in {_EXAMPLE}"
        raise ValueError(f"{where}: {'.'.join(map(str, wrong['loc'][:1]))} {why}") from None


def _only(where: str, name: str, setting: Any) -> Any:
    """Returns the only name of a list of VTS."""
    if not name.endswith("FieldNames"):
        return setting
    if not isinstance(setting, list) or len(setting) != 1:
        raise ValueError(f"{where}: {name} must be a list with one field")
    return setting[0]


TargetFunctions = Annotated[
    tuple[TargetFunction, ...],
    BeforeValidator(_functions),
    Field(title="list of `{ name, input_field, output_field }`"),
]
