"""Settings of the sink -> the description and the properties of a target collection. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.jobfile.settings import Sink
from transforms.milvus import features, index_types, qualified_names
from transforms.milvus.description import Description, Pairs
from transforms.milvus.versions import Version


def wanted_description(source: Description, sink: Sink, target: Version) -> Description:
    """Returns the description that a new target collection gets.

    The key is an auto-ID key only if ids are new, or if the target accepts explicit IDs for it.
    """
    keeps_automatic = source.auto_id and features.accepts_ids(target)
    message = type(source.message)()
    message.CopyFrom(source.message)
    message.autoID = False
    pairs = tuple((pair.key, pair.value) for pair in message.properties)
    del message.properties[:]
    for key, value in copied_properties(pairs, sink):
        message.properties.add(key=key, value=value)
    for field in message.fields:
        if field.is_primary_key:
            field.autoID = sink.enable_auto_id or keeps_automatic
    for name in reversed(qualified_names.spellings(source.name)):
        message.description = sink.collection_description.get(name, message.description)
    level = source.consistency_level
    if sink.consistency_level is not None:
        level = features.CONSISTENCY.index(sink.consistency_level)
    return replace(
        source,
        raw_schema=message.SerializeToString(),
        properties=copied_properties(source.properties, sink),
        shards=sink.shard_num or source.shards,
        partition_count=sink.partition_num or source.partition_count,
        consistency_level=level,
        indexes=tuple(
            index_types.with_current_type(index, target)
            for index in (source.indexes if sink.create_index else ())
            if features.supports_index(index, target)
        ),
    )


def copied_properties(properties: Pairs, sink: Sink) -> Pairs:
    """Returns the properties of a collection or database that are copied to the target."""
    limits = () if sink.copy_rate_limits else features.rate_limits(properties)
    left_out = {*limits, *features.of_one_cluster(properties)}
    return tuple(
        pair for pair in properties if pair not in left_out and pair[0] not in features.BOOKKEEPING
    )


def temporary_properties(target: Description, sink: Sink, version: Version, *, new: bool) -> Pairs:
    """Returns the properties that make the target accept auto-IDs and function outputs.

    A `new` collection can then also be created without the providers of its functions.
    """
    needed: list[tuple[str, str]] = []
    if target.auto_id and not sink.enable_auto_id and features.accepts_ids(version):
        needed.append(features.INSERT_IDS)
    if target.outputs and sink.function_outputs == "copy" and features.accepts_outputs(version):
        needed.append(features.INSERT_OUTPUTS)
        if new and features.creates_functions_unchecked(version):
            needed.append(features.NO_FUNCTION_CHECK)
    return tuple(pair for pair in needed if pair not in target.properties)


def recomputed_fields(target: Description, sink: Sink) -> tuple[str, ...]:
    """Returns the function outputs that the target computes itself and that can be read."""
    return target.outputs if sink.function_outputs == "recompute" else ()
