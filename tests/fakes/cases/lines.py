"""Cases: what a rule means in an answer, and what each release answers.

    @cases.of("pins_iterators", by_line(3, 3, 0, 0, 0))
    def rows_at_timestamp_2(line: Line) -> object: ...

A case names the rule that it shows and what releases answer: those of the five lines, and releases
on both sides of where the rule changes within a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from pymilvus.grpc_gen import schema_pb2

from tests.fakes.answers.asking import Answer, Asker, longs, vectors
from tests.fakes.milvus import FakeMilvus

LINES = ("2.3.22", "2.4.24", "2.5.27", "2.6.19", "3.0.0")

NAME = "docs"


@dataclass(frozen=True)
class Line:
    """A fake of one release, and who asks it."""

    version: str
    server: FakeMilvus
    asker: Asker

    def ready(self, *fields: schema_pb2.FieldSchema, rows: int = 0, **create: Any) -> None:
        """Creates the collection `docs` with these fields, indexed and loaded."""
        self.asker.ready(NAME, fields, rows=rows, **create)

    def insert(self, *keys: int, value: float = 0.5) -> Answer:
        """Inserts rows with these keys and equal vectors."""
        return self.asker.insert(NAME, longs("id", keys), vectors("v", len(keys), value=value))

    def query(self, *columns: str, where: str = "id >= 0", **how: Any) -> Answer:
        """Queries the collection, for its keys if nothing else is named."""
        return self.asker.query(NAME, where, columns or ["id"], **how)

    def keys(self, **how: Any) -> list[int]:
        """Returns the keys that a page shows."""
        return list(column(self.query(**{"limit": 1000, **how}), "id").scalars.long_data.data)

    def count(self, **how: Any) -> int:
        """Returns `count(*)`."""
        answer = self.query("count(*)", **how)
        return int(column(answer, "count(*)").scalars.long_data.data[0])

    def snapshot(self) -> int:
        """Returns a timestamp after all writes so far: that of a Strong query, or of the server."""
        answer = self.query(limit=1, iterator=True)
        return int(answer.session_ts or self.server.clock.now())


@dataclass(frozen=True)
class Case:
    """A question about one rule, and the answers by release."""

    rule: str
    ask: Callable[[Line], object]
    answers: Mapping[str, object]


class Cases:
    """A list of cases, filled by a decorator."""

    def __init__(self) -> None:
        self._cases: list[Case] = []

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def of(
        self, rule: str, *answers: Mapping[str, object]
    ) -> Callable[[Callable[[Line], object]], Callable[[Line], object]]:
        """Adds a function as a case of a rule; answers are by release."""

        def add(ask: Callable[[Line], object]) -> Callable[[Line], object]:
            merged = {version: answer for part in answers for version, answer in part.items()}
            self._cases.append(Case(rule, ask, merged))
            return ask

        return add


def by_line(*answers: object) -> dict[str, object]:
    """Returns what each of the five lines answers, from 2.3 to 3.0."""
    return dict(zip(LINES, answers, strict=True))


def around(first: str, before: object, release: str, after: object) -> dict[str, object]:
    """Returns what the last release before a change and the first one after it answer."""
    return {first: before, release: after}


def code(answer: Answer) -> object:
    """Returns the code of an answer, or the name of gRPC's."""
    if isinstance(answer, grpc.RpcError):
        return answer.code().name
    return int(getattr(answer, "status", answer).code)


def flagged(answer: Answer) -> bool:
    """Whether an answer says that the caller is to blame."""
    return dict(getattr(answer, "status", answer).extra_info) == {"is_input_error": "true"}


def column(answer: Answer, name: str) -> schema_pb2.FieldData:
    """Returns a column of an answer."""
    assert not answer.status.code, answer.status.reason
    [found] = [data for data in answer.fields_data if data.field_name == name]
    return found
