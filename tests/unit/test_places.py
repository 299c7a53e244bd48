"""The locations of a job (file, URI, command line) and of its ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import cli
from pipeline.commands.shared import arguments
from pipeline.jobfile import config
from pipeline.jobfile.locations import read_text
from tests import logs
from transforms.errors import ConfigError

JOB = 'source { Milvus { url = "http://a:1" } }\nsink { Milvus { url = "http://b:1" } }'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my job.conf"
    path.write_text(f"\ufeff{JOB}", encoding="utf-8")
    return path


def test_a_file_is_read_by_its_path_and_by_its_uri(file: Path) -> None:
    assert read_text(file) == read_text(file.as_uri()) == JOB


@pytest.mark.parametrize("as_uri", [False, True])
def test_an_unreadable_file_is_named(file: Path, as_uri: bool) -> None:
    def place(path: Path) -> Path | str:
        return path.as_uri() if as_uri else path

    with pytest.raises(ConfigError, match=r"other\.conf: no such file"):
        read_text(place(file.with_name("other.conf")))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(place(file.parent))
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_text(place(file))


def test_an_unknown_uri_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ftp://host/job\.conf: cannot be read"):
        read_text("ftp://host/job.conf")


def test_the_command_line_has_the_location_or_the_text_of_the_job(file: Path) -> None:
    by_uri = arguments.parse(["run", f"--config={file.as_uri()}"])
    assert by_uri.config_uri == file.as_uri()
    assert config.load(by_uri.config_uri).source.url == "http://a:1"
    assert arguments.parse(["run", f"--config={file}"]).config == file
    assert arguments.parse(["run"]).config == Path("migration.conf")
    given = arguments.parse(["run", f"--job={JOB}"])
    assert config.load(given.config, text=given.job).sink.url == "http://b:1"


def test_a_problem_of_the_jobs_text_names_no_file() -> None:
    with pytest.raises(ConfigError, match=r"source\.Milvus\.urll: unknown key"):
        config.load(Path("migration.conf"), text=JOB.replace("url", "urll", 1))


# Where the ledger is


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job file in another folder than the current one."""
    for name in ("here", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "other" / "migration.conf"
    path.write_text(f'env {{ job.name = "j" }}\n{JOB}')
    return path


def state_of(file: Path) -> str:
    return config.with_resolved_state(config.load(file), file.parent).env.state


def test_a_ledger_is_next_to_its_job_file_whatever_the_current_folder(elsewhere: Path) -> None:
    assert state_of(elsewhere) == str(elsewhere.parent / "kitelift-state")
    relative = Path("..") / "other" / "migration.conf"
    assert Path(state_of(relative)).resolve() == elsewhere.parent / "kitelift-state"


def test_a_job_file_in_the_current_folder_has_its_ledger_there(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere.parent)
    assert state_of(Path("migration.conf")) == state_of(elsewhere) == "./kitelift-state"


def test_an_existing_ledger_in_the_current_folder_is_used_with_a_note(
    elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("kitelift-state/j").mkdir(parents=True)
    assert state_of(elsewhere) == "./kitelift-state"
    assert f"the ledger of this job is in {Path('kitelift-state').absolute()}" in caplog.text
    assert str(elsewhere.parent / "kitelift-state") in caplog.text


def test_of_two_ledgers_the_one_next_to_the_job_file_is_used(
    elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("kitelift-state/j").mkdir(parents=True)
    (elsewhere.parent / "kitelift-state" / "j").mkdir(parents=True)
    assert state_of(elsewhere) == str(elsewhere.parent / "kitelift-state")
    assert not caplog.text


def test_with_a_read_only_folder_the_ledger_is_in_the_current_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # Root may write anywhere.
    assert state_of(elsewhere) == "./kitelift-state"


@pytest.mark.parametrize("state", ["/mnt/state", "s3://bucket/state", "gs://bucket/state"])
def test_an_absolute_ledger_location_is_unchanged(elsewhere: Path, state: str) -> None:
    elsewhere.write_text(f'env {{ state = "{state}" }}\n{JOB}')
    assert state_of(elsewhere) == state


@pytest.mark.parametrize("given", [False, True])
def test_a_ledger_from_the_command_line_is_relative_to_the_current_folder(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    with logs.kept():
        assert cli.main(["status", f"--config={elsewhere}", *["--state=mine"] * given]) == 0
    place = "mine" if given else str(elsewhere.parent / "kitelift-state")
    assert capsys.readouterr().out.startswith(f"job j: new ({place}/j is empty)")
