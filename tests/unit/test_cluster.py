"""A job on a cluster: checks before it is submitted, and messages after."""

from __future__ import annotations

import inspect
import re
import shlex
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PortableOptions,
    StandardOptions,
)

from pipeline.commands.shared import arguments, cluster_job, follow
from pipeline.engines import (
    beam_options,
    cluster_checks,
    engine,
    engine_choice,
    flink,
    spark,
    submissions,
    worker_probe,
)
from pipeline.engines.engine import Submission
from pipeline.engines.job_lock import Lock
from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.reports import report_files
from tests import docs, ledgers, sockets
from tests.fakes.flink import FakeFlink
from transforms.errors import ConfigError, EngineError, Interrupted, JobLocked, PreflightError
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.ledger.temporary_changes import TemporaryChange

HERE, AWAY = "127.0.0.1", "192.0.2.7"  # A network that is for examples only.
ONE = [(HERE, 2, 2)]


def job(env: str = "parallelism = 2", token: str = "") -> JobConfig:
    text = f"""
        env {{ {env} }}
        source {{ Milvus {{ url = "http://source:19530" }} }}
        sink {{ Milvus {{ url = "http://target:19530"\n {token} }} }}
    """
    return config.parse(text, base=Path())


def chosen(line: str, env: str = "parallelism = 2") -> Any:
    parsed = arguments.parse(line.split())
    return engine_choice.create_engine(job(env), parsed.runner, parsed.beam)


def jar(folder: Path, name: str, *, manifest: str = "") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\n{manifest}\r\n")
    return path


def finding_codes(fake: FakeFlink, *options: str) -> list[str]:
    """Returns the codes of the findings for a cluster."""
    on = flink.Flink(fake.address, options, parallelism=2)
    return [finding.code for finding in on.findings()]


@pytest.fixture
def runner(tmp_path: Path) -> str:
    return (
        f"--flink_job_server_jar={jar(tmp_path, 'beam-runners-flink-1.19-job-server-2.77.0.jar')}"
    )


# Where a job runs


@pytest.mark.parametrize(
    ("line", "env", "where"),
    [
        ("", "", None),
        ("-m local", 'flink.master = "jm:8081"', None),
        ("--runner=FlinkRunner --flink_master=jm:8081", "", "http://jm:8081"),
        ("--runner=FlinkRunner --flink_master https://jm:8081/", "", "https://jm:8081"),
        ("--runner=FlinkRunner", 'flink.master = "jm:8081"', "http://jm:8081"),
        ("-m cluster", 'flink { master = "jm:8081" }', "http://jm:8081"),
        ("-m cluster", 'spark.master = "spark://sm:7077"', "spark://sm:7077"),
        ("--runner=SparkRunner --spark_master_url=spark://sm:7077", "", "spark://sm:7077"),
    ],
)
def test_a_job_runs_on_the_configured_engine(line: str, env: str, where: str | None) -> None:
    on = chosen(line, env)
    assert where == (getattr(on, "url", None) or getattr(on, "master", None))


@pytest.mark.parametrize(
    ("line", "env", "said"),
    [
        (
            "-m cluster",
            "",
            "-m cluster: needs env.flink.master or env.spark.master, but neither is set; set one",
        ),
        (
            "-m cluster",
            'flink.master = "a:1", spark.master = "spark://b:1"',
            "-m cluster: needs env.flink.master or env.spark.master, but both are set; keep one",
        ),
        (
            "--runner=FlinkRunner",
            "",
            "--flink_master: missing; set it to HOST:8081, the address of the JobManager's REST",
        ),
        (
            "--runner=SparkRunner --spark_master_url=sm",
            "",
            "--spark_master_url: must be spark://HOST:PORT",
        ),
        (
            "--runner=SamzaRunner",
            "",
            f"--runner=SamzaRunner: must be one of {', '.join(engine_choice.RUNNERS)}",
        ),
    ],
)
def test_an_invalid_engine_is_refused(line: str, env: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(line, env)
    assert str(caught.value) == said


def test_views_of_one_pipeline_s_options_share_their_values_and_are_parsed_once() -> None:
    options = beam_options.read(["--streaming", "--environment_cache_millis=5"])
    options.view_as(DirectOptions).direct_num_workers = 7
    assert options.view_as(DirectOptions) is options.view_as(DirectOptions)
    assert options.view_as(PortableOptions).environment_cache_millis == "5"
    everything = options.get_all_options()
    assert (everything["streaming"], everything["direct_num_workers"]) == (True, 7)
    assert options.view_as(StandardOptions).view_as(DirectOptions).direct_num_workers == 7


# Flink, before anything is written


def test_one_task_manager_on_this_host_needs_no_options(runner: str) -> None:
    with FakeFlink(managers=ONE) as fake:
        on = flink.Flink(fake.address, [runner], parallelism=2)
        assert on.findings() == []
        assert on.inside


def test_a_job_gets_the_options_that_users_rarely_know(runner: str) -> None:
    with FakeFlink(managers=[(HERE, 3, 3)]) as fake:
        on = flink.Flink(fake.address, [runner, "--environment_cache_millis=5"], parallelism=2)
        on.findings()
        options = on.pipeline("kitelift-x").options
    unknown = options.get_all_options(retain_unknown_options=True)
    portable = options.view_as(PortableOptions)
    assert unknown["execution_mode_for_batch"] == "BATCH_FORCED"
    assert portable.sdk_worker_parallelism == "3"
    assert portable.environment_cache_millis == "5"
    assert options.view_as(FlinkRunnerOptions).parallelism == 2
    assert options.view_as(FlinkRunnerOptions).flink_submit_uber_jar


def test_options_of_the_user_win(runner: str) -> None:
    mine = ["--execution_mode_for_batch=PIPELINED", "--sdk_worker_parallelism=1"]
    with FakeFlink(managers=[(HERE, 3, 3)]) as fake:
        on = flink.Flink(fake.address, [runner, *mine], parallelism=2)
        on.findings()
        options = on.pipeline("kitelift-x").options
    unknown = options.get_all_options(retain_unknown_options=True)
    assert unknown["execution_mode_for_batch"] == "PIPELINED"
    assert options.view_as(PortableOptions).sdk_worker_parallelism == "1"


@pytest.mark.parametrize(
    ("managers", "options", "codes"),
    [
        ([(HERE, 2, 1)], (), ["engine-slots"]),
        ([], ("--environment_type=DOCKER",), ["engine-slots"]),
        ([(HERE, 1, 1), (HERE, 1, 1)], (), ["engine-environment"]),
        ([(AWAY, 2, 2)], (), ["engine-environment"]),
        ([(HERE, 1, 1), (HERE, 1, 1)], ("--environment_type=LOOPBACK",), ["engine-environment"]),
        ([(AWAY, 2, 2)], ("--environment_type=DOCKER",), []),
        ([(HERE, 1, 1), (HERE, 1, 1)], ("--environment_type=EXTERNAL",), []),
    ],
)
def test_a_cluster_on_which_the_job_would_hang_is_found_before(
    runner: str, managers: list[tuple[str, int, int]], options: tuple[str, ...], codes: list[str]
) -> None:
    with FakeFlink(managers=managers) as fake:
        assert finding_codes(fake, runner, *options) == codes


def test_an_address_without_flink_is_found() -> None:
    with FakeFlink(managers=ONE) as fake:
        address = fake.address
        fake.answers.clear()
        assert finding_codes(fake) == ["engine-unreachable"]
    assert [finding.code for finding in flink.Flink(address, [], parallelism=1).findings()] == [
        "engine-unreachable"
    ]


@pytest.mark.parametrize("master", ["HOST:PORT", "jm:80a1", "[::1", "http://jm:port"])
def test_an_invalid_address_is_found(master: str) -> None:
    [finding] = flink.Flink(f"http://{master}", [], parallelism=1).findings()
    assert finding.code == "engine-unreachable"
    assert "HOST:8081" in finding.remedy


def test_a_port_with_another_protocol_is_found() -> None:
    with sockets.silent(b"SSH-2.0-OpenSSH_9.2\r\n") as url:
        [finding] = flink.Flink(url, [], parallelism=1).findings()
    assert (finding.code, finding.what) == (
        "engine-unreachable",
        "its answer is not HTTP.",
    )


@pytest.mark.parametrize(
    ("name", "manifest", "version", "severities"),
    [
        ("beam-runners-flink-1.19-job-server-2.77.0.jar", "", "1.19.3", []),
        ("beam-runners-flink-1.19-job-server-2.77.0.jar", "", "1.20.5", ["warning"]),
        ("beam-runners-flink-1.19-job-server-2.77.0.jar", "", "2.1.0", ["error"]),
        ("mine.jar", "Flink-Version: 1.20\r\n", "1.19.3", ["warning"]),
        ("mine.jar", "", "1.19.3", []),
    ],
)
def test_a_runner_of_another_version_is_found(
    tmp_path: Path, name: str, manifest: str, version: str, severities: list[str]
) -> None:
    option = f"--flink_job_server_jar={jar(tmp_path, name, manifest=manifest)}"
    with FakeFlink(version=version, managers=ONE) as fake:
        on = flink.Flink(fake.address, [option], parallelism=2)
        assert [finding.severity for finding in on.findings()] == severities


def test_a_version_that_beam_has_no_runner_for_is_found() -> None:
    with FakeFlink(version="1.17.2", managers=ONE) as fake:
        on = flink.Flink(fake.address, [], parallelism=2)
        [finding] = on.findings()
    assert finding.code == "engine-version"
    assert "it is 1.17.2, but Beam 2.77.0 has runners for 1.19, 1.20" in finding.what


def test_a_runner_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.utils.subprocess_server import JavaJarServer

    def fail(url: str) -> str:
        raise RuntimeError(f"Unable to fetch {url}")

    monkeypatch.setattr(JavaJarServer, "local_jar", fail)
    with FakeFlink(managers=ONE) as fake, pytest.raises(ConfigError) as caught:
        finding_codes(fake)
    assert "org.apache.beam:beam-runners-flink-1.19-job-server:2.77.0" in str(caught.value)
    assert "--flink_job_server_jar" in str(caught.value)


def test_a_missing_jar_is_refused() -> None:
    with FakeFlink(managers=ONE) as fake, pytest.raises(ConfigError) as caught:
        finding_codes(fake, "--flink_job_server_jar=/none.jar")
    assert str(caught.value) == "--flink_job_server_jar=/none.jar: no such file"


def test_a_job_is_submitted_with_its_runner_and_nothing_is_left_behind(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    with FakeFlink(managers=[(HERE, 1, 1), (HERE, 1, 1)]) as fake:
        place = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
        on = flink.Flink(fake.address, [runner, *place], parallelism=2)
        assert on.findings() == []
        pipeline = on.pipeline("kitelift-x")
        _ = pipeline | beam.Create([1])
        submission = on.submit(pipeline)
    assert (submission.id, submission.stays) == ("b7", True)
    assert submission.page == f"http://{fake.address}/#/job/running/b7/overview"
    assert "DELETE /v1/jars/7f_beam.jar" in fake.asked
    assert b"BEAM-PIPELINE/pipeline/pipeline.json" in fake.sent[0]
    files = (tmp_path / "scratch").iterdir()
    assert [file for file in files if file.suffix == ".jar" or "flink" in file.name] == []


def test_the_error_of_flink_for_a_refused_job_is_one_line(runner: str) -> None:
    with FakeFlink(managers=[(HERE, 1, 1), (HERE, 1, 1)]) as fake:
        del fake.answers["/v1/jars/7f_beam.jar/run"]
        on = flink.Flink(fake.address, [runner, "--environment_type=DOCKER"], parallelism=2)
        on.findings()
        pipeline = on.pipeline("kitelift-x")
        _ = pipeline | beam.Create([1])
        with pytest.raises(EngineError, match=r"^Flink http://\S+: Request to \S+ failed with"):
            on.submit(pipeline)


# Spark, before anything is written


def test_a_master_that_does_not_answer_is_found() -> None:
    on = spark.Spark("spark://127.0.0.1:1", [], parallelism=2)
    assert [finding.code for finding in on.findings()] == ["engine-unreachable"]


def test_spark_cuts_the_work_for_all_workers() -> None:
    on = spark.Spark("spark://127.0.0.1:7077", [], parallelism=6)
    options = on.pipeline("kitelift-x").options.get_all_options()
    assert "-Dspark.default.parallelism=6" in options["job_server_jvm_properties"]
    assert options["sdk_worker_parallelism"] == "6"


# Settings that do not suit a cluster


def test_a_literal_token_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "root:Milvus")
    with FakeFlink(managers=ONE) as fake:
        on = flink.Flink(fake.address, ["--job_endpoint=localhost:8099"], parallelism=2)
        for token, codes in [("root:Milvus", ["token-in-graph"]), ("env:TOKEN", [])]:
            findings = cluster_checks.findings(on, job(token=f'token = "{token}"'))
            assert [finding.code for finding in findings] == codes
            assert not any(finding.stops for finding in findings)


@pytest.mark.parametrize(
    ("state", "shared"),
    [("./kitelift-state", False), ("file:state", False), ("/mnt/state", True), ("s3://b/s", True)],
)
def test_a_ledger_that_other_hosts_cannot_reach_is_found(state: str, shared: bool) -> None:
    options = ["--job_endpoint=localhost:8099", "--environment_type=DOCKER"]
    with FakeFlink(managers=[(AWAY, 2, 2)]) as fake:
        on = flink.Flink(fake.address, options, parallelism=2)
        findings = cluster_checks.findings(on, job(f'state = "{state}", parallelism = 2'))
    assert [finding.code for finding in findings] == ([] if shared else ["ledger-not-shared"])


# Probing the workers


class Silent:
    """An engine that accepts a job, and whose workers never answer."""

    name, workers, hosts, inside = "Flink", 2, (), False

    def __init__(self, fake: FakeFlink) -> None:
        self._fake = fake

    def pipeline(self, label: str) -> Any:
        return engine_choice.create_pipeline([], workers=1)

    def submit(self, pipeline: Any) -> Submission:
        return submitted(self._fake, "RUNNING")


def test_workers_that_never_answer_are_a_finding_and_their_job_is_stopped(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker_probe, "_POLL_S", 0.02)
    monkeypatch.setattr(worker_probe, "SAY_EVERY_S", 0.05)
    with FakeFlink(managers=ONE) as fake:
        fake.says("jobs/b7?mode=cancel", {})
        config = job("parallelism = 2, worker_timeout = 200 ms")
        [finding] = worker_probe.examine(Silent(fake), config, ledger, "run")
    assert finding.code == "worker-silent"
    assert "no worker answered within 0.20 s" in finding.what
    assert "kitelift: workers of Flink: starting 0/" in capsys.readouterr().err
    assert "PATCH /v1/jobs/b7?mode=cancel" in fake.asked


def test_every_finding_is_explained() -> None:
    sources = (flink, spark, worker_probe, cluster_job, cluster_checks)
    code = re.compile(r'"((?:engine|worker|ledger|token)-[a-z-]+)"')
    codes = {name for module in sources for name in code.findall(inspect.getsource(module))}
    page = (docs.ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert len(codes) > 5
    assert {name for name in codes if f"| `{name}` |" not in page} == set()


@pytest.mark.parametrize("line", docs.commands(docs.ROOT / "docs" / "cluster.md"))
def test_every_command_of_the_page_is_understood(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        assert f"\n{words[0]}: " in (docs.ROOT / "Makefile").read_text(encoding="utf-8")
    else:
        arguments.parse(words[2:] if program == "python" else words)


# A submission that another command finds


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


def submitted(fake: FakeFlink, state: str) -> Submission:
    fake.says("jobs/b7", {"state": state})
    return Submission("Flink", "flink", f"http://{fake.address}", "b7")


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        ("CREATED", "running"),
        ("RESTARTING", "running"),
        ("FINISHED", "done"),
        ("FAILED", "failed"),
        ("CANCELED", "cancelled"),
    ],
)
def test_the_engine_is_asked_for_the_state_of_a_submission(state: str, standing: str) -> None:
    with FakeFlink(managers=ONE) as fake:
        assert submissions.remote(submitted(fake, state)).state() == standing


def test_a_submission_that_the_engine_does_not_know_is_gone() -> None:
    with FakeFlink(managers=ONE) as fake:
        assert flink.FlinkRemote(f"http://{fake.address}", "other").state() == "gone"


def test_a_job_that_runs_on_a_cluster_is_locked(ledger: Ledger) -> None:
    with FakeFlink(managers=ONE) as fake:
        submissions.record(ledger, submitted(fake, "RUNNING"))
        with pytest.raises(JobLocked, match=r"^Flink job b7 works on this job"), Lock(ledger, "r"):
            pass
        submitted(fake, "FINISHED")
        with Lock(ledger, "r"):
            pass


def test_a_job_stays_locked_while_the_engine_does_not_answer(ledger: Ledger) -> None:
    with FakeFlink(managers=ONE) as fake:
        submissions.record(ledger, submitted(fake, "RUNNING"))
    with pytest.raises(JobLocked, match="is unknown"), Lock(ledger, "r"):
        pass
    with pytest.raises(EngineError):
        cluster_job.cancel(ledger, gone=False)
    cluster_job.cancel(ledger, gone=True)
    with Lock(ledger, "r"):
        pass


def test_a_launcher_is_followed_and_not_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    job.complete("docs")
    report_files.write(job.ledger, job.plan, ledgers.RUN, "full")
    looks: list[float] = []

    def waited(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            held.release()

    with FakeFlink(managers=ONE) as fake:
        submissions.record(job.ledger, replace(submitted(fake, "FINISHED"), run_id=ledgers.RUN))
        held = Lock(job.ledger, "run-2")
        with held:
            monkeypatch.setattr(cluster_job.time, "sleep", waited)
            with pytest.raises(Interrupted, match="The run ended without a report"):
                follow.follow(job.ledger, quiet=True)
        assert len(looks) == 3
        assert follow.follow(job.ledger, quiet=True) == 0


@pytest.mark.parametrize(
    ("copies", "finished", "purpose"),
    [
        (True, False, "copy"),
        (True, True, "verify"),
        (False, False, "sync"),
        (False, True, "verify"),
    ],
)
def test_the_purpose_of_a_run_is_derived_from_its_ledger(
    tmp_path: Path, copies: bool, finished: bool, purpose: str
) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 1_000))
    if finished:
        job.finish("docs", target=1_000)
    assert follow._purpose(job.ledger, replace(job.plan, copies=copies)) == purpose


def test_cancel_stops_the_submission(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_job, "POLL_S", 0.01)
    with FakeFlink(managers=ONE) as fake:
        submissions.record(ledger, submitted(fake, "RUNNING"))
        temporary_changes.record(ledger, temporary_changes.loaded("source", "docs"))
        temporary_changes.record(
            ledger, TemporaryChange("target", "opened", "docs", {"allow_insert_auto_id": None})
        )
        fake.says("jobs/b7?mode=cancel", {})

        def waited(_: float) -> None:
            fake.says("jobs/b7", {"state": "CANCELED"})

        monkeypatch.setattr(cluster_job.time, "sleep", waited)
        assert cluster_job.cancel(ledger, gone=False) == (
            "Stopped Flink job b7. Run the same `kitelift run` command to resume. Until then, "
            "these temporary changes remain: source collection docs loaded, target collection docs "
            "with allow_insert_auto_id."
        )
    assert "PATCH /v1/jobs/b7?mode=cancel" in fake.asked
    with pytest.raises(PreflightError):
        cluster_job.cancel(ledger, gone=False)


# Failures


JAVA = """\
org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(E.java:219)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 5: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1501, in process
    return self.do_fn_invoker.invoke_process(windowed_value)
{error}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "sdk_worker.py", line 307, in _execute
{error} [while running 'Write/Write']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient$ResponseStreamObserver.onNext(F.java:180)
"""


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (
            "transforms.errors.RangeFailed: docs(..10]: the target says no",
            "Flink job b7: docs(..10]: the target says no",
            4,
        ),
        (
            "transforms.errors.ConfigError: token of http://a:1: the environment variable T is not set",
            "Flink job b7: token of http://a:1: the environment variable T is not set",
            2,
        ),
        ("ValueError: boom", "Flink job b7: ValueError: boom (in Write/Write)", 4),
    ],
)
def test_a_failure_in_a_worker_is_one_line(error: str, said: str, code: int) -> None:
    submission = Submission("Flink", "flink", "http://jm:8081", "b7")
    explained = engine.explain_failure(submission, JAVA.format(error=error))
    assert (str(explained), explained.exit_code) == (said, code)


def test_a_failure_of_the_engine_is_its_innermost_cause() -> None:
    text = "a.JobException: Recovery is suppressed\n\tat x\nCaused by: b.Timeout: heartbeat of TM 3\n\tat y"
    submission = Submission("Flink", "flink", "http://jm:8081", "b7")
    assert (
        str(engine.explain_failure(submission, text))
        == "Flink job b7: b.Timeout: heartbeat of TM 3"
    )
