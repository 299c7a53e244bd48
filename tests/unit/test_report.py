"""The report: what a ledger shows, in the same words everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from rich.cells import cell_len
from rich.console import Console

from pipeline.reports import charts, report
from pipeline.reports.ledger_facts import CollectionEvidence, Evidence, RangeEvidence, gather
from pipeline.reports.page import write
from pipeline.reports.report_values import CollectionReport, Report
from pipeline.reports.summary_table import SummaryTable
from tests import ledgers
from tests.ledgers import RUN, Job
from transforms.finding import Finding
from transforms.ledger.ledger import Difference, Finished
from transforms.milvus import features
from transforms.milvus.retry_statistics import Retried
from transforms.plan import VerifyMethod
from transforms.ranges import KeyRange, split

Golden = Callable[[str, str], None]
DIFFERENCES = (
    Difference("-", 4711),
    Difference("+", 12),
    Difference("*", 99, ("title",)),
    Difference("#", 7),
)


def evidence_of(job: Job, verify: VerifyMethod = "full") -> Evidence:
    return gather(job.ledger, job.plan, RUN, verify)


def report_on(job: Job, verify: VerifyMethod = "full") -> Report:
    return report.compose(job.plan, evidence_of(job, verify))


def only(job: Job, verify: VerifyMethod = "full") -> CollectionReport:
    (collection,) = report_on(job, verify).collections
    return collection


def printed(result: Report, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(SummaryTable(result))
    return out.getvalue()


@pytest.fixture
def docs(tmp_path: Path) -> Job:
    """A collection of 3,000 rows in three ranges, all of them copied; nothing else yet."""
    job = ledgers.job(tmp_path, ledgers.collection("docs", 3_000))
    for planned in job.cut("docs", 1_000, 2_000):
        job.copy(planned, 1_000, at=5)
    return job


@pytest.fixture
def mixed(tmp_path: Path) -> Job:
    """A job of which some collections fail and some succeed."""
    version = Finding(
        code="source-version",
        where="source http://10.0.0.1:19530",
        what="Milvus 2.3.5 is older than 2.3.7.",
        remedy="Upgrade it.",
        acceptable=True,
        accepted=True,
    )
    job = ledgers.job(
        tmp_path,
        ledgers.collection("medium_articles", 100_000),
        ledgers.collection("chunks_of_all_tenants_by_day", 21_968, target="chunks"),
        ledgers.collection("events", 500_000_000),
        ledgers.collection("notes", 1_000),
        findings=[version],
    )
    job.complete("medium_articles", ranges_of=12_500)
    first, second = job.cut("chunks_of_all_tenants_by_day", 10_000)
    job.copy(first, 10_000, at=20, counted=11_968)
    job.copy(second, 10_000, at=21)
    job.judge(first, 10_000, found=9_998, differences=DIFFERENCES)
    job.judge(second, 10_000)
    job.finish("chunks_of_all_tenants_by_day", target=19_998)
    done, failed = job.cut("events", 7)
    job.copy(done, 250_000_000, at=40)
    job.fail(failed, "target http://target.example.com:19530: Insert: disk is full", at=41)
    job.complete("notes")
    job.finish("notes", source=1_010, target=1_000)
    job.retry(
        source={"not answered": Retried(2, 0.31)},
        target={"not ready": Retried(1, 4.0), "rate limit": Retried(38, 71.25)},
    )
    job.retry(target={"rate limit": Retried(3, 5.0)})
    return job


# -- the outcome of a collection ------------------------------------------------------------------


def test_a_collection_is_proven_when_the_content_of_every_range_is_equal(docs: Job) -> None:
    for planned in docs.ledger.frozen("docs") or []:
        docs.judge(planned, 1_000)
    docs.finish("docs", target=3_000)

    assert only(docs).outcome == "proven"


@pytest.mark.parametrize(
    ("methods", "verify", "outcome"),
    [
        (("full", "full", "full"), "sample", "sampled"),
        (("full", "", ""), "sample", "sampled"),
        (("full", "count", "count"), "sample", "sampled"),
        (("count", "count", "count"), "count", "counted"),
        (("full", "full", "count"), "full", "counted"),
        (("full", "full", ""), "full", "copied"),
        (("", "", ""), "full", "copied"),
        (("", "", ""), "none", "copied"),
    ],
)
def test_an_outcome_is_no_better_than_what_was_compared(
    docs: Job, methods: tuple[str, ...], verify: VerifyMethod, outcome: str
) -> None:
    for planned, method in zip(docs.ledger.frozen("docs") or [], methods, strict=True):
        if method:
            docs.judge(planned, 1_000, method=method)
    docs.finish("docs", target=3_000)

    assert only(docs, verify).outcome == outcome


def test_a_range_that_failed_fails_its_collection(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 2_000))
    first, second = job.cut("docs", 1_000)
    job.copy(first, 1_000, at=5)
    job.fail(second, "the disk is full", at=6)

    result = report_on(job)

    assert result.outcome == "failed"
    assert result.collections[0].problems == ("1 of 2 ranges failed",)
    assert [str(failure.reason) for failure in result.failures] == ["the disk is full"]


def test_a_range_that_was_not_fully_acknowledged_fails_its_collection(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 2_000))
    first, _ = job.cut("docs", 1_000)
    job.copy(first, 1_000, at=5)

    result = report_on(job)

    assert result.collections[0].problems == ("1 of 2 ranges not fully acknowledged",)
    assert result.failures[0].range == "docs(1000..)"


def test_a_range_that_failed_and_was_completed_later_is_complete(docs: Job) -> None:
    last = (docs.ledger.frozen("docs") or [])[-1]
    docs.fail(last, "the disk is full", at=3)
    docs.finish("docs", target=3_000)

    assert only(docs, "none").outcome == "copied"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (2_999, "the target has 2,999 rows, but 3,000 were written"),
        (3_001, "the target has 3,001 rows, but 3,000 were written"),
    ],
)
def test_a_target_with_another_number_of_rows_fails(docs: Job, found: int, problem: str) -> None:
    docs.finish("docs", target=found)

    assert only(docs, "none").problems == (problem,)


def test_a_target_that_could_not_be_counted_is_no_failure(docs: Job) -> None:
    docs.finish("docs", target=None)

    assert only(docs, "none").outcome == "copied"


def test_a_range_that_differs_fails_and_its_keys_are_named(docs: Job) -> None:
    first, second, third = docs.ledger.frozen("docs") or []
    docs.judge(first, 1_000)
    docs.judge(second, 1_000, differences=DIFFERENCES)
    docs.judge(third, 1_000)
    docs.finish("docs", target=3_000)

    result = report_on(docs)

    assert result.collections[0].problems == ("1 of 3 ranges not equal in the target",)
    assert [str(difference) for difference in result.differences] == [
        "- 4711",
        "+ 12",
        "* 99 (title)",
        "# 7",
    ]


def test_a_range_that_could_not_be_compared_fails(docs: Job) -> None:
    for planned in docs.ledger.frozen("docs") or []:
        docs.judge(planned, 1_000, failed="the target is gone")
    docs.finish("docs", target=3_000)

    result = report_on(docs)

    assert result.outcome == "failed"
    assert {failure.reason for failure in result.failures} == {"the target is gone"}
    assert "kitelift verify" in result.next[0]


def test_a_collection_that_was_not_finished_fails(docs: Job) -> None:
    (problem,) = only(docs).problems

    assert problem == "it was not completed: indexes, aliases and load state may be missing"


def test_a_collection_that_could_not_be_finished_says_why(docs: Job) -> None:
    docs.finish("docs", failed="no memory for the index")

    result = report_on(docs)

    assert result.collections[0].problems == ("it could not be completed: no memory for the index",)
    assert result.next[0].startswith("All rows of docs are in the target, but not proven")


def test_a_collection_that_was_never_cut_fails(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 3_000))

    words = "it was not split into key ranges, so no row was copied: the run ended earlier"
    assert only(job).problems == (words,)


def test_an_empty_collection_can_be_proven(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 0))
    (planned,) = job.cut("docs")
    job.copy(planned, 0, at=5)
    job.judge(planned, 0)
    job.finish("docs", target=0)

    assert only(job).outcome == "proven"


# -- sums -----------------------------------------------------------------------------------------


def test_an_interval_that_was_acknowledged_twice_counts_once(docs: Job) -> None:
    for planned in docs.ledger.frozen("docs") or []:
        docs.copy(planned, 1_000, at=9)
    docs.finish("docs", target=3_000)

    assert only(docs).rows_written == 3_000
    assert only(docs).bytes == 3_000 * ledgers.BYTES_A_ROW


def test_duplicate_keys_are_counted_separately_and_are_no_failure(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 21_968))
    (planned,) = job.cut("docs")
    job.copy(planned, 20_000, at=5, counted=21_968)
    job.judge(planned, 20_000)
    job.finish("docs", target=20_000)

    result = report_on(job)

    (docs,) = result.collections
    assert (docs.outcome, docs.rows_source, docs.keys, docs.repeats) == (
        "proven",
        21_968,
        20_000,
        1_968,
    )
    assert "docs: 21,968 = 20,000 keys + 1,968 duplicates\n" in printed(result, 80)
    assert result.exit_code == 0


def test_of_a_range_that_was_counted_twice_the_last_count_is_valid(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 110))
    (planned,) = job.cut("docs")
    first, last = split(planned, [50])
    job.begin(planned, 1)
    for at, covered, counted, hidden in ((5, last, 120, 12), (9, first, 110, 4)):
        job.receive(
            replace(
                ledgers.receipt(planned, 50, at=at), covered=covered, counted=counted, hidden=hidden
            )
        )
    result = only(job)
    assert (result.keys, result.hidden, result.repeats) == (100, 4, 6)


def test_rejected_rows_are_no_duplicates_and_are_in_the_verdict(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    (planned,) = job.cut("docs")
    job.copy(planned, 997, at=5, rejected=3)
    job.judge(planned, 997)
    job.finish("docs", target=997)

    result = report_on(job)

    (docs,) = result.collections
    assert (docs.keys, docs.repeats, docs.rows_read, docs.rows_written, docs.rejected) == (
        *(1_000, 0),
        *(1_000, 997, 3),
    )
    assert "except for 3 rejected rows" in result.verdict
    assert result.exit_code == 4
    assert "kitelift replay" in result.next[0]
    assert "docs: the target rejected 3 rows\n" in printed(result, 80)


def test_a_missing_index_is_reported_until_it_is_accepted(docs: Job) -> None:
    for planned in docs.ledger.frozen("docs") or []:
        docs.judge(planned, 1_000)
    found = features.listed(replace(docs.plan["docs"].wanted, indexes=()))
    refused = {"indexes.vector": "the target rejects it: CreateIndex: no"}
    before = Finished("docs", 3_000, 3_000, 1.0, ledgers.BEGAN + 60)
    docs.ledger.finish(replace(before, found=found, refused=refused))

    asked = report_on(docs)
    accepted = report.compose(docs.plan, evidence_of(docs), accept=("lost:docs.indexes.vector",))

    assert (asked.outcome, asked.exit_code) == ("proven", 4)
    assert (accepted.outcome, accepted.exit_code) == ("proven", 0)
    assert "same content, but 1 index or alias is missing (1 collection" in asked.verdict
    assert "missing" not in accepted.verdict
    assert "--accept=lost:docs.indexes.vector" in " ".join(asked.next)
    assert "Applications can now use" in " ".join(accepted.next)
    assert "[lost:docs.indexes.vector] target collection docs: index" in printed(asked, 200)
    assert "lost:docs.indexes.vector" not in printed(accepted, 200)


def test_the_report_says_what_a_sync_changed(docs: Job) -> None:
    first, second, third = docs.ledger.frozen("docs") or []
    docs.judge(first, 1_000, written=12, deleted=1)
    docs.judge(second, 1_000, written=3)
    docs.judge(third, 1_000)
    docs.finish("docs", target=3_000)

    result = report_on(docs)

    assert (result.collections[0].mended, result.collections[0].deleted) == (15, 1)
    words = "docs: sync wrote 15 rows to the target and deleted 1 row there\n"
    assert words in printed(result, 80)


def test_unread_rows_without_explanation_fail(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    (planned,) = job.cut("docs")
    job.copy(planned, 990, at=5, counted=None)
    job.finish("docs", target=990)

    assert only(job).problems == ("the source counts 10 rows that were not read",)


@pytest.mark.parametrize(
    ("counted", "after", "words"),
    [
        (1_000, 1_000, ""),
        (1_000, 1_010, "source changed during the copy: 1,000 before, 1,010 after"),
        (
            1_005,
            1_000,
            "source changed during the copy: 1,000 before and after, 1,005 while it was read",
        ),
    ],
)
def test_a_source_that_changed_during_the_copy_is_reported(
    tmp_path: Path, counted: int, after: int, words: str
) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    (planned,) = job.cut("docs")
    job.copy(planned, 1_000, at=5, counted=counted)
    job.judge(planned, 1_000)
    job.finish("docs", source=after, target=1_000)

    result = report_on(job)

    assert result.collections[0].source_changed == words
    assert result.collections[0].outcome == ("copied" if words else "proven")
    assert ("source-changed" in {finding.code for finding in result.findings}) == bool(words)
    assert any("changed during the copy" in step for step in result.next) == bool(words)


def test_a_source_that_is_not_counted_again_is_not_called_equal(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    (planned,) = job.cut("docs")
    job.copy(planned, 1_000, at=5, counted=1_005)
    job.judge(planned, 1_000)
    job.ledger.finish(Finished("docs", None, 1_000, 1.0, ledgers.BEGAN + 60))

    result = report.compose(job.plan, replace(evidence_of(job), again=True))

    words = "source changed during the copy: 1,000 before, 1,005 while it was read"
    assert result.collections[0].source_changed == words
    assert result.collections[0].outcome == "copied"
    assert "source-not-counted" in {finding.code for finding in result.findings}


def test_a_failed_count_is_not_proven_and_needs_no_copy(
    docs: Job,
) -> None:
    before = Finished("docs", None, None, 1.0, ledgers.BEGAN + 60)
    docs.ledger.finish(replace(before, uncounted="http://target: Query: no"))

    result = report.compose(docs.plan, replace(evidence_of(docs), again=True))

    assert result.collections[0].problems == ("it could not be compared: http://target: Query: no",)
    assert result.exit_code == 4
    assert result.next[0].startswith(
        "Run `kitelift verify`: it retries the failed comparisons of docs"
    )


@pytest.mark.parametrize(
    ("found", "fails"), [(999, True), (1_000, False), (1_020, False), (1_021, True)]
)
def test_with_new_ids_the_target_may_have_rows_that_were_sent_twice(
    tmp_path: Path, found: int, fails: bool
) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000, new_ids=True))
    (planned,) = job.cut("docs")
    job.copy(planned, 1_000, at=5, doubled=20)
    job.finish("docs", target=found)

    assert bool(only(job, "none").problems) == fails
    assert "may-be-doubled" in {finding.code for finding in report_on(job, "none").findings}


def test_with_new_ids_the_verdict_on_a_partition_holds_for_its_ranges(tmp_path: Path) -> None:
    partitions = ("even", "odd")
    docs = ledgers.collection("docs", 4_000, new_ids=True, partitions=partitions)
    job = ledgers.job(tmp_path, docs)
    for planned in job.cut("docs", 1_000):
        job.copy(planned, 1_000, at=5)
    for partition in partitions:
        job.judge(KeyRange("docs", partition=partition), 2_000)
    job.finish("docs", target=4_000)

    assert only(job).ranges.proven == 4


def test_the_time_between_two_runs_is_not_copying_time(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 3_000))
    first, second, third = job.cut("docs", 1_000, 2_000)
    job.copy(first, 1_000, at=1.5)
    job.copy(second, 1_000, at=3)
    job.copy(third, 1_000, at=80_000)

    assert only(job).seconds == 2.0
    assert only(job).rows_per_second == 1_500


# -- the job --------------------------------------------------------------------------------------


def test_the_worst_collection_decides(mixed: Job) -> None:
    result = report_on(mixed)

    assert [collection.outcome for collection in result.collections] == [
        "proven",
        "failed",
        "failed",
        "copied",
    ]
    assert (result.outcome, result.exit_code) == ("failed", 4)


def test_the_next_steps_distinguish_incomplete_from_unequal(mixed: Job) -> None:
    incomplete, unequal, changed = report_on(mixed).next

    assert incomplete.startswith("Fix the errors listed above, then rerun the same command: it ")
    assert unequal.startswith("Do not use chunks_of_all_tenants_by_day in the target yet.")
    assert changed.startswith("notes changed during the copy")


def test_a_report_lists_some_differences_and_counts_all(
    docs: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LISTED", 2)
    for planned in docs.ledger.frozen("docs") or []:
        docs.judge(planned, 1_000, differences=DIFFERENCES)
    docs.finish("docs", target=3_000)

    result = report_on(docs)

    assert (len(result.differences), result.differences_total) == (2, 12)
    assert "and 10 more keys, listed in report.json" in printed(result, 80)


def test_the_report_of_the_same_ledger_is_the_same(mixed: Job) -> None:
    assert report.to_json(report_on(mixed)) == report.to_json(report_on(mixed))


def test_report_json_is_as_in_the_golden_file_and_reads_back(mixed: Job, golden: Golden) -> None:
    result = report_on(mixed)
    written = report.to_json(result)

    golden("report.json", written.decode())
    assert TypeAdapter(Report).validate_json(written) == result
    assert set(json.loads(written)["collections"][0]) >= {
        *("name", "target", "rows_source", "keys", "repeats", "rows_read", "rows_written"),
        *("rows_target", "bytes", "seconds", "outcome"),
    }


# -- the summary table ----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_table_is_as_in_the_golden_file(mixed: Job, golden: Golden, width: int) -> None:
    golden(f"closing-{width}.txt", printed(report_on(mixed), width))


def test_the_summary_table_of_a_good_job_is_as_in_the_golden_file(
    tmp_path: Path, golden: Golden
) -> None:
    job = ledgers.job(
        tmp_path, ledgers.collection("medium_articles", 100_000), ledgers.collection("notes", 1)
    )
    job.complete("medium_articles", ranges_of=12_500)
    job.complete("notes")

    golden("closing-proven.txt", printed(report_on(job), 80))


def test_a_report_on_several_databases_is_as_in_the_golden_file(
    tmp_path: Path, golden: Golden
) -> None:
    job = ledgers.job(
        tmp_path,
        ledgers.collection("sales.docs", 3_000, target="sales_eu.docs"),
        ledgers.collection("shop.docs", 2_000),
        ledgers.collection("sales_shop.docs", 1),
    )
    names = {"sales": "sales_eu", "shop": "shop", "sales_shop": "sales_shop"}
    job.plan = replace(job.plan, databases=tuple(names.items()))
    job.complete("sales.docs")
    first, second = job.cut("shop.docs", 1_000)
    job.copy(first, 1_000, at=2)
    job.fail(second, "target http://target.example.com:19530: Insert: disk is full", at=3)
    job.complete("sales_shop.docs")

    result = report_on(job)
    golden("closing-databases.txt", printed(result, 120))
    assert (result.source.database, result.target.database) == (
        "sales, shop, sales_shop",
        "sales_eu, shop, sales_shop",
    )
    assert [(each.name, each.target, each.outcome) for each in result.collections] == [
        ("sales.docs", "sales_eu.docs", "proven"),
        ("shop.docs", "shop.docs", "failed"),
        ("sales_shop.docs", "sales_shop.docs", "proven"),
    ]
    html = write(result, evidence_of(job))
    assert "databases <b>sales_eu, shop, sales_shop</b>" in html


@pytest.mark.parametrize("width", [80, 99, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_or_ends_in_blanks(mixed: Job, width: int) -> None:
    for line in printed(report_on(mixed), width).splitlines():
        assert cell_len(line) <= width
        assert line == line.rstrip()


def test_a_name_that_does_not_fit_gets_its_own_line(tmp_path: Path) -> None:
    name = "a_collection_with_a_name_that_needs_all_the_room"
    job = ledgers.job(tmp_path, ledgers.collection(name, 1_000))
    job.complete(name)

    assert f"{name}\n" in printed(report_on(job), 80)


# -- the page -------------------------------------------------------------------------------------


def page_of(job: Job) -> str:
    evidence = evidence_of(job)
    return write(report.compose(job.plan, evidence), evidence)


def test_the_page_is_self_contained(mixed: Job) -> None:
    page = page_of(mixed)

    assert not re.search(r"<(script|link|img|iframe)|\b(src|href)=|@import|url\(", page)


def test_the_page_says_what_the_report_says(mixed: Job) -> None:
    result, page = report_on(mixed), page_of(mixed)

    for collection in result.collections:
        assert collection.name in page
        assert all(problem in page for problem in collection.problems)
    assert "21,968 = 20,000 keys + 1,968 duplicates" in page
    assert "disk is full" in page
    assert "Milvus 2.3.5 is older than 2.3.7." in page


def test_nothing_from_a_collection_becomes_markup(docs: Job) -> None:
    nasty = Difference("*", "<script>alert(1)</script>", ("<u>",))
    for planned in docs.ledger.frozen("docs") or []:
        docs.judge(planned, 1_000, differences=[nasty], failed="<i>broken</i>")

    page = page_of(docs)

    assert not re.search(r"<(script|u|i)>", page)
    assert "&lt;script&gt;" in page


def test_a_job_that_did_not_start_has_a_page(tmp_path: Path) -> None:
    assert "was not split into key ranges" in page_of(
        ledgers.job(tmp_path, ledgers.collection("docs", 3_000))
    )


def test_a_strip_of_many_ranges_shows_the_worst_neighbour() -> None:
    pieces = split(KeyRange("docs"), range(1, 10_000))
    ranges = tuple(
        RangeEvidence(piece, missing=(piece,) * (i == 500)) for i, piece in enumerate(pieces)
    )

    cells = charts.strip(CollectionEvidence("docs", ranges))

    assert len(cells) <= charts.CELLS
    assert [cell.state for cell in cells].count("open") == 1
    assert "worst: docs(500..501]: open" in next(c.title for c in cells if c.state == "open")


def test_a_comparison_does_not_show_the_speed_of_the_earlier_copy(
    mixed: Job, golden: Golden
) -> None:
    evidence = gather(mixed.ledger, mixed.plan, RUN, "full", again=True)
    golden("closing-again.txt", printed(report.compose(mixed.plan, evidence), 80))


def test_the_retries_of_all_processes_are_summed_by_side_and_reason(
    mixed: Job,
) -> None:
    retries = [
        (retry.side, retry.reason, retry.calls, retry.seconds) for retry in report_on(mixed).retries
    ]

    assert retries == [
        ("source", "not answered", 2, 0.3),
        ("target", "rate limit", 41, 76.2),
        ("target", "not ready", 1, 4.0),
    ]


def test_the_page_shows_the_retried_calls(mixed: Job) -> None:
    page = page_of(mixed)

    assert '<td>rate limit</td><td class="n">41</td><td class="n">1 min 16 s</td>' in page


def test_a_job_without_retries_does_not_mention_them(docs: Job) -> None:
    assert "retried" not in printed(report_on(docs), 80)


def test_the_speed_curve_stays_within_its_axes(mixed: Job) -> None:
    speed = charts.speed(evidence_of(mixed))

    assert speed is not None
    assert max(y for _, y in speed.points) == 100
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in speed.points)


def test_a_changed_feature_is_shown_beside_the_source_s(docs: Job) -> None:
    wanted = replace(docs.plan["docs"].wanted, shards=1)
    docs.plan = replace(docs.plan, collections=(replace(docs.plan["docs"], wanted=wanted),))

    changed = [feature for feature in only(docs).carried if not feature.same]

    assert [(feature.what, feature.source, feature.target) for feature in changed] == [
        ("shards", "2", "1")
    ]
