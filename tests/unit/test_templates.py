"""templates/: the files fit each other and the code, as far as that shows without building them."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.shared import arguments
from pipeline.engines import beam_options
from pipeline.jobfile import config
from tests.docs import ROOT
from tests.templates import shim
from transforms.errors import ConfigError

FOLDER = ROOT / "templates"
METADATA = json.loads((FOLDER / "metadata.json").read_text(encoding="utf-8"))
PARAMETERS: list[dict[str, Any]] = METADATA["parameters"]
NAMES = [each["name"] for each in PARAMETERS]
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
GUIDE = (FOLDER / "README.md").read_text(encoding="utf-8")

TYPES = {"TEXT", "GCS_READ_FILE", "GCS_WRITE_FOLDER", "ENUM", "NUMBER", "BOOLEAN"}

NO_PARAMETERS = {
    "help": "nobody reads it there",
    "version": "nobody reads it there",
    "runner": "it is Dataflow",
    "master": "it is Dataflow",
    "deploy-mode": "it is Dataflow",
    "detach": "the launcher never waits",
    "variable": "the job is given as text, with its values in it",
    "quiet": "the launcher shows no progress",
    "report": "there is no report when the launcher ends",
    "metrics_port": "the launcher has no figures",
}
"""Options of `run` that are no parameters, with the reason."""


def example(parameter: dict[str, Any]) -> str:
    return str(parameter["helpText"]).partition("Example: ")[2]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=NAMES)
def test_a_parameter_is_described_and_its_example_is_one(parameter: dict[str, Any]) -> None:
    assert parameter["label"]
    assert parameter["groupName"]
    assert parameter["isOptional"] is True
    assert parameter["paramType"] in TYPES
    assert example(parameter)
    for regex in parameter.get("regexes", []):
        assert re.fullmatch(regex, example(parameter))
        assert re.fullmatch(regex, parameter.get("defaultValue", example(parameter)))
    choices = [each["value"] for each in parameter.get("enumOptions", [])]
    assert bool(choices) == (parameter["paramType"] == "ENUM")
    assert not choices or example(parameter) in choices


@pytest.mark.parametrize("parameter", PARAMETERS, ids=NAMES)
def test_a_parameter_is_an_option_that_takes_its_example(parameter: dict[str, Any]) -> None:
    line = shim.command_line([f"--{parameter['name']}={example(parameter)}"], {})
    given = line[3:]
    assert len(given) == 1
    found = arguments.parse(["run", *given])
    assert (given == list(found.beam)) == (parameter["name"] == "sdk_container_image")


def test_the_options_of_run_are_parameters_or_left_out_for_a_reason() -> None:
    ours = {name[2:] for name in arguments.options_of("run") if name.startswith("--")}
    assert ours - {*NAMES} == {*NO_PARAMETERS}
    assert {*NAMES} - ours == {"sdk_container_image"}
    assert "--sdk_container_image" in beam_options.names()


def test_choices_are_those_of_the_job_file() -> None:
    [verify] = [parameter for parameter in PARAMETERS if parameter["name"] == "verify"]
    text = 'env { verify = %s }\nsource { Milvus { url = "http://a:1" } }\nsink { Milvus { url = "http://b:1" } }'
    for choice in verify["enumOptions"]:
        assert config.parse(text % choice["value"], base=Path()).env.verify == choice["value"]
    with pytest.raises(ConfigError, match="must be one of full, sample, count, none"):
        config.parse(text % "other", base=Path())


def test_the_example_of_a_job_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.milvus.endpoint.gcp_secret", lambda name: name)
    [job] = [parameter for parameter in PARAMETERS if parameter["name"] == "job"]
    found = config.parse(example(job), base=Path())
    assert found.source_endpoint.token == "gcp-secret:projects/p/secrets/source/versions/latest"


def test_the_guides_job_file_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.milvus.endpoint.gcp_secret", lambda name: name)
    [text] = re.findall(r"```\n(env .*?)```", GUIDE, re.DOTALL)
    assert config.parse(text, base=Path()).env.state == "gs://BUCKET/kitelift"


# -- the shim -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--config=gs://b/c", "--region=r"], ["--config=gs://b/c", "--region=r"]),
        (["--yes=true", "--restart=false", "--verbose=True"], ["--yes", "--verbose"]),
        (["--state=", "--unheard_of=1"], []),
        (["--runner=DirectRunner"], ["--runner=DirectRunner"]),
    ],
)
def test_the_launchers_options_become_ours(given: list[str], line: list[str]) -> None:
    assert shim.command_line(given, {}) == ["run", "--quiet", "--runner=DataflowRunner", *line]


def test_workers_are_made_of_the_launchers_image() -> None:
    line = shim.command_line([], {shim.IMAGE: "a/b:1"})
    assert line[3:] == ["--sdk_container_image=a/b:1"]
    assert f"{shim.IMAGE}=${{IMAGE}}" in DOCKERFILE


# -- the images -----------------------------------------------------------------------------------


def sources(line: str) -> list[str]:
    """What a COPY takes from the repository."""
    words = line.split()[1:]
    return [] if words[0].startswith("--from=") else words[:-1]


COPIED = sorted(
    {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ")
        for source in sources(line)
    }
)


@pytest.mark.parametrize("path", COPIED)
def test_what_is_copied_is_there_and_sent_to_the_build(path: str) -> None:
    assert (ROOT / path).exists()
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch.fnmatch(path, each[1:]) for each in sent if each.startswith("!"))


def test_every_stage_that_is_copied_from_comes_before() -> None:
    stages: set[str] = set()
    for line in DOCKERFILE.splitlines():
        if found := re.match(r"FROM \S+ AS (\w+)", line):
            stages.add(found[1])
        if found := re.match(r"COPY --from=(\w+)", line):
            assert found[1] in stages
    assert {"kitelift", "dataflow"} <= stages


CHECKS = {
    "Dockerfile": ["hadolint"],
    "compose.yaml": ["check-jsonschema", "--builtin-schema=vendor.compose-spec"],
    "kubernetes.yaml": ["kubernetes-validate", "--strict"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_not_run_here_is_at_least_well_formed(name: str) -> None:
    tool, *flags = CHECKS[name]
    command = [Path(sys.executable).parent / tool, *flags, FOLDER / name]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_wheel_has_what_its_build_needs() -> None:
    copied = {*COPIED}
    assert {"setup.py", "pyproject.toml", "MANIFEST.in"} <= copied
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    assert {*re.findall(r"[A-Z]+(?:\.md)?\b", manifest.splitlines()[0])} & {"README.md"} <= copied


def test_workers_have_the_release_of_beam_that_is_locked() -> None:
    [locked] = re.findall(
        r"^apache-beam==(\S+)", (ROOT / "requirements-gcp.txt").read_text(), re.MULTILINE
    )
    assert f"apache/beam_python3.11_sdk:{locked}" in DOCKERFILE
    assert "ARG PYTHON=python:3.11-slim" in DOCKERFILE


def test_the_locked_versions_are_those_that_are_tested() -> None:
    """But for two, of which Google's libraries want older ones."""

    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))

    tested, there = pins("requirements.txt"), pins("requirements-gcp.txt")
    assert {name for name in tested if there.get(name) != tested[name]} <= {
        "cachetools",
        "tenacity",
    }


def test_no_file_names_a_registry() -> None:
    for path in FOLDER.iterdir():
        if path.is_file():
            found = re.findall(r"\b[\w-]+\.(?:io|dev)/", path.read_text(encoding="utf-8"))
            assert found == [], path


@pytest.mark.parametrize("name", ["kubernetes.yaml", "compose.yaml"])
def test_the_job_in_a_manifest_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.jobfile.value_types.Endpoint.secret", lambda _: "")
    documents = list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))
    maps = [document for document in documents if document.get("kind") == "ConfigMap"]
    text = maps[0]["data"]["migration.conf"] if maps else (FOLDER / "migration.conf").read_text()
    assert config.parse(text, base=Path()).source.token.get_secret_value().startswith("file:/")
    commands = re.findall(r"\[(run, [^]]*)\]", (FOLDER / name).read_text(encoding="utf-8"))
    assert commands
    for command in commands:
        arguments.parse(command.split(", "))
