"""Whether a collection of the target is the source's own, from what two servers say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.planning import same_collection
from pipeline.planning.cluster_survey import ClusterSurvey
from pipeline.planning.same_collection import Match, Servers
from tests.clusters import described, job, schema, side
from transforms.errors import Unreachable
from transforms.milvus.endpoint import Endpoint

MS = 1 << 18
"""One millisecond of Milvus' clock."""

ONE, OTHER = Endpoint("http://10.0.0.1:19530"), Endpoint("http://10.0.0.2:19530")


class Clocks:
    """Stands in for the client: each server, by its url, hands out timestamps of its own."""

    def __init__(self, **of: Iterator[int]) -> None:
        self._of = of

    def __call__(self, endpoint: Endpoint, *_: Any) -> Any:
        self._url = endpoint.url
        of, host = self._of, endpoint.url

        class Client:
            created = staticmethod(lambda name: 0)

            @staticmethod
            def timestamp() -> int:
                return next(of["one" if host == ONE.url else "other"])

            @staticmethod
            def close() -> None: ...

        return Client()


def clocks(monkeypatch: pytest.MonkeyPatch, one: Iterator[int], other: Iterator[int]) -> None:
    monkeypatch.setattr(same_collection, "Client", Clocks(one=one, other=other))


# Servers


def test_one_clock_behind_two_addresses_is_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1_000 * MS, 3)
    clocks(monkeypatch, clock, clock)
    assert same_collection.compare_servers(ONE, OTHER).answer == "same"


@pytest.mark.parametrize("ahead", [0, 1, -1, 7 * MS, -7 * MS, 3_600_000 * MS, -3_600_000 * MS])
def test_a_clone_has_a_clock_of_its_own(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    clocks(monkeypatch, itertools.count(10**7 * MS), itertools.count(10**7 * MS + ahead))
    assert same_collection.compare_servers(ONE, OTHER).answer == "different"


def test_far_apart_answers_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call takes longer than a clock window: two clocks that agree would rise, too."""
    clock = itertools.count(1_000 * MS, 80 * MS)
    clocks(monkeypatch, clock, clock)
    assert same_collection.compare_servers(ONE, OTHER) == Servers(
        "unknown", "Kitelift cannot find out whether both urls lead to one server"
    )


def test_servers_without_timestamps_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks(monkeypatch, itertools.repeat(0), itertools.repeat(0))
    assert same_collection.compare_servers(ONE, OTHER).answer == "unknown"


def test_a_server_that_does_not_answer_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Iterator[int]:
        yield 1_000 * MS
        raise Unreachable("http://10.0.0.1:19530", "Connect", "connection refused")

    clocks(monkeypatch, away(), itertools.count(1_000 * MS + 1, 10))
    assert same_collection.compare_servers(ONE, OTHER).answer == "unknown"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:19530", "http://127.0.0.1:19530"),
        ("http://127.0.0.1", "tcp://0.0.0.0:19530"),
        ("http://milvus.invalid:19530", "http://MILVUS.invalid.:19530"),
        ("https://milvus.invalid", "https://milvus.invalid:443"),
        ("http://10.0.0.1:19530", "http://[::ffff:10.0.0.1]:19530"),
    ],
)
def test_an_address_has_many_spellings(
    monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    clocks(monkeypatch, itertools.repeat(0), itertools.repeat(0))
    found = same_collection.compare_servers(Endpoint(one), Endpoint(other))
    assert found.answer == "same" or found.near


def test_two_ports_are_two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks(monkeypatch, itertools.repeat(0), itertools.repeat(0))
    there = Endpoint("http://127.0.0.1:19531")
    found = same_collection.compare_servers(Endpoint("http://localhost:19530"), there)
    assert (found.answer, found.near) == ("unknown", False)


def test_two_names_of_one_address_may_be_two_servers_behind_an_ingress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks(monkeypatch, itertools.repeat(0), itertools.repeat(0))
    monkeypatch.setattr(same_collection, "_resolved", lambda address: {("10.0.0.9", address[1])})
    found = same_collection.compare_servers(
        Endpoint("https://a.invalid"), Endpoint("https://b.invalid")
    )
    assert found == Servers("unknown", "both urls resolve to 10.0.0.9:443", near=True)


def test_files_are_told_by_their_folder(tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    one, link = Endpoint(f"parquet:{tmp_path}"), Endpoint(f"parquet:{tmp_path}/link")
    assert same_collection.compare_servers(one, link).answer == "same"
    assert (
        same_collection.compare_servers(one, Endpoint(f"parquet:{tmp_path}/b")).answer
        == "different"
    )
    assert same_collection.compare_servers(one, ONE).answer == "different"


# Collections

SAME, DIFFERENT = Servers("same", "they are one"), Servers("different")
UNKNOWN, NEAR = Servers("unknown", "who knows"), Servers("unknown", "who knows", near=True)
DOCS, UNNUMBERED = described(), described(collection_id=0)


def found(
    monkeypatch: pytest.MonkeyPatch,
    servers: Servers,
    source: ClusterSurvey,
    target: ClusterSurvey,
    sink: str = "",
    created: tuple[int, int] = (0, 0),
) -> dict[str, Match]:
    monkeypatch.setattr(same_collection, "compare_servers", lambda *_: servers)
    times = iter(created)

    class Client:
        def __init__(self, *_: Any) -> None: ...

        def created(self, name: str) -> int:
            return next(times)

        def close(self) -> None: ...

    monkeypatch.setattr(same_collection, "Client", Client)
    return same_collection.find_matches(job(sink=sink), source, target, tuple(source.names))


@pytest.mark.parametrize(
    ("servers", "source", "target", "certain"),
    [
        (SAME, DOCS, DOCS, True),
        (SAME, DOCS, described(collection_id=448), None),
        (DIFFERENT, DOCS, DOCS, None),  # a clone
        (UNKNOWN, DOCS, DOCS, False),
        (NEAR, DOCS, DOCS, False),
        (UNKNOWN, DOCS, described(collection_id=448), None),
        # milvus-lite
        (SAME, UNNUMBERED, UNNUMBERED, True),
        (NEAR, UNNUMBERED, UNNUMBERED, False),
        (UNKNOWN, UNNUMBERED, UNNUMBERED, None),
        (UNKNOWN, DOCS, UNNUMBERED, None),
    ],
)
def test_two_signs_decide(monkeypatch, servers, source, target, certain: bool | None) -> None:
    matches = found(monkeypatch, servers, side(source), side(target))
    assert (matches["docs"].certain if matches else None) == certain


def test_a_match_says_both_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    [match] = found(monkeypatch, SAME, side(DOCS), side(DOCS)).values()
    assert match.why == "both have the collection id 447, and they are one"
    [match] = found(monkeypatch, SAME, side(UNNUMBERED), side(UNNUMBERED)).values()
    assert match.why == "both are docs in database default, and they are one"


def test_equal_ids_of_collections_made_at_other_times_are_a_coincidence(monkeypatch) -> None:
    assert not found(monkeypatch, UNKNOWN, side(DOCS), side(DOCS), created=(5, 6))
    assert found(monkeypatch, UNKNOWN, side(DOCS), side(DOCS), created=(5, 5))
    assert found(monkeypatch, SAME, side(DOCS), side(DOCS), created=(5, 6))


def test_another_name_on_one_server_is_another_collection(monkeypatch) -> None:
    both = side(DOCS, described(schema("docs_v2"), collection_id=448))
    source = side(DOCS)
    assert not found(monkeypatch, SAME, source, both, "collection_rename { docs = docs_v2 }")


def test_a_target_that_another_collection_is_read_from_is_found(monkeypatch) -> None:
    both = side(DOCS, described(schema("papers"), collection_id=448))
    swap = "collection_rename { docs = papers, papers = docs }"
    assert set(found(monkeypatch, SAME, both, both, swap)) == {"docs", "papers"}


@pytest.mark.parametrize(("listed", "certain"), [(("default", "copy"), None), (("default",), True)])
def test_databases_that_a_server_does_not_list_may_be_one(monkeypatch, listed, certain) -> None:
    source = side(UNNUMBERED, databases=listed)
    matches = found(monkeypatch, SAME, source, side(UNNUMBERED), "database = copy")
    assert (matches["docs"].certain if matches else None) == certain
