"""The fake follows the rules of the release that it claims, rule by rule and line by line.

The cases are in tests/fakes/cases; each names a rule of tests/fakes/rules.py and what releases
answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from tests.fakes import rules
from tests.fakes.answers.asking import Asker
from tests.fakes.cases.collections import collections
from tests.fakes.cases.lines import Case, Line
from tests.fakes.cases.reads import reads
from tests.fakes.cases.writes import writes
from tests.fakes.milvus import FakeMilvus

CASES = (*reads, *collections, *writes)

QUESTIONS = [
    pytest.param(case, version, id=f"{case.ask.__name__}-{version}")
    for case in CASES
    for version in case.answers
]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Line]]:
    """A server of each release that was asked, and who asks it."""
    made: dict[str, Line] = {}
    yield made
    for line in made.values():
        line.asker.close()
        line.server.__exit__()


@pytest.fixture
def line(version: str, servers: dict[str, Line]) -> Line:
    if version not in servers:
        server = FakeMilvus(version).__enter__()
        servers[version] = Line(version, server, Asker(server.url, settle=lambda seconds: None))
    servers[version].server.reset()
    return servers[version]


@pytest.mark.parametrize(("case", "version"), QUESTIONS)
def test_each_release_answers_by_its_rules(case: Case, version: str, line: Line) -> None:
    assert case.ask(line) == case.answers[version]


def test_every_rule_is_shown_by_a_case() -> None:
    assert {case.rule for case in CASES} == {rule.name for rule in rules.TABLE}


@pytest.mark.parametrize("rule", rules.TABLE, ids=lambda rule: rule.name)
def test_the_cases_of_a_rule_show_where_it_holds_and_where_not(rule: rules.Rule) -> None:
    versions = {version for case in CASES if case.rule == rule.name for version in case.answers}
    assert {bool(getattr(rules.rules_of(each), rule.name)) for each in versions} == {True, False}


@cache
def _source() -> str:
    return "\n".join(
        path.read_text("utf-8")
        for path in rules.HERE.rglob("*.py")
        if path.name != "rules.py" and "cases" not in path.parts
    )


@pytest.mark.parametrize("rule", rules.TABLE, ids=lambda rule: rule.name)
def test_the_fake_asks_for_every_rule(rule: rules.Rule) -> None:
    assert f"rules.{rule.name}" in _source() or f'"{rule.name}":' in _source()
