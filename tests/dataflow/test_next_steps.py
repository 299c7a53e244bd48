"""Each "Next:" line is followed: what it says to run changes the outcome to proven."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, reads, row, rows, writes
from tests.fakes.memory import Row
from tests.fakes.script import REFUSED, Fault

pytestmark = pytest.mark.slow

COUNT = 20
LATER, EXTRA = COUNT, 1_000

NO_ROOM = Fault(code=3, text="memory limit exceeded")


def other_row(key: int) -> Row:
    return row(key) | {"title": "another title"}


@dataclass(frozen=True)
class Case:
    """A job that does not end proven, and how its next step is followed.

    Attributes:
        spoil: what goes wrong, before the run.
        begin: commands that lead to the step, with their exit codes.
        step: what the step says.
        fix: what the user does first, because the step says so.
        command: what the step says to run; "" for the same command.
    """

    step: str
    spoil: Callable[[Job], Any] = lambda job: None
    begin: tuple[tuple[str, int], ...] = (("run", 4),)
    between: Callable[[Job], Any] = lambda job: None
    fix: Callable[[Job], Any] = lambda job: None
    command: str = ""
    version: str = "v2.3.7"


def during(job: Job, change: Callable[[], Any]) -> None:
    """Changes the source once, while its rows are read."""
    done: list[Any] = []

    def once(request: Any) -> bool:
        if "title" in request.output_fields and not done:
            done.append(True)
            change()
        return False

    job.source.fails("Query", REFUSED, when=once)


def compact(job: Job) -> None:
    job.source["docs"].delete(f"id >= {COUNT - 3}")
    job.source["docs"].compact()


def heal(job: Job) -> None:
    job.source.heal()
    job.target.heal()


def set_key(**keys: Any) -> Callable[[Job], None]:
    return lambda job: job.env.update(keys)


def without_indexes(job: Job) -> None:
    job.to_sink["create_index"] = False


def reject(job: Job) -> None:
    job.env["max_rejected"] = 1
    for method in ("Insert", "Upsert"):
        job.target.fails(method, REFUSED, when=writes(4), times=None)


PROVEN = ("run", 0)

CASES = {
    "a range that was not copied": Case(
        "copies only the missing part of docs",
        lambda job: job.source.fails("Query", REFUSED, when=reads(7), times=None),
        fix=heal,
    ),
    "no room to load": Case(
        "All rows of docs are in the target, but not proven",
        lambda job: job.target.fails("LoadCollection", NO_ROOM, times=None),
        fix=heal,
    ),
    "a comparison that failed": Case(
        "Run `kitelift verify`: it retries the failed comparisons",
        lambda job: job.target.fails("Query", REFUSED, when=is_page, times=None),
        fix=heal,
        command="verify",
    ),
    "rows that only the target has": Case(
        "run `kitelift sync --delete`",
        begin=(PROVEN, ("verify", 4)),
        between=lambda job: job.target["docs"].insert([row(EXTRA)]),
        command="sync --delete",
    ),
    "a row that differs": Case(
        "run `kitelift sync`",
        begin=(PROVEN, ("verify", 4)),
        between=lambda job: job.target["docs"].upsert([other_row(7)]),
        command="sync",
    ),
    "rows that differ, and others that only the target has": Case(
        "Rows that exist only in the target remain, unless you run `kitelift sync --delete`",
        begin=(PROVEN, ("verify", 4)),
        between=lambda job: (
            job.target["docs"].upsert([other_row(7)]),
            job.target["docs"].insert([row(EXTRA)]),
        ),
        command="sync --delete",
    ),
    "a rejected row": Case(
        "run `kitelift replay` to resend the rows",
        reject,
        fix=heal,
        command="replay",
    ),
    "a source that changed during the copy": Case(
        "run `kitelift sync` to copy them",
        lambda job: during(job, lambda: job.source["docs"].insert([row(LATER)])),
        begin=(PROVEN,),
        command="sync",
        version="v2.5.27",
    ),
    "rows that vanished": Case(
        "Run `kitelift sync`: it compares the target with the current source",
        lambda job: during(job, lambda: compact(job)),
        command="sync",
        version="v2.5.27",
    ),
    "an index that the target does not create": Case(
        "The target lacks indexes or aliases",
        lambda job: job.target.fails("CreateAlias", REFUSED, when=is_live, times=None),
        fix=heal,
    ),
    "rows that were only counted": Case(
        'Run `kitelift verify` with `env.verify = "full"`',
        set_key(verify="count"),
        begin=(PROVEN,),
        fix=set_key(verify="full"),
        command="verify",
    ),
    "a target without indexes": Case(
        "Create the indexes in the target",
        without_indexes,
        begin=(PROVEN,),
        fix=lambda job: job.target["docs"].index("vector", "vector", []),
        command="verify",
    ),
    "a copy that was verified again": Case(
        "To find and copy later writes, run `kitelift sync`",
        begin=(PROVEN, ("verify", 0)),
        fix=lambda job: job.source["docs"].insert([row(LATER)]),
        command="sync",
    ),
}


def is_page(request: Any) -> bool:
    return "title" in request.output_fields


def is_live(request: Any) -> bool:
    return bool(request.alias == "live")


@pytest.fixture
def copying(case: str, tmp_path: Path) -> Iterator[Job]:
    version = CASES[case].version
    with between_fakes(tmp_path, source_version=version, target_version=version) as job:
        job.source.create(schema(), rows(COUNT)).aliases.append("live")
        yield job


@pytest.mark.parametrize("case", CASES)
def test_following_the_next_step_leads_to_a_proven_target(case: str, copying: Job) -> None:
    of_case, job = CASES[case], copying
    of_case.spoil(job)
    for number, (command, code) in enumerate(of_case.begin):
        if number:
            of_case.between(job)
        assert job.run(command) == code
    before = job.report["next"]
    [step] = [step for step in before if of_case.step in step]
    named = re.findall(r"`kitelift ([a-z -]+)`", " ".join(before))
    assert of_case.command in named if of_case.command else "same command" in step
    of_case.fix(job)
    assert job.run(*(of_case.command or "run").split()) == 0
    assert job.report["outcome"] == "proven"
    assert job.report["next"] != before
    assert job.target.keys("docs") == sorted({*job.source.keys("docs")})
