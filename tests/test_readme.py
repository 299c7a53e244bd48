"""README.md agrees with the code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline.commands.shared.arguments import COMMANDS, EXIT_CODES
from tests import demo, docs

TEXT = docs.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_explained(command: str) -> None:
    assert re.search(rf"^\| `{command}`", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", EXIT_CODES.splitlines()[1:])
def test_every_exit_code_is_explained(line: str) -> None:
    assert re.search(rf"^\| {line.split(maxsplit=1)[0]} \|", TEXT, re.MULTILINE)


def test_the_demo_prints_the_paths_of_the_reports_that_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "kitelift-state"
    (state / "job").mkdir(parents=True)
    for name in ("report.html", "report.json"):
        (state / "job" / name).touch()
    monkeypatch.chdir(tmp_path)
    demo._keep_report(state)
    shutil.rmtree(state)
    paths = re.findall(r"[\w./-]+/report\.\w+", capsys.readouterr().out.splitlines()[-1])
    assert [Path(path).is_file() for path in paths] == [True, True]
    assert f"keeps the report in `{demo.REPORT}/`" in TEXT


def test_the_example_job_is_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.jobfile import config

    monkeypatch.setenv("TARGET_TOKEN", "root:secret")
    example = re.search(r"```\n(env    \{.*?)```", TEXT, re.DOTALL)
    assert example
    job = config.parse(example[1], base=docs.ROOT)
    assert job.source.collections == ("medium_articles",)


def test_every_linked_file_exists() -> None:
    for path in re.findall(r"\]\(((?!https?:)[^)#]+)\)", TEXT):
        assert (docs.ROOT / path).exists(), path
