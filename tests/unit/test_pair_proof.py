"""The specimens of `doctor --prove`: which servers get which, and how collections are compared."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus.client.prepare import Prepare

from pipeline.commands.pair_proof import specimen_comparison
from pipeline.commands.pair_proof.prove import ALL
from pipeline.commands.pair_proof.results import SpecimenResult, compatibility_row
from pipeline.commands.pair_proof.specimen import Specimen
from pipeline.commands.pair_proof.specimens import SPECIMENS
from transforms.milvus import features, types
from transforms.milvus.description import Description
from transforms.milvus.versions import Version, parse, release

LITE = parse("3.2.2 (milvus_lite)", "milvus_lite-3.2.2")
VERSIONS = [
    *map(release, ("2.3.5", "2.4.0", "2.4.24", "2.5.0", "2.5.27", "2.6.0", "2.6.19", "3.0.0")),
    LITE,
    Version("a managed service"),
]


def described(specimen: Specimen) -> Description:
    """The specimen as a server would describe it."""
    request = Prepare.create_collection_request("any", specimen.schema(), **specimen.creation)
    properties = tuple(specimen.creation.get("properties", {}).items())
    return Description("any", 1, request.schema, 1, 1, 1, properties)


def field_types(specimen: Specimen) -> set[int]:
    message = described(specimen).message
    subs = [sub for struct in message.struct_array_fields for sub in struct.fields]
    fields = [*message.fields, *subs]
    return {field.data_type for field in fields} | {field.element_type for field in fields} - {0}


def chosen(version: Version) -> list[Specimen]:
    return [specimen for specimen in ALL if not specimen.unknown_to(version)]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_server_never_gets_what_it_does_not_support(version: Version) -> None:
    trusted = version if version.known else release("2.3.7")
    for specimen in chosen(version):
        kinds = [types.BY_NUMBER[number] for number in field_types(specimen)]
        if version.lite:
            assert [kind.name for kind in kinds if not kind.lite] == [], specimen.name
        else:
            newer = [kind.name for kind in kinds if kind.since > (trusted.number or (0, 0, 0))]
            assert newer == [], specimen.name
        assert [name for name, _ in features.lost_by(described(specimen), trusted)] == []
        for index in specimen.indexes_for([version]):
            assert index.known_to(version) or index.kind == "FLAT"


def test_newer_servers_get_more_and_the_newest_everything() -> None:
    versions = ("2.3.7", "2.4.9", "2.5.5", "2.6.1", "3.0.0")
    counts = [len(chosen(release(version))) for version in versions]
    assert counts == sorted(set(counts))
    assert chosen(release("2.3.5")) == list(SPECIMENS)
    assert chosen(release("3.0.0")) == list(ALL)
    assert chosen(Version("")) == list(SPECIMENS)


def test_specimens_have_unique_names_and_always_the_same_rows() -> None:
    assert len({specimen.name for specimen in ALL}) == len(ALL)
    for specimen in ALL:
        assert str(specimen.written()) == str(specimen.written())


def test_every_type_that_is_copied_is_in_a_specimen() -> None:
    covered = {number for specimen in ALL for number in field_types(specimen)}
    carried = {kind.number for kind in types.TABLE if types.can_copy(kind.number)}
    sums = {types.BY_NAME["ArrayOfStruct"].number, types.BY_NAME["ArrayOfVector"].number}
    assert carried - sums - covered == set()


def test_what_is_deleted_is_not_expected_in_the_source() -> None:
    keys = {specimen.name: specimen_comparison.keys_by_partition(specimen) for specimen in ALL}
    assert keys["deleted_rows"] == {"_default": set(range(50, 300))}
    assert len(keys["duplicate_keys"]["_default"]) == 300
    assert keys["no_rows"] == {}
    assert {name: len(of) for name, of in keys["equal_keys"].items()} == {"left": 100, "right": 100}


class Collection:
    """A collection as `comparison` reads it, without a server."""

    def __init__(self, rows: dict[Any, Any], shape: dict[str, Any], count: int = 0) -> None:
        self._rows, self._shape, self._count = rows, shape, count or len(rows)
        self.partitions = ["_default"]
        self.stored = {"id", "number", "vector"}

    def shape(self) -> dict[str, Any]:
        return self._shape

    def rows(self, partition: str | None) -> dict[Any, Any]:
        return self._rows

    def count(self, partition: str | None) -> int:
        return self._count


def rows(specimen: Specimen) -> dict[Any, dict[str, Any]]:
    return {row["id"]: dict(row) for step in specimen.written() for row in step.rows}


PLAIN = next(specimen for specimen in ALL if specimen.name == "duplicate_keys")
SHAPE = {"description": "", "index on vector: M": "8", "field id: auto_id": True}


def differences(source: Collection, target: Collection) -> list[str]:
    return list(specimen_comparison.differences(PLAIN, source, target))  # type: ignore[arg-type]


def test_equal_collections_have_no_differences() -> None:
    newer = {**SHAPE, "property timezone": "UTC", "field id: auto_id": False}
    assert differences(Collection(rows(PLAIN), SHAPE), Collection(rows(PLAIN), newer)) == []


def test_differences_are_named() -> None:
    spoilt = rows(PLAIN)
    spoilt[7]["number"] = 7.0
    del spoilt[8]
    spoilt[-1] = spoilt[9]
    sentences = differences(
        Collection(rows(PLAIN), SHAPE), Collection(spoilt, {"description": "x"}, count=301)
    )
    assert sentences == [
        "description: '' in the source, 'x' in the target",
        "index on vector: M: '8' in the source, nothing in the target",
        "field id: auto_id: True in the source, nothing in the target",
        "1 key is missing in the target: 8",
        "1 key is only in the target: -1",
        "key 7: number is 7, in the target 7.0",
        "301 rows in the target, 300 keys in the source",
    ]


def test_a_source_that_is_not_fully_read_is_no_proof() -> None:
    part = dict(list(rows(PLAIN).items())[:10])
    assert differences(Collection(part, SHAPE), Collection(part, SHAPE)) == [
        "300 keys were written into the source, 10 were read from it"
    ]
    thin = {key: {"id": key, "vector": row["vector"]} for key, row in rows(PLAIN).items()}
    assert differences(Collection(thin, SHAPE), Collection(thin, SHAPE)) == [
        "the source returns rows without number, which was not compared"
    ]


def test_the_row_for_the_docs_counts_what_was_tried() -> None:
    results = [
        SpecimenResult("a", "equal", ""),
        SpecimenResult("b", "differs", ""),
        SpecimenResult("c", "not tried", ""),
        SpecimenResult("d", "unknown", ""),
    ]
    row = compatibility_row(results, (release("2.3.22"), release("2.6.19")), 41.2)
    assert row.startswith("| 2.3.22 | 2.6.19 | run | 20")
    assert row.endswith(" | `kitelift doctor --prove`, 1 of 2 collections equal, 41 s |")
