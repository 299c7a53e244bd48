"""`kitelift init`: a starter job file from both servers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.settings import Env
from tests import sockets
from tests.clusters import schema
from tests.dataflow.jobs import Job, rows

Init = Callable[..., int]
SECRET = "root:n0t-t0-be-seen"


@pytest.fixture
def init(job: Job) -> Init:
    """Runs `init` with the two servers of a job; options as ``source_token="…"``."""

    def run(**options: str) -> int:
        values = {"source": job.source.url, "target": job.target.url, **options}
        argv = [f"--{name}={value}" for name, value in values.items()]
        return cli.main(["init", f"--config={job.folder}/migration.conf", *argv])

    return run


def text(job: Job) -> str:
    return (job.folder / "migration.conf").read_text()


def read(job: Job) -> JobConfig:
    return config.load(job.folder / "migration.conf")


def test_the_file_lists_the_loaded_collections(
    job: Job, init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema("docs"), rows(20))
    job.source.create(schema("old"), rows(3)).loaded = False

    assert init() == 0

    generated = read(job)
    assert generated.source.collections == ("docs",)
    assert (generated.source.url, generated.sink.url) == (job.source.url, job.target.url)
    assert '"docs",   # 20 rows, 3 fields' in text(job)
    assert '# "old",   # 3 rows, 3 fields, not loaded' in text(job)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{job.folder}/migration.conf: 1 loaded collection, 20 rows of {job.source.url}.",
        f"Next: kitelift doctor --config={job.folder}/migration.conf",
    ]


def test_the_job_runs(job: Job, init: Init) -> None:
    job.source.create(schema("docs"), rows(20))
    init()
    conf, state = f"--config={job.folder}/migration.conf", f"--state={job.folder}/state"
    assert cli.main(["run", conf, state, "--quiet"]) == 0
    assert len(job.target["docs"].rows()) == 20


@pytest.mark.parametrize(
    ("token", "warned"), [("env:MY_TOKEN", False), (SECRET, True)], ids=["reference", "literal"]
)
def test_a_token_is_written_as_given_and_not_printed(
    job: Job,
    init: Init,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    warned: bool,
) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    assert init(source_token=token, target_token=token) == 0
    assert text(job).count(f'token = "{token}"') == 2
    assert (job.folder / "migration.conf").stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert ("The file contains a token in plain text; use env:NAME" in said.out) == warned


def test_an_unreachable_target_is_a_warning(
    job: Job, init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema("docs"), rows(20))
    away = f"http://127.0.0.1:{sockets.closed_port()}"

    assert init(target=away) == 0

    assert read(job).sink.url == away
    [line] = capsys.readouterr().err.splitlines()
    begin = f"kitelift: warning: {job.folder}/migration.conf was written without the target"
    assert line.startswith(begin)
    assert "connection refused: no server listens on this port. Correct sink.Milvus.url in" in line


def test_a_missing_target_database_is_created_by_the_job(job: Job, init: Init) -> None:
    job.source.databases.append("shop")
    assert init(source_database="shop", target_database="shop") == 0
    assert read(job).sink.create_database


def test_a_source_without_a_loaded_collection_gives_a_file_to_choose_from(
    job: Job, init: Init
) -> None:
    job.source.create(schema("old"), rows(3)).loaded = False
    assert init() == 0
    assert read(job).source.collections is None
    assert '# "old",   # 3 rows, 3 fields, not loaded' in text(job)


def test_common_options_are_written_into_the_file(job: Job, init: Init) -> None:
    job.source.create(schema("docs"), rows(20))
    values = {"parallelism": "3", "state": "s3://b/s", "verify": "count", "accept": "lost:docs.*"}
    assert init(**values) == 0
    env = read(job).env
    assert (env.parallelism, env.state, env.verify) == (3, "s3://b/s", "count")
    assert env.accept == ("lost:docs.*",)
    assert [line for line in text(job).splitlines() if line.startswith("  # ")] == []


def test_other_keys_are_shown_with_their_defaults(job: Job, init: Init) -> None:
    assert init() == 0
    assert read(job).env == Env(parallelism=read(job).env.parallelism)
    defaults = re.findall(r"^  # (\w+ = .*?) +#", text(job), re.MULTILINE)
    assert defaults == ['state = "./kitelift-state"', 'verify = "full"', "accept = []"]


@pytest.mark.parametrize(
    ("option", "value"), [("--config", "gs://bucket/migration.conf"), ("--job", "env { }")]
)
def test_init_only_writes_a_file_on_this_host(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    sides = ("--source=http://127.0.0.1:1", "--target=http://127.0.0.1:2")
    assert cli.main(["init", f"{option}={value}", *sides]) == 2
    assert "init writes a file on this host" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_overwritten(
    job: Job, init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.folder / "migration.conf").write_text("mine")
    assert init() == 2
    assert text(job) == "mine"
    assert "already exists; choose another name with --config=FILE" in capsys.readouterr().err


WRONG = {
    "a url without a scheme": (
        {"source": "localhost:19530"},
        (2, "kitelift: --source: has no scheme; write http://localhost:19530"),
    ),
    "a variable that is not set": (
        {"target_token": "env:NO_SUCH_TOKEN"},
        (2, "kitelift: --target_token: the environment variable NO_SUCH_TOKEN is not set"),
    ),
    "a database that does not exist": (
        {"source_database": "shop"},
        (3, "has no database 'shop'; databases: default."),
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_option_is_reported_by_its_name_and_nothing_is_written(
    job: Job, init: Init, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    options, (code, words) = WRONG[kind]
    assert init(**options) == code
    assert words in capsys.readouterr().err
    assert not (job.folder / "migration.conf").exists()


def test_an_unreachable_source_is_an_error(
    job: Job, init: Init, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(source=f"http://127.0.0.1:{sockets.closed_port()}") == 3
    said = capsys.readouterr().err
    assert "connection refused: no server listens on this port" in said
    assert "no file was written" in said


def test_both_servers_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", f"--config={tmp_path}/migration.conf"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "kitelift: --source: missing; add --source=http://HOST:19530",
        "kitelift: --target: missing; add --target=http://HOST:19530",
    ]
