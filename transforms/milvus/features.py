"""What a collection has beside its rows, feature by feature, and which servers can hold it.

A feature has a name that `accept` can take: `ttl`, `shards`, `fields.title.max_length`. Servers
drop silently what they do not know, so the names of a collection before and after it was made are
all that is needed to tell what was lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pymilvus.grpc_gen import schema_pb2

from transforms.milvus import types
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.schema import sub_name
from transforms.milvus.versions import Version

CONSISTENCY = ("Strong", "Session", "Bounded", "Eventually", "Customized")
FUNCTIONS = ("unknown", "BM25", "TextEmbedding", "Rerank", "MinHash", "MolFingerprint")

_RATE = re.compile(r"collection\.(\w+Rate\.|diskProtection\.)")


@dataclass(frozen=True)
class Feature:
    """One kind of feature; `pattern` matches the names of those that are of it.

    Attributes:
        words: what it is, for docs and messages.
        since: the first Milvus that holds it; None where every version that is supported does.
        lite: whether milvus-lite 3.2.2 holds it; with `fixed` it holds a value of its own.
        needed: whether rows cannot be written without it, so that its loss cannot be accepted.
    """

    words: str
    pattern: str
    since: types.Version | None = None
    lite: bool = True
    fixed: bool = False
    needed: bool = False

    @property
    def name(self) -> str:
        """The form of its names: FIELD, NAME and the like stand for what the user has chosen.

        >>> kind_of("fields.note.nullable").name, kind_of("indexes.flat").name
        ('fields.FIELD.nullable', 'indexes.NAME')
        """
        form = self.pattern.replace("fields\\..*", "fields.FIELD", 1)
        form = form.replace("fields\\..+\\..+", "fields.FIELD.SETTING")
        form = form.replace("fields\\..+", "fields.FIELD").replace("\\..+", ".NAME")
        form = re.sub(r"\((.*)\|.*\)", r"\1", form)
        return "KEY" if form == ".+" else form.replace("\\", "")

    def matches(self, name: str) -> bool:
        """Whether a feature of this name is of this kind."""
        return re.fullmatch(self.pattern, name) is not None

    def held_by(self, version: Version) -> bool:
        """Whether a server holds it, as far as its version tells."""
        if version.lite:
            return self.lite
        return self.since is None or version.number is None or version.number >= self.since


# The first row whose pattern matches counts.
TABLE = (
    Feature("description of the collection", r"description", lite=False),
    Feature("description of a field", r"fields\..*\.description", lite=False),
    Feature("largest length of the texts of an array", r"fields\..*\.item_max_length", lite=False),
    Feature("default value", r"fields\..*\.default_value", (2, 3, 0)),
    Feature("clustering key", r"fields\..*\.clustering_key", (2, 4, 0), lite=False),
    Feature("nullable vector", r"fields\..*\.nullable_vector", (2, 6, 17), lite=False),
    Feature("nullable field", r"fields\..*\.nullable", (2, 5, 0)),
    Feature("key of the collection", r"fields\..*\.(primary_key|partition_key)", needed=True),
    Feature("dimension", r"fields\..*\.dim", needed=True),
    Feature("other setting of a field", r"fields\..+\..+"),
    Feature("field and its type", r"fields\..+", needed=True),
    Feature("BM25 function", r"functions\.bm25\..+", (2, 5, 0), needed=True),
    Feature("other function", r"functions\.other\..+", (2, 6, 0)),
    Feature("several vector fields", r"several_vectors", (2, 4, 0), needed=True),
    Feature("dynamic field", r"dynamic_field", needed=True),
    Feature("partitions", r"partitions", fixed=True),
    Feature("shards", r"shards", fixed=True),
    Feature("consistency level", r"consistency_level", fixed=True),
    Feature("alias", r"aliases\..+"),
    Feature("index", r"indexes\..+"),
    Feature("lifetime of rows", r"ttl"),
    Feature("time zone", r"timezone", (2, 6, 6)),
    Feature("other property", r".+"),
)


def kind_of(name: str) -> Feature:
    """Returns the kind of a feature.

    >>> kind_of("fields.note.nullable").words, kind_of("mmap.enabled").words
    ('nullable field', 'other property')
    """
    return next(kind for kind in TABLE if kind.matches(name))


def lost_by(described: Description, version: Version) -> Iterator[tuple[str, Feature]]:
    """Yields the features of a collection that a server of this version does not hold."""
    for name in listed(described):
        if not kind_of(name).held_by(version):
            yield name, kind_of(name)


def listed(described: Description) -> dict[str, str]:
    """Lists what a collection has: the name of each feature and its value in words."""
    return dict(_features(described))


def rate_limits(properties: Pairs) -> Pairs:
    """Returns the properties that limit rates and sizes: they fit one cluster, not the next.

    >>> rate_limits((("collection.insertRate.max.mb", "5"), ("collection.ttl.seconds", "60")))
    (('collection.insertRate.max.mb', '5'),)
    """
    return tuple(pair for pair in properties if _RATE.match(pair[0]))


def _features(described: Description) -> Iterator[tuple[str, str]]:
    message = described.message
    if message.description:
        yield "description", message.description
    yield from _fields(message)
    for function in message.functions:
        kind = "bm25" if function.type == schema_pb2.FunctionType.BM25 else "other"
        yield f"functions.{kind}.{function.name}", _function(function)
    for index in described.indexes:
        yield f"indexes.{index.name or index.field}", _index(index)
    if message.enable_dynamic_field:
        yield "dynamic_field", "yes"
    yield "partitions", _partitions(described)
    yield "shards", str(described.shards)
    yield "consistency_level", _named(CONSISTENCY, described.consistency_level)
    yield from ((f"aliases.{alias}", "yes") for alias in sorted(described.aliases))
    yield from ((_property(key), value) for key, value in described.properties)


def _fields(message: schema_pb2.CollectionSchema) -> Iterator[tuple[str, str]]:
    for field in message.fields:
        yield from _field(f"fields.{field.name}", field, auto_id=message.autoID)
    for struct in message.struct_array_fields:
        yield f"fields.{struct.name}", "ArrayOfStruct"
        for sub_field in struct.fields:
            yield from _field(f"fields.{struct.name}[{sub_name(sub_field.name)}]", sub_field)
    if sum(field.data_type >= schema_pb2.DataType.BinaryVector for field in message.fields) > 1:
        yield "several_vectors", "yes"


def _field(
    name: str, field: schema_pb2.FieldSchema, *, auto_id: bool = False
) -> Iterator[tuple[str, str]]:
    kind = types.name_of(field.data_type)
    if field.element_type:
        kind = f"{kind} of {types.name_of(field.element_type)}"
    yield name, kind
    vector = field.data_type >= schema_pb2.DataType.BinaryVector
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


def _function(function: schema_pb2.FunctionSchema) -> str:
    inputs, outputs = (
        ", ".join(names) for names in (function.input_field_names, function.output_field_names)
    )
    params = _pairs(tuple((pair.key, pair.value) for pair in function.params))
    kind = _named(FUNCTIONS, function.type)
    return " ".join(filter(None, [f"{kind}: {inputs} -> {outputs}", params]))


def _index(index: Index) -> str:
    params = dict(index.params)
    kind, metric = params.pop("index_type", ""), params.pop("metric_type", "")
    rest = _pairs(tuple(params.items()))
    return " ".join(filter(None, [f"on {index.field}:", kind, metric, rest]))


def _partitions(described: Description) -> str:
    if described.partition_key:
        return f"{described.partition_count} by key {described.partition_key}"
    return ", ".join(sorted(described.partitions)) or str(described.partition_count)


def _property(key: str) -> str:
    return "ttl" if key == "collection.ttl.seconds" else key


def _named(names: tuple[str, ...], value: int) -> str:
    return names[value] if value < len(names) else f"number {value}"


def _pairs(pairs: Pairs) -> str:
    return " ".join(f"{key}={value}" for key, value in pairs)
