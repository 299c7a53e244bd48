"""The bench on very little data: it must not rot. Its figures mean nothing here."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from pymilvus.client.prepare import Prepare

from benchmarks import contest, data, many, memory, network, table
from benchmarks.__main__ import PAGE
from benchmarks.contest import Pair, Run
from benchmarks.link import Network
from tests.docs import refreshed
from tests.servers import Server
from transforms.milvus import schema

ROWS = 2_000


@pytest.mark.slow
def test_contestants_copy_all_rows_and_the_table_says_what_they_took(
    tmp_path: Path, pair: tuple[Server, Server]
) -> None:
    source, target = pair
    servers = Pair(source.url, target.url, tmp_path / "work")
    [made] = [each for each in data.SETS if each.name == "128"]
    runs = list(contest.runs(servers, made, ROWS, 1, ["floor", "count", "script"]))
    found = table.figures(runs)
    assert {each.rows for each in found.values()} == {ROWS}
    assert found["script"].row_cpu_us > 0
    speeds, ratios = table.speeds(found), table.ratios(found, made.name)
    assert len(re.findall(r"\| [\d,.]+ s \|", speeds)) >= 3
    assert "Kitelift, counts compared: copy, to the floor's | " in ratios
    assert sum(found["count"].phases) == pytest.approx(found["count"].whole_s, abs=0.5)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_contestant_comes_after_each_other_one_equally_often(count: int) -> None:
    names = list("abcde"[:count])
    turns = [contest.order(names, turn) for turn in range(2 * count)]
    assert all(sorted(turn) == names for turn in turns)
    after = Counter(two for turn in turns for two in pairwise(turn))
    assert after == {(a, b): 2 for a in names for b in names if a != b}


@pytest.mark.slow
def test_the_memory_of_a_run_is_told_for_each_part_of_its_copy(
    tmp_path: Path, pair: tuple[Server, Server]
) -> None:
    source, target = pair
    told = memory.measure(Pair(source.url, target.url, tmp_path / "work"), 20_000)
    [*parts, peak, _] = re.findall(r"[\d,]+ MB(?= \|)", told)
    assert len(parts) == contest.PARTS
    assert peak != "0 MB"


@pytest.mark.slow
def test_many_collections_are_copied_by_the_loop_and_by_kitelift(
    tmp_path: Path, pair: tuple[Server, Server]
) -> None:
    source, target = pair
    line = many.measure(Pair(source.url, target.url, tmp_path / "work"), 2)
    assert line[0] == "2"
    assert "| collections | loop | Kitelift |" in many.page([line])


@pytest.mark.parametrize("made", data.SETS, ids=lambda made: made.name)
def test_a_data_set_has_every_key_once_and_rows_of_its_size(made: data.DataSet) -> None:
    message = Prepare.get_schema_from_collection_schema("rows", made.schema())
    [batch] = made.batches(schema.parse(message), 500)
    assert sorted(batch.column("id").to_pylist()) == list(range(500))
    least = 4 * made.dim + made.text + made.document + made.extras
    assert 0.8 * least < batch.nbytes / 500 < 1.3 * least + 600


def test_a_far_server_is_as_slow_as_its_network() -> None:
    run = network.run(Network(round_trip_s=0.05), dim=8, rows=4_000, workers=2, page_rows=200)
    # At least two ranges of ten pages in each worker, one after the other.
    assert run.copy_s > 10 * 0.05


def test_tables_hold_medians_and_ratios() -> None:
    def of(contestant: str, rows: int, copy_s: float, cpu_s: float) -> tuple[Run, int]:
        run = Run(contestant, rows, copy_s, copy_s + 5, cpu_s, 200_000_000, planning_s=0.5)
        return run, rows * 1_000

    tiny = [of(name, contest.FIXED_ROWS, 0.1, 1.0) for name in ("floor", "count", "script")]
    floor = [of("floor", 100_000, seconds, 2.0) for seconds in (10, 2, 9)]
    count = [of("count", 100_000, seconds, 3.0) for seconds in (10, 99, 8)]
    script = [of("script", 100_000, 40, 21.0)]
    found = table.figures([*tiny, *floor, *count, *script])
    assert "| floor: raw gRPC loop | 9.0 s | 11,111 | 11 | 14.0 s | 2.0 s |" in table.speeds(found)
    assert table.ratios(found, "128").splitlines()[2:] == [
        "| Kitelift, counts compared: copy, to the floor's | 1.11 | ≤ 1.15 |",
        "| Kitelift, counts compared: whole, to the floor's | 1.07 | ≤ 1.35 |",
        "| Kitelift, counts compared: rows/s of the copy, to the script's | 4.0 | ≥ 3.5 |",
        "| Kitelift, counts compared: CPU per row, to the script's | 0.10 | ≤ 0.20 |",
        "| Kitelift, counts compared: planning, to the copy | 5.0 % | ≤ 12 % |",
    ]


def test_the_page_has_a_place_for_each_part() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = ["fixed", *(each.name for each in data.SETS), "memory", "many", "latency", "bandwidth"]
    assert refreshed(page, dict.fromkeys(names, "")).count("<!-- end -->") == len(names)
