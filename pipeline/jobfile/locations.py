"""Where a job file may be, a path or behind a URI; and where its ledger."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from transforms.errors import ConfigError

logger = logging.getLogger(__name__)


def read_text(place: Path | str) -> str:
    """Reads a text; a string is a URI: gs://, s3://, hdfs://, file://.

    Raises:
        ConfigError: it is not there, cannot be read, or is no text.
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
    """Returns the place of a ledger.

    Raises:
        ValueError: none can be kept there.
    """
    if state.partition("://")[0].lower() in ("hdfs", "viewfs", "har"):
        raise ValueError(
            "no ledger can be kept in HDFS, where an object is seen before it is whole; give "
            "s3://, gs://, or a folder that all hosts share"
        )
    return state


def resolve_state(state: str, folder: Path, job_id: str) -> str:
    """Returns where the ledger is that a job file in `folder` names: relative to that folder.

    A job that was begun when ledgers were relative to the current folder keeps its ledger there,
    and so does one whose job file is in a folder that cannot be written, such as a ConfigMap.
    """
    scheme, path = ("file:", state[5:]) if state.startswith("file:") else ("", state)
    if "://" in state or Path(path).is_absolute() or folder.resolve() == Path.cwd():
        return state
    there = folder / path
    if (there / job_id).exists():
        return f"{scheme}{there}"
    if (Path(path) / job_id).exists():
        logger.warning(
            "the ledger of this job is in %s, in the current folder; that of a new job is in %s, "
            "beside the job file. Run this job from here until it is done.",
            Path(path).absolute(),
            there.absolute(),
        )
        return state
    return f"{scheme}{there}" if os.access(folder, os.W_OK) else state


def _remedy(place: Path | str) -> str:
    """Says how to get a job file; `init` writes none behind a URI."""
    if not isinstance(place, Path):
        return ""
    servers = "--source=http://HOST:19530 --target=http://HOST:19530"
    return f"; `kitelift init --config={place} {servers}` writes one"


def _fetched(uri: str) -> bytes:
    from pyarrow import ArrowInvalid, fs

    try:
        system, path = fs.FileSystem.from_uri(uri)
    except ArrowInvalid as error:
        raise OSError(str(error)) from error
    with system.open_input_stream(path) as stream:
        return stream.read()  # type: ignore[no-any-return]
