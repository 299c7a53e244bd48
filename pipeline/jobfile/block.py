"""A block of the job file: frozen values, of which docs/configuration.md is made."""

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
    """One key of the job file; `name` is its name there where Python could not spell it."""
    marks: JsonDict = {"unit": unit, "result": result}
    return Field(default, alias=name, description=meaning, json_schema_extra=marks)


def mark(field: FieldInfo, name: str) -> Any:
    """What `key` was told about a field."""
    return field.json_schema_extra[name] if isinstance(field.json_schema_extra, dict) else None


class Block(BaseModel):
    """A block of the job file; its fields are the keys it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def known(cls) -> dict[str, FieldInfo]:
        """The keys it may have, by their names in the job file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    def written(self) -> dict[str, Any]:
        """Every key with its value, as JSON would have it; a token is masked."""
        return self.model_dump(mode="json", by_alias=True)
