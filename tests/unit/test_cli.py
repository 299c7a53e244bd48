"""The command line: what is accepted, and the messages for what is not."""

from __future__ import annotations

import ast
import gc
import json
import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from pipeline.commands.shared import common_options
from pipeline.commands.shared.arguments import COMMANDS, EXIT_CODES, Arguments, options_of, parse
from pipeline.console import finding_lines, version
from pipeline.jobfile.job import JobConfig
from tests import kitelift, ledgers
from transforms import errors
from transforms.errors import ConfigError
from transforms.finding import Finding

DEFAULTS = {
    "command": "run",
    "config": Path("migration.conf"),
    "overrides": {},
    "runner": "DirectRunner",
    "restart": False,
    "report": None,
    "as_json": False,
    "quiet": False,
    "verbose": False,
    "beam": (),
}

UNDERSTOOD: dict[str, dict[str, Any]] = {
    "run": {},
    "plan": {"command": "plan"},
    "verify": {"command": "verify"},
    "status": {"command": "status"},
    "--config=job.conf": {"config": Path("job.conf")},
    "--config job.conf": {"config": Path("job.conf")},
    "-c job.conf": {"config": Path("job.conf")},
    "plan --config=job.conf": {"command": "plan", "config": Path("job.conf")},
    "--config=job.conf plan": {"command": "plan", "config": Path("job.conf")},
    "--config plan": {"config": Path("plan")},
    "--quiet plan": {"command": "plan", "quiet": True},
    "--runner=DirectRunner --config=job.conf": {"config": Path("job.conf")},
    "-m local": {},
    "--master local": {},
    "--deploy-mode local": {},
    "--state=s3://bucket/kitelift": {"overrides": {"env.state": "s3://bucket/kitelift"}},
    "--verify=count": {"overrides": {"env.verify": "count"}},
    "--parallelism=8": {"overrides": {"env.parallelism": "8"}},
    "--accept=source-version": {"overrides": {"env.accept": "source-version"}},
    "--accept=a --accept=b": {"overrides": {"env.accept": "a,b"}},
    "--restart": {"restart": True},
    "--report=out/report.json": {"report": Path("out/report.json")},
    "verify --report=r.json": {"command": "verify", "report": Path("r.json")},
    "plan --json": {"command": "plan", "as_json": True},
    "status --json": {"command": "status", "as_json": True},
    "-m cluster": {"runner": ""},
    "-m cluster --runner=SparkRunner": {"runner": "SparkRunner"},
    "--runner=FlinkRunner --flink_master=jm:8081": {
        "runner": "FlinkRunner",
        "beam": ("--flink_master=jm:8081",),
    },
    "--max_parallelism=8": {"beam": ("--max_parallelism=8",)},
    "--detach": {"detach": True},
    "status --follow": {"command": "status", "follow": True},
    "cancel --yes": {"command": "cancel", "yes": True},
    "worker-pool --listen=10.0.0.7:50000": {"command": "worker-pool", "listen": "10.0.0.7:50000"},
    "--quiet": {"quiet": True},
    "--verbose": {"verbose": True},
    "--job_name=nightly": {"beam": ("--job_name=nightly",)},
}

REFUSED = {
    "rum": "rum: no such command; did you mean run?",
    "migrate": f"migrate: no such command; commands: {', '.join(COMMANDS)}",
    "plan everything": "everything: unexpected; options begin with --",
    "--confg=job.conf": "--confg: no such option; did you mean --config?",
    "--conf=job.conf": "--conf: no such option; did you mean --config?",
    "--restrat": "--restrat: no such option; did you mean --restart?",
    "--job_nam=nightly": (
        "--job_nam: neither Kitelift nor Beam has this option; did you mean --job_name?"
    ),
    "--zzz": "--zzz: neither Kitelift nor Beam has this option",
    "-m local --runner=FlinkRunner": (
        "-m local: --runner=FlinkRunner runs on a cluster; remove one of the two"
    ),
    "-m cluster --runner=DirectRunner": (
        "-m cluster: --runner=DirectRunner runs here; remove one of the two"
    ),
    "-m cloud": (
        "argument -m/--master/--deploy-mode: invalid choice: 'cloud' "
        "(choose from 'local', 'cluster') (--help lists the options)"
    ),
    "--config": "argument -c/--config: expected one argument (--help lists the options)",
}


def test_an_option_that_is_left_out_has_its_default() -> None:
    assert vars(parse([])).items() >= DEFAULTS.items()


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_a_command_line_is_parsed(line: str) -> None:
    assert vars(parse(line.split())) == vars(parse([])) | UNDERSTOOD[line]


@pytest.mark.parametrize("line", REFUSED)
def test_a_command_line_is_refused_with_a_hint(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(line.split())
    assert str(caught.value) == REFUSED[line]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan --restart", "--restart"),
        ("status --report=r.json", "--report"),
        ("run --json", "--json"),
    ],
)
def test_an_option_of_another_command_is_refused(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}: "):
        parse(line.split())


def test_all_unknown_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(["--frobnicate", "--twiddle=3"])
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "--frobnicate",
        "--twiddle",
    ]


def test_an_unknown_runner_is_refused_before_any_server_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--runner=SparkRuner", job_file(tmp_path)) == 2
    assert "--runner=SparkRuner: must be one of DirectRunner, FlinkRunner, SparkRunner" in stderr(
        capsys
    )


# Exit codes


def job_file(tmp_path: Path) -> str:
    path = tmp_path / "migration.conf"
    path.write_text(
        f"""
        env {{ state = "{tmp_path}/state" }}
        source {{ Milvus {{ url = "http://127.0.0.1:1" }} }}
        sink {{ Milvus {{ url = "http://127.0.0.1:2" }} }}
        """
    )
    return f"--config={path}"


def run(*argv: str) -> int:
    return cli.main(argv)


def stderr(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_wrong_command_line_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rum") == 2
    assert stderr(capsys) == "kitelift: rum: no such command; did you mean run?\n"


def test_a_missing_job_file_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"--config={tmp_path}/none.conf") == 2
    servers = "--source=http://HOST:19530 --target=http://HOST:19530"
    remedy = f"kitelift init --config={tmp_path}/none.conf {servers}"
    assert (
        stderr(capsys)
        == f"kitelift: {tmp_path}/none.conf: no such file; create it with `{remedy}`\n"
    )


def test_each_problem_of_a_job_file_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.conf").write_text('source { Milvus { tokn = "a" } }')
    assert run(f"--config={tmp_path}/bad.conf") == 2
    lines = stderr(capsys).splitlines()
    assert len(lines) > 1
    assert all(line.startswith("kitelift: ") for line in lines)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PreflightError(["1 finding stops the job"]), 3),
        (errors.Refused("http://a", "Query", "no", 100), 4),
        (errors.LedgerError("/state", "No space left on device"), 4),
        (errors.Interrupted("Run it again."), 5),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped by Beam"])
def test_an_error_of_kitelift_is_one_line_with_its_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: errors.MigrationError,
    code: int,
    wrapped: bool,
) -> None:
    def command(job: JobConfig, arguments: Arguments) -> int:
        try:
            raise error
        except errors.MigrationError as ours:
            if wrapped:
                raise RuntimeError("Error in step Write") from ours
            raise

    monkeypatch.setattr("pipeline.commands.run.run", command)
    assert run(job_file(tmp_path)) == code
    assert stderr(capsys) == f"kitelift: {error}\n"


def test_a_bug_exits_with_1_and_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.plan.plan", lambda job, arguments: 1 // 0)
    assert run("plan", job_file(tmp_path)) == 1
    words = stderr(capsys)
    assert "ZeroDivisionError" in words
    assert "kitelift: this is a bug. Nothing is lost" in words


def test_a_closed_pipe_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(job: JobConfig, arguments: Arguments) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("pipeline.commands.status.status", command)
    assert run("status", job_file(tmp_path)) == 0


def test_the_command_line_overrides_the_job_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[JobConfig] = []
    monkeypatch.setattr("pipeline.commands.plan.plan", lambda job, arguments: seen.append(job) or 0)
    line = "plan --accept=lost:a --accept=lost:b --verify=none --parallelism=3 --state=/elsewhere"
    assert run(*line.split(), job_file(tmp_path)) == 0
    [env] = [job.env for job in seen]
    assert (env.accept, env.verify, env.parallelism) == (("lost:a", "lost:b"), "none", 3)
    assert env.state == "/elsewhere"


def test_an_invalid_value_on_the_command_line_is_reported_like_one_in_the_job_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--parallelism=many", job_file(tmp_path)) == 2
    assert stderr(capsys) == 'kitelift: --parallelism: must be a whole number, not "many"\n'


# The log


def test_with_log_format_json_every_line_on_stderr_is_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(job: JobConfig, arguments: Arguments) -> int:
        logging.getLogger("pipeline.commands.run").warning("the earlier ledger is now %s", "aside")
        finding_lines.show((Finding("no-collection", "source", "no collection 'a'.", "Name b."),))
        raise errors.PreflightError(["1 finding stops the job."])

    monkeypatch.setattr("pipeline.commands.run.run", command)
    assert run(job_file(tmp_path), "--log_format=json") == 3
    entries = [json.loads(line) for line in stderr(capsys).splitlines()]
    assert [(entry["level"], entry["message"]) for entry in entries] == [
        ("warning", "the earlier ledger is now aside"),
        ("error", "source: no collection 'a'. Name b."),
        ("error", "1 finding stops the job."),
    ]
    assert entries[1]["finding"]["code"] == "no-collection"
    assert all(entry["at"] > 1_700_000_000 for entry in entries)


def test_a_bug_and_a_wrong_command_line_are_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("rum", "--log_format=json") == 2
    [wrong] = [json.loads(line) for line in stderr(capsys).splitlines()]
    assert wrong["message"] == "rum: no such command; did you mean run?"
    monkeypatch.setattr("pipeline.commands.plan.plan", lambda job, arguments: 1 // 0)
    assert run("plan", job_file(tmp_path), "--log_format=json") == 1
    bug, message = [json.loads(line) for line in stderr(capsys).splitlines()]
    assert "ZeroDivisionError" in bug["traceback"]
    assert message["message"].startswith("this is a bug.")


def test_a_character_that_the_stream_lacks_is_escaped(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("\u043a\u043d\u0438\u0433\u0438", 1_000))
    job.ledger.write_plan(job.plan)
    conf = kitelift.write_job(
        tmp_path, "http://a:1", "http://b:1", env={"job.name": "job-1", "state": str(tmp_path)}
    )
    latin = {"PYTHONIOENCODING": "latin-1"}
    with kitelift.Running(conf, "status", f"--config={conf}", environment=latin) as running:
        ended = running.wait()
    assert (ended.code, ended.err) == (0, "")
    assert r"  \u043a\u043d\u0438\u0433\u0438: waiting 0/1,000 rows (0 %)" in ended.out


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_the_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    usage, _, options = text.partition("\noutput:\n")
    assert usage.startswith(f"usage: kitelift {command} [OPTIONS]")
    assert f"\nexample:\n  kitelift {command} " in options
    assert EXIT_CODES in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_help_lists_all_commands_and_the_options_of_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(f"  {name:13}{words}" in lines for name, words in COMMANDS.items())
    assert "options of run:" in lines


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_that_has_an_effect(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    missing = {option for option in options_of(command) if option not in text}
    runner = {"--runner", "--master", "--deploy-mode", "-m"}
    job = {"--config", "-c", "--job", "-i", "--variable"}
    job |= {"--accept", "--verify", "--state", "--parallelism"}
    hidden = set() if common_options.takes_beam_options(command) else runner
    if command in ("worker-pool", "completion"):
        hidden |= job
    assert missing <= hidden


# Each takes between 0.1 s and more than 1 s to import.
DATA_LIBRARIES = {
    "apache_beam",
    "pymilvus",
    "pyarrow",
    "numpy",
    "pandas",
    "grpc",
    "google.protobuf",
}


def imported_by(*words: str) -> set[str]:
    """Returns the modules that a command without servers imports until it ends."""
    program = """
import sys
from pipeline import cli
try:
    cli.main(sys.argv[1:])
finally:
    print(sorted(sys.modules))
"""
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_help_imports_nothing_heavy() -> None:
    heavy = DATA_LIBRARIES | {"pydantic", "pyhocon", "rich", "jinja2"}
    assert heavy.isdisjoint(imported_by("--help"))


@pytest.mark.parametrize("command", [(), ("plan",)], ids=["alone", "of a command"])
def test_version_imports_nothing_heavy_and_names_python_beam_and_pymilvus(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--version"])
    assert ended.value.code == 0
    python = ".".join(map(str, sys.version_info[:3]))
    beam, client = metadata.version("apache-beam"), metadata.version("pymilvus")
    said = f"kitelift {metadata.version('kitelift')} (Python {python}, apache-beam {beam}, pymilvus {client})\n"
    assert capsys.readouterr().out == said
    assert DATA_LIBRARIES.isdisjoint(imported_by(*command, "--version"))


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert version.describe_installation().startswith("kitelift (not installed) (Python 3.")


def test_a_mistake_in_the_job_file_is_reported_before_anything_heavy_is_imported(
    tmp_path: Path,
) -> None:
    job = tmp_path / "bad.conf"
    job.write_text("""
        source { Milvus { url = "http://source:19530", tokn = a } }
        transform {
          RowFilter { expression = "id > 5" }
          FieldMapper { field_mapper { id = key } }
          FieldRename { prefix = new_ }
          Constant { fields { part = { type = Int8, value = 7 } } }
          Python { function = "json:loads" }
        }
        sink { Milvus { url = "http://target:19530"
          field_schema = [{ field_name = title, max_length = 512 }] } }
    """)
    imported = imported_by("plan", f"--config={job}")
    assert "pipeline.jobfile.config" in imported
    assert DATA_LIBRARIES.isdisjoint(imported)


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "pipeline", "rum"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kitelift: rum: no such command; did you mean run?\n"


def test_what_is_imported_is_exempt_from_garbage_collection() -> None:
    before = gc.get_freeze_count()
    with cli._exempt_from_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "worker-pool"])
def test_every_command_has_a_function(name: str) -> None:
    assert callable(cli.function_of(name))
