"""The estimate of a job from the results of a speed test."""

from __future__ import annotations

import pytest

from pipeline.planning.estimate import Estimate, JobSize, Speed, job_size

DOCS = JobSize("docs", 1_000_000, 600_000_000, 5)
NOTES = JobSize("notes", 1_000, 400_000_000, 3)
READ = Speed(rows=100_000, bytes=60_000_000, seconds=2.0)  # 30 MB/s, so 20 s for DOCS
SLOW_WRITE = Speed(rows=20_000, bytes=12_000_000, seconds=2.0)  # 6 MB/s, so 100 s
FAST_WRITE = Speed(rows=200_000, bytes=120_000_000, seconds=2.0)

SECONDS = {
    "nothing measured": (Estimate((DOCS,)), None),
    "an empty source": (Estimate((DOCS,), Speed(0, 0, 0.1)), None),
    "reading alone": (Estimate((DOCS,), READ), (40.0, 100.0)),
    "the target is slower": (Estimate((DOCS,), READ, SLOW_WRITE), (120.0, 120.0)),
    "the source is slower": (Estimate((DOCS,), READ, FAST_WRITE), (40.0, 40.0)),
    "no proof": (Estimate((DOCS,), READ, SLOW_WRITE, proves=False), (100.0, 100.0)),
    "several workers": (Estimate((DOCS,), READ, SLOW_WRITE, workers=4), (30.0, 120.0)),
    "several, and unknown writes": (Estimate((DOCS,), READ, workers=4), (10.0, 100.0)),
    "more workers than ranges": (Estimate((DOCS,), READ, FAST_WRITE, workers=99), (8.0, 40.0)),
    "bytes count, not rows": (Estimate((DOCS, NOTES), READ, FAST_WRITE), (200 / 3, 200 / 3)),
}


@pytest.mark.parametrize("case", SECONDS)
def test_the_slower_side_decides_and_the_proof_is_one_more_read(case: str) -> None:
    estimate, seconds = SECONDS[case]
    assert estimate.seconds == (pytest.approx(seconds) if seconds else None)


def test_the_estimate_is_shown_as_lines_of_text() -> None:
    assert Estimate((DOCS,), READ).lines() == [
        "about 600 MB in 5 key ranges",
        "reading: 50,000 rows/s, 30.0 MB/s (2.0 s)",
        (
            "copy and proof: 40 s to 2 min with 1 worker, without building and loading indexes. "
            "For a better estimate, add --probe_write"
        ),
    ]
    assert Estimate((DOCS,), READ, SLOW_WRITE, proves=False).lines()[2:] == [
        "writing: 10,000 rows/s, 6.00 MB/s (2.0 s)",
        "copy: about 2 min with 1 worker, without building and loading indexes",
    ]
    assert Estimate((DOCS,), READ, SLOW_WRITE, workers=4).lines()[-1] == (
        "copy and proof: 30 s to 2 min with 4 workers (at best every worker reaches the measured "
        "speed, at worst all of them together do), without building and loading indexes"
    )


def test_what_could_not_be_measured_comes_first() -> None:
    unknown = JobSize("docs", 10, None, None)
    estimate = Estimate((unknown,), problems=("http://a: Query: no memory",))
    assert estimate.lines() == ["not measured: http://a: Query: no memory"]
    assert estimate.facts()["problems"] == ["http://a: Query: no memory"]
    assert estimate.facts()["seconds"] is None


def test_a_small_collection_is_one_range() -> None:
    assert job_size("docs", 10, 100.0, workers=8) == JobSize("docs", 10, 1_000, 1)
