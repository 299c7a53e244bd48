"""Why fields of a collection cannot be dropped. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from transforms.milvus import field_layout
from transforms.milvus.description import Description
from transforms.milvus.field_layout import Slot


def why_needed(described: Description, names: Collection[str]) -> str:
    """Returns why these fields cannot be dropped together; "" if they can."""
    slots = [Slot(name, name) for name in field_layout.names(described) if name not in names]
    return next(reasons_to_keep(described, slots), "")


def reasons_to_keep(described: Description, slots: Collection[Slot]) -> Iterator[str]:
    """Yields why fields cannot be dropped, if only `slots` are kept."""
    kept = {slot.origin for slot in slots if slot.origin and not slot.copied}
    message = described.message
    for field in message.fields:
        if field.name not in kept and (field.is_primary_key or field.is_partition_key):
            what = "primary key" if field.is_primary_key else "partition key"
            yield f"{field.name} is the {what} and cannot be dropped."
        by = field_layout.language_field(field)
        if by and field.name in kept and by not in kept:
            yield f"{by} cannot be dropped: it selects the analyzer of {field.name}. Drop both."
    vectors = {vector.partition("[")[0] for vector in described.vectors}
    new = any(slot.typed and slot.typed.type.vector for slot in slots)
    if vectors and not new and not any(slot.origin in vectors for slot in slots):
        names = ", ".join(sorted(vectors))
        yield f"{names} cannot be dropped: Milvus needs at least one vector field."
    for function in message.functions:
        outputs, inputs = set(function.output_field_names), set(function.input_field_names)
        missing = sorted((outputs | inputs) - kept)
        if outputs & kept and missing:
            yield (
                f"{', '.join(missing)} cannot be dropped while function {function.name} is kept. "
                f"Drop {', '.join(sorted(outputs))} too: this also drops the function."
            )
