"""A block of the job file: a frozen value whose fields are its keys.

docs/configuration.md is generated from the fields.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo


def key(
    meaning: str,
    default: Any = ...,
    *,
    name: str | None = None,
    unit: str = "",
    result: bool = False,
) -> Any:
    """Declares one key of the job file; `name` is its name there if Python cannot spell it."""
    marks: JsonDict = {"unit": unit, "result": result}
    return Field(default, alias=name, description=meaning, json_schema_extra=marks)


def mark(field: FieldInfo, name: str) -> Any:
    """Returns what `key` stored about a field: its `unit`, or whether it is a `result` key."""
    return field.json_schema_extra[name] if isinstance(field.json_schema_extra, dict) else None


class Block(BaseModel):
    """A block of the job file; its fields are the allowed keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def known(cls) -> dict[str, FieldInfo]:
        """Returns the allowed keys by their names in the job file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    def written(self) -> dict[str, Any]:
        """Returns every key with its value as JSON stores it; a token is masked."""
        return self.model_dump(mode="json", by_alias=True)
