"""The features of a collection beside its rows, and which servers support each of them.

Each feature has a name that `accept` can contain: `ttl`, `shards`, `fields.title.max_length`.
Servers silently drop what they do not know. So the feature names of the source's collection and of
the created one are enough to find what was lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pymilvus.grpc_gen import schema_pb2

from transforms.milvus import index_types, types, versions
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.schema import sub_name
from transforms.milvus.versions import ReleaseNumber, Version

CONSISTENCY = ("Strong", "Session", "Bounded", "Eventually", "Customized")
FUNCTIONS = ("unknown", "BM25", "TextEmbedding", "Rerank", "MinHash", "MolFingerprint")

TTL = "collection.ttl.seconds"
"""The property with the seconds after which rows expire; 0 is never."""

INSERT_IDS = ("allow_insert_auto_id", "true")
"""The property with which an auto-ID key accepts explicit IDs."""

INSERT_OUTPUTS = ("collection.function.allowInsertNonBM25FunctionOutputs", "true")
"""The property with which a collection accepts explicit values for the outputs of functions."""

NO_FUNCTION_CHECK = ("disable_func_runtime_check", "true")
"""The property with which a server creates a collection without a call to its functions' providers.
"""

ISOLATION = "partitionkey.isolation"
"""The property that builds the indexes of vectors by partition key."""

BOOKKEEPING = frozenset(["max_field_id", "namespace.sharding.enabled"])
"""Properties that a server (3.0) sets itself on every collection, and accepts from no client."""

BY_DEFAULT = frozenset([("timezone", "UTC")])
"""Properties that newer servers (2.6.6) set on every collection; older ones behave the same."""

_RATE = re.compile(
    r"(collection|database|partition)\.(\w+Rate\.|diskProtection\.|diskQuota\.|max\.collections)"
)
_OF_ONE_CLUSTER = re.compile(
    r"(collection|database)\.(resource_groups|force\.deny\.)|cipher\.|replicat"
)


@dataclass(frozen=True)
class Feature:
    """One kind of feature; `pattern` matches the names of its features.

    Attributes:
        words: the description for docs and messages.
        since: the first releases of Milvus that support it, one for each release line; empty if
            every supported version does.
        lite: whether milvus-lite 3.2.2 supports it; with `fixed` it has a fixed value.
        needed: whether rows cannot be written without it, so that its loss cannot be accepted.
    """

    words: str
    pattern: str
    since: tuple[ReleaseNumber, ...] = ()
    lite: bool = True
    fixed: bool = False
    needed: bool = False

    @property
    def name(self) -> str:
        """The form of its names; FIELD, NAME and similar are placeholders for the user's names.

        >>> kind_of("fields.note.nullable").name, kind_of("indexes.flat").name
        ('fields.FIELD.nullable', 'indexes.NAME')
        """
        form = self.pattern.replace("\\d+", "N").replace("fields\\..*", "fields.FIELD", 1)
        form = form.replace("fields\\..+\\..+", "fields.FIELD.SETTING")
        form = form.replace("fields\\..+", "fields.FIELD").replace("\\..+", ".NAME")
        form = re.sub(r"\((.*)\|.*\)", r"\1", form)
        return "KEY" if form == ".+" else form.replace("\\", "")

    def matches(self, name: str) -> bool:
        """Returns whether a feature of this name is of this kind."""
        return re.fullmatch(self.pattern, name) is not None

    def supported_by(self, version: Version) -> bool:
        """Returns whether a server of this version supports it."""
        if version.lite:
            return self.lite
        return not self.since or versions.has(version, *self.since)


# The first row whose pattern matches applies.
TABLE = (
    Feature("description of the collection", r"description", lite=False),
    Feature("description of a field", r"fields\..*\.description", lite=False),
    Feature("description of a function", r"functions\.(bm25|other)\..+\.description", lite=False),
    Feature("maximum text length in an array", r"fields\..*\.item_max_length", lite=False),
    Feature("default value", r"fields\..*\.default_value", ((2, 3, 0),)),
    Feature("clustering key", r"fields\..*\.clustering_key", ((2, 4, 0),), lite=False),
    Feature("nullable vector", r"fields\..*\.nullable_vector", ((2, 6, 17),), lite=False),
    Feature("nullable field", r"fields\..*\.nullable", ((2, 5, 0),)),
    Feature("key of the collection", r"fields\..*\.(primary_key|partition_key)", needed=True),
    Feature("text analyzer", r"fields\..*\.(analyzer_params|enable_analyzer)", ((2, 5, 0),)),
    Feature("text match", r"fields\..*\.enable_match", ((2, 5, 0),)),
    Feature(
        "analyzers by language", r"fields\..*\.multi_analyzer_params", ((2, 5, 11),), lite=False
    ),
    Feature("mmap of a field", r"fields\..*\.mmap\.enabled", ((2, 4, 0),), lite=False),
    Feature("setting newer than this Kitelift version", r"unknown_\d+", lite=False),
    Feature(
        "field setting newer than this Kitelift version", r"fields\..*\.unknown_\d+", lite=False
    ),
    Feature("dimension", r"fields\..*\.dim", needed=True),
    Feature("other setting of a field", r"fields\..+\..+"),
    Feature("field and its type", r"fields\..+", needed=True),
    Feature("BM25 function", r"functions\.bm25\..+", ((2, 5, 0),), needed=True),
    Feature("other function", r"functions\.other\..+", ((2, 6, 0),)),
    Feature("several vector fields", r"several_vectors", ((2, 4, 0),), needed=True),
    Feature("dynamic field", r"dynamic_field", needed=True),
    Feature("partitions", r"partitions", fixed=True),
    Feature("shards", r"shards", fixed=True),
    Feature("consistency level", r"consistency_level", fixed=True),
    Feature("alias", r"aliases\..+"),
    Feature("index", r"indexes\..+"),
    Feature("load state and number of replicas", r"loaded"),
    Feature("TTL of rows", r"ttl"),
    Feature("field with the expiry time of a row", r"ttl_field", ((3, 0, 0),), lite=False),
    Feature("analyzer files", r"file_resources", ((3, 0, 0),), lite=False),
    Feature("time zone", r"timezone", ((2, 6, 6),)),
    Feature("partition key isolation", r"partitionkey\.isolation", ((2, 5, 4),)),
    Feature("other property", r".+"),
)


def kind_of(name: str) -> Feature:
    """Returns the kind of a feature.

    >>> kind_of("fields.note.nullable").words, kind_of("mmap.enabled").words
    ('nullable field', 'other property')
    """
    return next(kind for kind in TABLE if kind.matches(name))


def lost_by(described: Description, version: Version) -> Iterator[tuple[str, Feature]]:
    """Yields the features of a collection that a server of this version does not support."""
    for name, value in listed(described).items():
        if not kind_of(name).supported_by(version) and (name, value) not in BY_DEFAULT:
            yield name, kind_of(name)
    for index in described.indexes:
        if not (kind := _kind_of_index(index)).supported_by(version):
            yield index.feature, kind


def supports_index(index: Index, version: Version) -> bool:
    """Returns whether a server of this version builds an index of this type."""
    return _kind_of_index(index).supported_by(version)


def _kind_of_index(index: Index) -> Feature:
    kind = dict(index.params).get("index_type", "").upper()
    lite = kind in index_types.LITE
    if index.on_path:
        return Feature(f"{kind} index on a path", "", index_types.PATH_SINCE, lite=lite)
    return Feature(f"{kind} index", "", index_types.SINCE.get(kind, ()), lite=lite)


def listed(described: Description) -> dict[str, str]:
    """Returns the features of a collection: name -> value as text."""
    return {name: value for name, value in _features(described) if name not in BOOKKEEPING}


def accepts_ids(version: Version) -> bool:
    """Returns whether a server knows `INSERT_IDS`: 2.5.19 and later of 2.5, 2.6.3 and later.

    milvus-lite accepts IDs without it, but may assign the same ones later: it uses a sequence.
    """
    return _surely_has(version, (2, 5, 19), (2, 6, 3))


def hides_largest_key(version: Version) -> bool:
    """Returns whether a server counts but never returns rows with the key 2^63-1: before 2.6.8."""
    other = version.lite or version.files
    return version.known and not other and not versions.has(version, (2, 6, 8))


def accepts_outputs(version: Version) -> bool:
    """Returns whether a server knows `INSERT_OUTPUTS`: 2.6.3+; milvus-lite computes its own."""
    return _surely_has(version, (2, 6, 3))


def creates_functions_unchecked(version: Version) -> bool:
    """Returns whether a server knows `NO_FUNCTION_CHECK`: 2.6.8 and later (commit cbd3f36b02)."""
    return _surely_has(version, (2, 6, 8))


def _surely_has(version: Version, *since: ReleaseNumber) -> bool:
    return version.known and not version.lite and versions.has(version, *since)


def isolation(properties: Pairs) -> Pairs:
    """Returns the property of partition key isolation, if it is true.

    If a change of properties does not name it, servers before 2.6.13 understand that as the end of
    the isolation, and refuse that (702) if a vector has an index. So each change must name it.

    >>> isolation((("ttl", "5"), ("partitionkey.isolation", "true")))
    (('partitionkey.isolation', 'true'),)
    """
    return tuple((k, v) for k, v in properties if k == ISOLATION and v.lower() == "true")


def drops_isolated(version: Version) -> bool:
    """Returns whether a server can drop a property of an isolated, indexed collection: 2.6.13+."""
    return versions.has(version, (2, 6, 13))


def rate_limits(properties: Pairs) -> Pairs:
    """Returns the properties that limit rates and sizes: they depend on the cluster.

    >>> rate_limits((("collection.insertRate.max.mb", "5"), ("collection.ttl.seconds", "60")))
    (('collection.insertRate.max.mb', '5'),)
    """
    return tuple(pair for pair in properties if _RATE.match(pair[0]))


def of_one_cluster(properties: Pairs) -> Pairs:
    """Returns the properties that name objects of one cluster, or that block writes to it.

    >>> of_one_cluster((("database.force.deny.writing", "true"), ("database.replica.number", "2")))
    (('database.force.deny.writing', 'true'),)
    """
    return tuple(pair for pair in properties if _OF_ONE_CLUSTER.match(pair[0]))


def _features(described: Description) -> Iterator[tuple[str, str]]:
    message = described.message
    if message.description:
        yield "description", message.description
    yield from _fields(message)
    for function in message.functions:
        kind = "bm25" if function.type == schema_pb2.FunctionType.BM25 else "other"
        yield f"functions.{kind}.{function.name}", _function(function)
        if function.description:
            yield f"functions.{kind}.{function.name}.description", function.description
    yield from ((_property(pair.key), pair.value) for pair in message.properties)
    if message.file_resource_ids:
        yield "file_resources", ", ".join(map(str, message.file_resource_ids))
    yield from _unknown("", message)
    for index in described.indexes:
        yield index.feature, index_words(index)
    if message.enable_dynamic_field:
        yield "dynamic_field", "yes"
    yield "partitions", _partitions(described)
    yield "shards", str(described.shards)
    yield "consistency_level", _named(CONSISTENCY, described.consistency_level)
    yield from ((f"aliases.{alias}", "yes") for alias in sorted(described.aliases))
    if described.loaded:
        many = described.replicas > 1
        yield "loaded", f"in {described.replicas} replicas" if many else "yes"
    yield from ((_property(key), value) for key, value in described.properties)


def _fields(message: schema_pb2.CollectionSchema) -> Iterator[tuple[str, str]]:
    for field in message.fields:
        yield from _field(f"fields.{field.name}", field, auto_id=message.autoID)
    for struct in message.struct_array_fields:
        yield f"fields.{struct.name}", "ArrayOfStruct"
        if struct.nullable:
            yield f"fields.{struct.name}.nullable", "yes"
        yield from ((f"fields.{struct.name}.{p.key}", p.value) for p in struct.type_params)
        if struct.description:
            yield f"fields.{struct.name}.description", struct.description
        yield from _unknown(f"fields.{struct.name}.", struct)
        for sub_field in struct.fields:
            yield from _field(f"fields.{struct.name}[{sub_name(sub_field.name)}]", sub_field)
    if sum(types.is_vector(field.data_type) for field in message.fields) > 1:
        yield "several_vectors", "yes"


def _field(
    name: str, field: schema_pb2.FieldSchema, *, auto_id: bool = False
) -> Iterator[tuple[str, str]]:
    kind = types.name_of(field.data_type)
    if field.element_type:
        kind = f"{kind} of {types.name_of(field.element_type)}"
    yield name, kind
    vector = types.is_vector(field.data_type)
    marks = {
        "primary_key": field.is_primary_key,
        "auto_id": field.autoID or (field.is_primary_key and auto_id),
        "partition_key": field.is_partition_key,
        "clustering_key": field.is_clustering_key,
        "nullable_vector" if vector else "nullable": field.nullable,
    }
    for mark in (mark for mark, has in marks.items() if has):
        yield f"{name}.{mark}", "yes"
    for pair in field.type_params:
        of_items = pair.key == "max_length" and field.element_type
        yield f"{name}.{'item_max_length' if of_items else pair.key}", pair.value
    if field.HasField("default_value"):
        value = str(field.default_value).strip().partition(": ")[2]
        yield f"{name}.default_value", value
    if field.description:
        yield f"{name}.description", field.description
    yield from _unknown(f"{name}.", field)


def _unknown(prefix: str, message: Message) -> Iterator[tuple[str, str]]:
    """Yields the protocol fields that this Kitelift does not know; they are copied unchanged."""
    for number in sorted({field.field_number for field in UnknownFieldSet(message)}):
        yield f"{prefix}unknown_{number}", "yes"


def _function(function: schema_pb2.FunctionSchema) -> str:
    inputs, outputs = (
        ", ".join(names) for names in (function.input_field_names, function.output_field_names)
    )
    params = _pairs(tuple((pair.key, pair.value) for pair in function.params))
    kind = _named(FUNCTIONS, function.type)
    return " ".join(filter(None, [f"{kind}: {inputs} -> {outputs}", params]))


def index_words(index: Index) -> str:
    """Returns the field, type, metric and parameters of an index as text."""
    params = dict(index.params)
    kind, metric = params.pop("index_type", ""), params.pop("metric_type", "")
    rest = _pairs(tuple(params.items()))
    return " ".join(filter(None, [f"on {index.field}:", kind, metric, rest]))


def _partitions(described: Description) -> str:
    if described.partition_key:
        return f"{described.partition_count} by key {described.partition_key}"
    return ", ".join(sorted(described.partitions)) or str(described.partition_count)


def _property(key: str) -> str:
    return "ttl" if key == TTL else key


def _named(names: tuple[str, ...], value: int) -> str:
    return names[value] if value < len(names) else f"number {value}"


def _pairs(pairs: Pairs) -> str:
    return " ".join(f"{key}={value}" for key, value in pairs)
