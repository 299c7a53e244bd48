"""Turns runs into tables of medians and ratios. Has no side effects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contest import FIXED_ROWS, PHASES, Run

NAMES = {
    "floor": "floor: raw gRPC loop",
    "count": "Kitelift, counts compared",
    "full": "Kitelift, content compared",
    "script": "plain pymilvus script",
}


@dataclass(frozen=True)
class Figures:
    """The medians of one contestant on one data set, and its fixed cost."""

    rows: int
    bytes: int
    copy_s: float
    whole_s: float
    cpu_s: float
    peak_bytes: int
    planning_s: float
    phases: tuple[float, ...]
    fixed_s: float
    fixed_cpu_s: float

    @property
    def row_cpu_us(self) -> float:
        """CPU time per row in µs, without the CPU time of the tiny job."""
        return 1e6 * max(self.cpu_s - self.fixed_cpu_s, 0.0) / self.rows


def figures(runs: Iterable[tuple[Run, int]]) -> dict[str, Figures]:
    """Returns the medians of each contestant; a run of the tiny collection is its fixed cost."""
    by_name: dict[str, list[tuple[Run, int]]] = {}
    for run, size_bytes in runs:
        by_name.setdefault(run.contestant, []).append((run, size_bytes))
    return {name: _figures(group) for name, group in by_name.items()}


def _figures(runs: list[tuple[Run, int]]) -> Figures:
    tiny = [run for run, _ in runs if run.rows == FIXED_ROWS]
    counted = [run for run, _ in runs if run.rows != FIXED_ROWS]
    return Figures(
        rows=counted[0].rows,
        bytes=max(size_bytes for _, size_bytes in runs),
        copy_s=median(run.copy_s for run in counted),
        whole_s=median(run.whole_s for run in counted),
        cpu_s=median(run.cpu_s for run in counted),
        peak_bytes=int(median(run.peak_bytes for run in counted)),
        planning_s=median(run.planning_s for run in counted),
        phases=tuple(median(times) for times in zip(*(run.phases for run in counted), strict=True)),
        fixed_s=median(run.whole_s for run in tiny),
        fixed_cpu_s=median(run.cpu_s for run in tiny),
    )


def speeds(by_name: dict[str, Figures]) -> str:
    """Returns the table of time, CPU and memory of each contestant."""
    head = (
        *("", "copy", "rows/s", "MB/s", "whole", "client CPU", "CPU per GB"),
        *("CPU per row", "peak memory", "tiny job"),
    )
    lines = [
        (
            NAMES[name],
            f"{figures.copy_s:.1f} s",
            f"{figures.rows / figures.copy_s:,.0f}",
            f"{figures.bytes / figures.copy_s / 1e6:.0f}",
            f"{figures.whole_s:.1f} s",
            f"{figures.cpu_s:.1f} s",
            f"{figures.cpu_s / figures.bytes * 1e9:.1f} s",
            f"{figures.row_cpu_us:.1f} µs",
            f"{figures.peak_bytes / 1e6:.0f} MB",
            f"{figures.fixed_s:.1f} s, CPU {figures.fixed_cpu_s:.1f} s",
        )
        for name in NAMES
        if (figures := by_name.get(name))
    ]
    return table(head, lines)


def phases(by_name: dict[str, Figures]) -> str:
    """Returns the table of the phases of Kitelift."""
    lines = [
        (NAMES[name], *(f"{phase:.1f} s" for phase in by_name[name].phases))
        for name in NAMES
        if name in by_name and by_name[name].phases
    ]
    return table(("", *PHASES), lines)


def ratios(by_name: dict[str, Figures], name: str) -> str:
    """Returns the table of ratios of Kitelift to the other contestants, with the aims."""
    floor, script = by_name.get("floor"), by_name.get("script")
    lines = [
        line
        for kind, whole, cpu in (("count", 1.35, _cpu_target(name)), ("full", 1.6, 1 / 3))
        if (figures := by_name.get(kind))
        for line in (
            *_to_floor(kind, figures, floor, whole),
            *_to_script(kind, figures, script, cpu, name),
            *_planning(kind, figures, name),
        )
    ]
    return table(("", "found", "aim"), lines)


def _to_floor(
    kind: str, figures: Figures, floor: Figures | None, whole: float
) -> Iterable[tuple[str, str, str]]:
    if floor:
        yield (
            f"{NAMES[kind]}: copy, to the floor's",
            f"{figures.copy_s / floor.copy_s:.2f}",
            "≤ 1.15",
        )
        yield (
            f"{NAMES[kind]}: whole, to the floor's",
            f"{figures.whole_s / floor.whole_s:.2f}",
            f"≤ {whole}",
        )


def _to_script(
    kind: str, figures: Figures, script: Figures | None, cpu: float, name: str
) -> Iterable[tuple[str, str, str]]:
    if script:
        aim = {"128": "≥ 3.5", "768": "≥ 1.9"}.get(name, "")
        speed = script.copy_s / figures.copy_s
        yield f"{NAMES[kind]}: rows/s of the copy, to the script's", f"{speed:.1f}", aim
        share = figures.row_cpu_us / script.row_cpu_us if script.row_cpu_us else 0.0
        yield f"{NAMES[kind]}: CPU per row, to the script's", f"{share:.2f}", f"≤ {cpu:.2f}"


def _planning(kind: str, figures: Figures, name: str) -> Iterable[tuple[str, str, str]]:
    aim = {"128": "≤ 12 %", "768": "≤ 4 %"}.get(name, "")
    share = figures.planning_s / figures.copy_s
    yield f"{NAMES[kind]}: planning, to the copy", f"{share:.1%}".replace("%", " %"), aim


def _cpu_target(name: str) -> float:
    return 0.25 if name in ("768", "1536") else 0.2


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; the first column is text, the others are figures.

    >>> print(table(("", "s"), [("copy", "1.0")]))
    |  | s |
    | --- | ---: |
    | copy | 1.0 |
    """
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
