"""Where a job may be: in a file, behind a URI, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import arguments
from pipeline.jobfile import config
from pipeline.jobfile.places import text_of
from transforms.errors import ConfigError

JOB = 'source { Milvus { url = "http://a:1" } }\nsink { Milvus { url = "http://b:1" } }'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "my job.conf"
    made.write_text(f"\ufeff{JOB}", encoding="utf-8")
    return made


def test_a_file_is_read_by_its_path_and_by_its_uri(file: Path) -> None:
    assert text_of(file) == text_of(file.as_uri()) == JOB


@pytest.mark.parametrize("as_uri", [False, True])
def test_what_cannot_be_read_is_told_with_its_place(file: Path, as_uri: bool) -> None:
    def place(path: Path) -> Path | str:
        return path.as_uri() if as_uri else path

    with pytest.raises(ConfigError, match=r"other\.conf: no such file"):
        text_of(place(file.with_name("other.conf")))
    with pytest.raises(ConfigError, match="cannot be read"):
        text_of(place(file.parent))
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        text_of(place(file))


def test_a_uri_of_no_known_kind_is_told() -> None:
    with pytest.raises(ConfigError, match=r"ftp://host/job\.conf: cannot be read"):
        text_of("ftp://host/job.conf")


def test_the_command_line_names_the_place_or_is_the_job(file: Path) -> None:
    by_uri = arguments.parse(["run", f"--config={file.as_uri()}"])
    assert by_uri.config_uri == file.as_uri()
    assert config.load(by_uri.config_uri).source.url == "http://a:1"
    assert arguments.parse(["run", f"--config={file}"]).config == file
    assert arguments.parse(["run"]).config == Path("migration.conf")
    given = arguments.parse(["run", f"--job={JOB}"])
    assert config.load(given.config, text=given.job).sink.url == "http://b:1"


def test_a_problem_of_the_text_is_told_without_a_file() -> None:
    with pytest.raises(ConfigError, match=r"source\.Milvus\.urll: unknown key"):
        config.load(Path("migration.conf"), text=JOB.replace("url", "urll", 1))
