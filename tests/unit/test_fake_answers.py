"""A fake that claims a release answers as a real server of that release did.

What it does not model is listed by name, with the reason. A name on the list whose answers agree
fails its test, so that the list only gets shorter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.answers import probe
from tests.fakes.answers.asking import Asker
from tests.fakes.milvus import FakeMilvus

VERSIONS = {"2.3.5": "v2.3.5-lite", "2.5.27": "2.5.27", "2.6.19": "2.6.19"}
"""Recordings, and how their servers spell their version."""

FLUSH_INTERVAL_S = 10.0

_SAMPLING = "random_sample is not modelled: it is random, and Kitelift does not use it"
_ANALYZER = "TEXT_MATCH is not modelled: it needs the analyzers of texts"
_UNKNOWN = "the real server showed no row; whether it refused the insert was not recorded"

NOT_MODELLED: dict[str, dict[str, str]] = {
    "2.3.5": {"query.random_sample": _SAMPLING, "query.page_of_all_columns": _UNKNOWN},
    "2.5.27": {"query.random_sample": _SAMPLING, "newer.bm25.match": _ANALYZER},
    "2.6.19": {"query.random_sample": _SAMPLING, "newer.bm25.match": _ANALYZER},
}

GROUPS = tuple(dict.fromkeys(step.group for step in probe.STEPS))


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def real(version: str) -> probe.Answers:
    return probe.recorded(version)


@pytest.fixture(scope="module")
def fake(version: str) -> Iterator[probe.Answers]:
    with FakeMilvus(VERSIONS[version]) as server:
        server.flush_interval_s = FLUSH_INTERVAL_S
        asker = Asker(server.url, settle=lambda seconds: None)
        yield {(step.group, step.name): answer for step, answer in probe.ask(asker)}
        asker.close()


def test_every_question_was_asked_of_the_real_server(real: probe.Answers) -> None:
    assert [*real] == [(step.group, step.name) for step in probe.STEPS]


@pytest.mark.parametrize("group", GROUPS)
def test_the_fake_answers_as_the_real_server(
    group: str, version: str, real: probe.Answers, fake: probe.Answers
) -> None:
    differing = {
        f"{group}.{name}": f"\nreal {json.dumps(one)}\nfake {json.dumps(other)}"
        for name, one, other in _parts(group, real, fake)
        if one != other
    }
    listed = {name for name in NOT_MODELLED[version] if name.startswith(f"{group}.")}
    unexpected = [f"{name}: {differing[name]}" for name in differing if name not in listed]
    assert not unexpected, "\n".join(unexpected)
    assert not listed - differing.keys(), "these agree now: take them off the list"


def _parts(group: str, real: probe.Answers, fake: probe.Answers) -> Iterator[tuple[str, Any, Any]]:
    """Yields the answers of one group side by side, those of several calls one by one."""
    for (of, name), answer in real.items():
        if of != group:
            continue
        other = fake[of, name]
        if "status" in answer or not all(isinstance(part, dict) for part in answer.values()):
            yield name, answer, other
        else:
            for part in {**answer, **other}:
                yield f"{name}.{part}", answer.get(part), other.get(part)
