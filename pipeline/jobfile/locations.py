"""The locations of a job file, a path or a URI, and of its ledger."""

from __future__ import annotations

import logging
import os
import platform
import re
from pathlib import Path

from transforms.errors import ConfigError

logger = logging.getLogger(__name__)

_WINDOWS_PATH = re.compile(r"/*[A-Za-z]:([\\/]|$)|\\\\|\.{1,2}\\")
r"""A path with a drive (`C:\state`, `file:///C:/state`), on a share, or `.\state`."""


def read_text(place: Path | str) -> str:
    """Reads a text file; a string is a URI: gs://, s3://, hdfs://, file://.

    Raises:
        ConfigError: the file does not exist, cannot be read, or is not text.
    """
    try:
        data = place.read_bytes() if isinstance(place, Path) else _fetched(place)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([f"{place}: no such file{_remedy(place)}"]) from None
    except OSError as error:
        raise ConfigError([f"{place}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{place}: is not UTF-8 text"]) from None


def check_ledger_uri(state: str) -> str:
    """Returns the location of a ledger unchanged.

    Raises:
        ValueError: a ledger cannot be stored there.
    """
    if state.partition("://")[0].lower() in ("hdfs", "viewfs", "har"):
        raise ValueError(
            "a ledger cannot be stored in HDFS, which shows files before they are complete; use "
            "s3://, gs://, or a folder that all hosts share"
        )
    # Elsewhere, it would be one file name with backslashes in the current folder.
    if os.name != "nt" and _WINDOWS_PATH.match(state.removeprefix("file:")):
        raise ValueError(
            f"is a path of Windows, and this host runs {platform.system()}; write a path of this "
            "host, for example ./kitelift-state"
        )
    return state


def resolve_state(state: str, folder: Path, job_id: str) -> str:
    """Returns the location of the ledger of a job file in `folder`: relative to that folder.

    There are two exceptions, where it is relative to the current folder: a job of an earlier
    version that has its ledger there, and a job file in a read-only folder such as a ConfigMap.
    """
    scheme, path = ("file:", state[5:]) if state.startswith("file:") else ("", state)
    if "://" in state or Path(path).is_absolute() or folder.resolve() == Path.cwd():
        return state
    beside_job_file = folder / path
    if (beside_job_file / job_id).exists():
        return f"{scheme}{beside_job_file}"
    if (Path(path) / job_id).exists():
        logger.warning(
            "the ledger of this job is in %s, in the current folder. New jobs have their ledger in "
            "%s, next to the job file. Run this job from the current folder until it is done.",
            Path(path).absolute(),
            beside_job_file.absolute(),
        )
        return state
    return f"{scheme}{beside_job_file}" if os.access(folder, os.W_OK) else state


def _remedy(place: Path | str) -> str:
    """Returns how to create a job file; "" for a URI, where `init` cannot write."""
    if not isinstance(place, Path):
        return ""
    servers = "--source=http://HOST:19530 --target=http://HOST:19530"
    return f"; create it with `kitelift init --config={place} {servers}`"


def _fetched(uri: str) -> bytes:
    from pyarrow import ArrowInvalid, fs

    try:
        system, path = fs.FileSystem.from_uri(uri)
    except ArrowInvalid as error:
        raise OSError(str(error)) from error
    with system.open_input_stream(path) as stream:
        return stream.read()  # type: ignore[no-any-return]
