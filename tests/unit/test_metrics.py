"""The Prometheus metrics of a running job."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from pipeline.commands.shared.arguments import parse
from pipeline.display import metrics, progress
from pipeline.display.job_progress import JobProgress
from tests import docs, ledgers, sockets
from tests.ledgers import BEGAN, RUN, Job
from transforms.errors import ConfigError
from transforms.milvus.retry_statistics import Retried, Slowdown

DASHBOARD = docs.ROOT / "docs" / "grafana.json"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 4_000), ledgers.collection("notes", 10))
    first, _ = job.cut("docs", 1_000)
    job.copy(first, 1_000, at=5)
    return job


def scraped(url: str) -> list[str]:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_prometheus_gets_what_the_progress_display_shows(job: Job) -> None:
    exporter = metrics.Exporter(str(sockets.closed_port()))
    try:
        assert scraped(exporter.url) == []  # There is no view yet.
        view = JobProgress(job.ledger, job.plan, RUN).look(BEGAN)
        troubled = replace(
            view,
            slowdowns={"target": Slowdown("rate limit", 0.4)},
            retries={"target": {"rate limit": Retried(12, 30.0)}},
        )
        exporter.show(troubled)
        lines = scraped(exporter.url)
    finally:
        exporter.close()

    assert 'kitelift_planned_rows{collection="docs"} 4000.0' in lines
    assert 'kitelift_acknowledged_rows{collection="docs"} 1000.0' in lines
    assert 'kitelift_phase_ratio{collection="docs"} 0.25' in lines
    assert 'kitelift_phase{collection="docs",phase="copying"} 1.0' in lines
    assert 'kitelift_phase{collection="notes",phase="waiting"} 1.0' in lines
    assert 'kitelift_full_speed_ratio{side="source"} 1.0' in lines
    assert 'kitelift_full_speed_ratio{side="target"} 0.4' in lines
    retries = 'kitelift_calls_sent_again_total{reason="rate limit",side="target"} 12.0'
    assert retries in lines
    # An unknown figure is left out: a 0 would be wrong.
    assert not [line for line in lines if "left_seconds" in line]


def test_a_quiet_run_has_metrics_too(job: Job) -> None:
    port = sockets.closed_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with progress.show_progress(
        job.ledger, job.plan, RUN, quiet=True, metrics=str(port), stream=StringIO()
    ):
        while not scraped(url):
            pass
    with pytest.raises(OSError, match="refused"):
        scraped(url)


def test_a_port_in_use_is_an_error_before_anything_is_done() -> None:
    with sockets.silent() as url:
        port = url.rpartition(":")[2]
        with pytest.raises(ConfigError, match=f"--metrics_port={port}: Address already in use"):
            metrics.check(port)


@pytest.mark.parametrize("address", ["9464", "0.0.0.0:9464", "[::1]:9464"])
def test_an_address_is_a_port_with_or_without_a_host(address: str) -> None:
    assert parse([f"--metrics_port={address}"]).metrics == address


@pytest.mark.parametrize("address", ["many", "0", "70000", "localhost", "localhost:"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="must be PORT or HOST:PORT"):
        parse([f"--metrics_port={address}"])


def test_the_dashboard_shows_all_metrics_and_no_others(job: Job) -> None:
    collector = metrics._Figures()
    collector.view = JobProgress(job.ledger, job.plan, RUN).look(BEGAN)
    families = list(collector.collect())
    names = {family.name + "_total" * (family.type == "counter") for family in families}
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"kitelift_\w+", target["expr"])
    }
    assert shown == names
