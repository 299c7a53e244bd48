"""The plan of one collection -> lines about what its transforms and functions change. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.console.formatting import number
from pipeline.planning.requested_schema import EMPTY_DYNAMIC_FIELD
from transforms.milvus import features, field_layout
from transforms.plan import CollectionPlan


def describe_changes(plan: CollectionPlan) -> tuple[str, ...]:
    """Returns a line for each way in which transforms change a collection."""
    return tuple(_words(plan))


def _words(plan: CollectionPlan) -> Iterator[str]:
    yield from _selected_rows(plan)
    shape = plan.shape
    columns = [column for stage in shape.stages for column in stage.columns]
    kept = dict(shape.kept)
    dropped = [
        name for name in field_layout.names(plan.source) if shape.stages and name not in kept
    ]
    lists = {
        "dropped": dropped,
        "renamed": [f"{old} to {new}" for old, new in shape.kept if old != new],
        "copied": [
            f"{column.origin} to {column.name}"
            for column in columns
            if column.copied and not column.extracted
        ],
        "extracted": [
            column.name
            if column.extracted.key == column.name
            else f"{column.extracted.key} to {column.name}"
            for column in columns
            if column.extracted
        ],
        "new": [
            f"{column.name} = {json.dumps(column.value)}"
            for column in columns
            if not column.origin and column != EMPTY_DYNAMIC_FIELD
        ],
        "dynamic field": ["added, empty" for column in columns if column == EMPTY_DYNAMIC_FIELD],
        "replaced in": [column.name for column in columns if column.replacements],
        "function": [stage.function for stage in shape.stages if stage.function],
        "new function": [*_new_functions(plan)],
    }
    for what, items in lists.items():
        if items:
            yield f"{what}: {', '.join(items)}"
    yield from _requested_indexes(plan)


def _selected_rows(plan: CollectionPlan) -> Iterator[str]:
    if not plan.has_rows:
        yield "no rows, only everything else"
    elif plan.shape.where:
        of = "" if plan.unfiltered is None else f" of {number(plan.unfiltered)}"
        yield f"only rows with {plan.shape.where}: {number(plan.rows)}{of}"
    if plan.chosen_partitions:
        yield f"only partitions: {', '.join(plan.chosen_partitions)}"


def _requested_indexes(plan: CollectionPlan) -> Iterator[str]:
    before = {index.name: features.index_words(index) for index in plan.source.indexes}
    for index in plan.wanted.indexes:
        if index.feature in plan.requested_indexes:
            source = before.get(index.name, "none")
            yield f"index changed on request {features.index_words(index)} (source: {source})"


def _new_functions(plan: CollectionPlan) -> Iterator[str]:
    before = {function.name for function in plan.source.message.functions}
    for function in plan.wanted.message.functions:
        if function.name not in before:
            inputs, outputs = map(
                ", ".join, (function.input_field_names, function.output_field_names)
            )
            yield f"{function.name} from {inputs} to {outputs}"
