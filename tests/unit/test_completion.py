"""Shell completion, tested with a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pipeline import cli
from pipeline.commands.completion import script
from pipeline.commands.shared.arguments import COMMANDS, options_of

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def completed(*words: str) -> list[str]:
    """Returns what bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in ("kitelift", *words))
    ask = (
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _kitelift; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    program = f"{script()}\n{ask}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_first_word_is_a_command() -> None:
    assert completed("") == list(COMMANDS)
    assert completed("ve") == ["verify"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_options(command: str) -> None:
    assert completed(command, "-") == options_of(command)


def test_without_a_command_the_options_are_those_of_run() -> None:
    assert completed("--rest") == ["--restart"]


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion"]) == 0
    assert capsys.readouterr().out == script()
