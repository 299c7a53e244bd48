"""The long form of tests/end_to_end/test_faults.py; writes its figures into docs/reliability.md.

make chaos                                          # 100 kills of a copy of 200,000 rows
make chaos CHAOS_ARGS="--kills=10 --rows=20000"
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import kitelift, servers, zoo
from tests.end_to_end.conftest import Desk, open_desk
from tests.end_to_end.test_faults import FAULTS, ledger, spoil, wait_for_progress, writing
from tests.fakes.proxy import Proxy
from tests.fakes.script import Fault
from tests.servers import Milvus, Server

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end -->\n"
SHARES = (0.01, 0.2)


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    what: str
    rows: int
    faults: str
    seconds: float
    found: str

    def __str__(self) -> str:
        return (
            f"| {self.what} | {self.rows:,} | {self.faults} | {self.seconds:,.0f} s "
            f"| {self.found} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = Path(scratch)
        pair = Milvus(folder / "source"), Milvus(folder / "target")
        with servers.started(*pair) as (source, target):
            for line in measured(folder, source, target, arguments.rows, arguments.kills):
                print(line, flush=True)
                lines.append(line)
    record(lines)


def measured(folder: Path, source: Server, target: Server, rows: int, kills: int) -> Iterator[Line]:
    for share in SHARES:
        with open_desk(folder / f"faults-{share}", source, target, "faults") as desk:
            yield from spoilt(desk, source, target, rows, share)
    with open_desk(folder / "kills", source, target, "kills") as desk:
        yield killed(desk, target, rows, kills)


def spoilt(desk: Desk, source: Server, target: Server, rows: int, share: float) -> Iterator[Line]:
    """One job of one collection for each fault."""
    each = rows // len(FAULTS)
    for name in FAULTS:
        zoo.numbers(desk.source, f"{name}_", rows=each)
    with Proxy(source.address, seed=1) as left, Proxy(target.address, seed=2) as right:
        for proxy in (left, right):
            spoil(proxy, share)
        conf = kitelift.write_job(
            desk.folder,
            left.url,
            right.url,
            [f"{name}_" for name in FAULTS],
            env={"parallelism": 4, "job.name": "job"},
            source={"database": desk.database, "batch_size": 1_000},
            sink={"database": desk.database, "batch_size": 200},
        )
        ended = kitelift.run(conf, "--quiet", timeout_s=3_600)
        calls = sum((left.calls + right.calls).values())
        failed = sum((left.spoilt + right.spoilt).values())
    found = [line for name in FAULTS for line in desk.differences(f"{name}_")]
    counted = sum(desk.count(f"{name}_") for name in FAULTS)
    right_count = counted == each * len(FAULTS)
    equal = "equal" if ended.code == 0 and not found and right_count else f"NOT EQUAL {found}"
    yield Line(
        f"{len(FAULTS)} kinds of fault, each at {share:.0%} of the calls for its collection",
        counted,
        f"{failed:,} of {calls:,} calls disturbed",
        ended.seconds,
        equal,
    )


def killed(desk: Desk, target: Server, rows: int, kills: int) -> Line:
    """Kills a copy at random times, each time after it has got a little further."""
    dice = random.Random(1)
    zoo.numbers(desk.source, "docs", rows=rows)
    began = time.monotonic()
    with Proxy(target.address) as slow:
        # So slow that all kills come before the end, on a busy machine too.
        slow.spoils(Fault(delay_s=2_500 * kills / rows), share=1.0, when=writing)
        conf = kitelift.write_job(
            desk.folder,
            desk.source_url,
            slow.url,
            ["docs"],
            env={"parallelism": 1, "job.name": "job"},
            source={"database": desk.database},
            sink={"database": desk.database, "batch_size": 200},
        )
        for _ in range(kills):
            run = kitelift.start(conf, "--quiet")
            wait_for_progress(run, ledger(desk))
            time.sleep(dice.uniform(0, 0.5))
            run.kill()
        slow.heal()
        ended = kitelift.run(conf, "--quiet", timeout_s=3_600)
    found, counted = desk.differences("docs"), desk.count("docs")
    equal = "equal" if ended.code == 0 and not found and counted == rows else f"NOT EQUAL {found}"
    return Line(
        "kill -9 at random times", counted, f"{kills} kills", time.monotonic() - began, equal
    )


def record(lines: list[Line]) -> None:
    """Writes the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "| what | rows | faults | time | independent comparison, and count(*) |\n"
    table = head + "| --- | ---: | --- | ---: | --- |\n" + "".join(f"{line}\n" for line in lines)
    PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
