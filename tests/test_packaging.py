"""What is built can be installed anywhere, is the same each time, and finds its own packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs import ROOT

BUILT_OF = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE")
EPOCH = "1700000000"


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and, built from that alone, the wheel."""
    copy = tmp_path_factory.mktemp("repository")
    for name in (*BUILT_OF, "kitelift.py"):
        shutil.copy(ROOT / name, copy)
    for name in ("pipeline", "transforms"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(build, copy, SOURCE_DATE_EPOCH=EPOCH)
    run((*build, "--wheel", "--outdir", "again"), copy, SOURCE_DATE_EPOCH=EPOCH)
    return copy


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_repository(built: Path) -> None:
    [from_sdist] = (built / "dist").glob("*.whl")
    [directly] = (built / "again").glob("*.whl")
    assert from_sdist.read_bytes() == directly.read_bytes()


def test_the_wheel_holds_every_module_and_says_that_it_has_types(built: Path) -> None:
    [wheel] = (built / "dist").glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        str(path.relative_to(ROOT))
        for package in ("pipeline", "transforms")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".j2", ".typed")
    }
    assert names == there | {"kitelift.py"}
    assert {"pipeline/py.typed", "transforms/py.typed"} <= names


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what the wheel needs is that of ours."""
    environment = tmp_path_factory.mktemp("environment")
    run((sys.executable, "-m", "venv", "--without-pip", environment), environment)
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    [wheel] = (built / "dist").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    run((*pip, "install", "--quiet", "--no-deps", "--no-index", wheel), environment)
    # Not by a .pth: that of our own editable install would be read too.
    (site / "borrowed.pth").write_text(
        f"import sys; sys.path.append({sysconfig.get_paths()['purelib']!r})\n", encoding="utf-8"
    )
    return environment


@pytest.mark.parametrize("command", ["kitelift", "python -m pipeline"])
def test_the_command_runs_from_any_folder(installed: Path, tmp_path: Path, command: str) -> None:
    program, *words = command.split()
    shown = run((installed / "bin" / program, *words, "plan", "--help"), tmp_path)
    assert "usage: kitelift plan " in shown


def test_the_wheel_is_what_others_import(installed: Path, tmp_path: Path) -> None:
    code = (
        "from kitelift import ReadFromMilvus, WriteToMilvus; import kitelift, transforms\n"
        "print(kitelift.__file__, transforms.__file__, ReadFromMilvus, WriteToMilvus)"
    )
    home, transforms, *_ = run((installed / "bin" / "python", "-c", code), tmp_path).split()
    assert home.startswith(str(installed))
    assert transforms.startswith(str(installed))


@pytest.mark.parametrize("name", ["pipeline", "transforms"])
def test_a_package_of_the_same_name_is_told(installed: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / name
    other.mkdir()
    (other / "__init__.py").touch()
    done = subprocess.run(
        [installed / "bin" / "kitelift", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Python imports {other} as {name}, instead of Kitelift's own package" in done.stderr
    assert "remove that folder from PYTHONPATH" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_wheel_installs_into_an_empty_environment(tmp_path: Path) -> None:
    shown = run(("make", "wheel", f"DIST={tmp_path}/dist"), ROOT)
    assert "Copy Milvus collections" in shown
    assert sorted(path.suffix for path in (tmp_path / "dist").iterdir()) == [".gz", ".whl"]
