"""What all plugins of `transform { }` have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.columns import Columns
from pipeline.jobfile.value_types import NameList
from transforms.milvus.qualified_names import spellings


def regex(value: object) -> str:
    """Returns a valid regular expression.

    Raises:
        ValueError: it is not one.
    """
    text = value if isinstance(value, str) else ""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if not text:
        raise ValueError('must be a regular expression in double quotes, such as "docs_.*"')
    return text


Regex = Annotated[str, BeforeValidator(regex), Field(title="regular expression")]


class Plugin(Block):
    """One block of `transform`, with the two keys that every block has."""

    collections: NameList = key(
        "Apply only to these collections, by their names in the source. Default: all.", None
    )
    table_match_regex: Regex = key(
        "Apply only to collections whose whole `name` or `database.name` in the source matches.",
        ".*",
    )

    def applies_to(self, collection: str) -> bool:
        """Whether the plugin applies to a collection of the source, `database.collection`."""
        names = spellings(collection)
        if self.collections is not None and not {*names} & {*self.collections}:
            return False
        return any(re.fullmatch(self.table_match_regex, name) for name in names)

    def apply(self, columns: Columns) -> Columns:
        """Returns the columns after this plugin.

        Raises:
            Unfit: the plugin cannot be applied to these columns.
        """
        return columns

    def to_setting(self) -> dict[str, Any]:
        """Returns the plugin's name and its keys without defaults, for the settings of a job."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {type(self).__name__: values}
