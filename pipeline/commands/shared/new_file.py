"""The file that `kitelift init` writes: where it may be, and who can read it."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.commands.shared.arguments import Arguments
from transforms.errors import ConfigError


def check_place(arguments: Arguments) -> Path:
    """Returns the path of the new file.

    Raises:
        ConfigError: it is not on this host, or it exists.
    """
    path = arguments.config
    if arguments.config_uri or arguments.job:
        option = "--job" if arguments.job else f"--config={arguments.config_uri}"
        why = "init writes a file on this host; name it with --config=FILE"
        raise ConfigError([f"{option}: {why}"])
    if path.exists():
        raise ConfigError([f"{path}: already exists; choose another name with --config=FILE"])
    return path


def write(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, since it may contain a token.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        raise ConfigError([f"cannot write {path}: {error.strerror}"]) from error
