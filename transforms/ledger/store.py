"""Named objects under one URI, each written whole: what the ledger is kept in.

Every object gets its final name by an atomic step, so that any number of workers may write and any
crash leaves each object whole or not there. What is half written has a name that starts with a dot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import TypeAdapter, ValidationError

from transforms.errors import LedgerError

StoredValue = TypeVar("StoredValue")


OTHER_VERSION = (
    "it was written by another version of Kitelift, or changed by hand: use that version, or drop "
    "the target collections and begin anew with `kitelift run --restart`"
)


class Store:
    """The objects of one job under one state URI: local, or anything that `pyarrow.fs` opens.

    Pickles; opens its file system where it is used.
    """

    def __init__(self, state: str, job_id: str) -> None:
        self.state = state
        self.job_id = job_id
        self._opened: tuple[fs.FileSystem, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "job_id": self.job_id, "_opened": None}

    @property
    def location(self) -> str:
        """Where the job's folder is, as the user would write it; without a URI's options."""
        if "://" not in self.state:
            return f"{self.state.rstrip('/')}/{self.job_id}"
        parts = urlsplit(self.state)
        host = parts.netloc.rpartition("@")[2]  # Before it may stand a key and its secret.
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{self.job_id}"

    @property
    def exclusive(self) -> bool:
        """Whether `write_once` is atomic: of many writers one wins. An object store has no such."""
        return isinstance(self._open()[0], fs.LocalFileSystem)

    def read(self, name: str) -> bytes | None:
        """Reads an object whole; None if it is not there."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            try:
                with system.open_input_stream(f"{root}/{name}") as stream:
                    return stream.read()  # type: ignore[no-any-return]
            except FileNotFoundError:
                return None

    def stream(self, name: str) -> pa.NativeFile:
        """Opens an object for reading some of it."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            return system.open_input_file(f"{root}/{name}")

    def value(self, kind: TypeAdapter[StoredValue], name: str) -> StoredValue | None:
        """Reads an object as a value; None if it is not there.

        Raises:
            LedgerError: it holds something else.
        """
        data = self.read(name)
        return None if data is None else self.parse(kind, name, data)

    def parse(self, kind: TypeAdapter[StoredValue], name: str, data: bytes) -> StoredValue:
        """Returns the value that an object, or one line of it, holds.

        Raises:
            LedgerError: it holds something else.
        """
        try:
            return kind.validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise LedgerError(f"{self.location}/{name}", reason, "read", OTHER_VERSION) from None

    def names(self, folder: str) -> list[str]:
        """Lists the objects in a folder, sorted; half-written ones do not count."""
        return sorted(info.base_name for info in self._listed(folder))

    def times(self, folder: str) -> dict[str, float]:
        """Returns when each object in a folder was written, by the clock of where it is kept."""
        return {info.base_name: info.mtime_ns / 1e9 for info in self._listed(folder)}

    def time(self, name: str) -> float | None:
        """Returns when an object was written, by the clock of where it is kept; None if unknown."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            written = system.get_file_info(f"{root}/{name}").mtime_ns
        return None if written is None else written / 1e9

    def now(self) -> float:
        """Returns what the clock says where the objects are kept; leaves nothing there."""
        name = f"clock-{uuid.uuid4().hex}"
        self.replace(name, b"kitelift")
        try:
            return self.time(name) or time.time()
        finally:
            self.remove(name)

    @contextlib.contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keeps out others who ask for it, for a moment; on local files only."""
        if not self.exclusive:
            yield
            return
        _, root = self._open()
        with _LedgerErrors("write", root):
            _create_folder(Path(root))
            descriptor = os.open(f"{root}/.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # It ends with the process at the latest. A file system that has none keeps nobody out.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # A child that was forked has it, too.
            os.close(descriptor)

    def write_once(self, name: str, data: bytes) -> bool:
        """Writes an object unless it is there already; tells whether it wrote."""
        system, root = self._open()
        path = f"{root}/{name}"
        with _LedgerErrors("read", path):
            there = system.get_file_info(path).type != fs.FileType.NotFound
        if there:
            return False
        if not self.exclusive:
            self._put(name, data)
            return True
        hidden = self._hidden(path, data)
        with _LedgerErrors("write", path):
            try:
                os.link(hidden, path)
            except FileExistsError:
                return False
            finally:
                Path(hidden).unlink()
            _fsync_folder(Path(path).parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Writes an object whole, over what is there."""
        self._put(name, data)

    def remove(self, name: str) -> None:
        """Removes an object if it is there."""
        system, root = self._open()
        with _LedgerErrors("remove", f"{root}/{name}"):
            if system.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
                system.delete_file(f"{root}/{name}")

    def check_access(self) -> None:
        """Writes, reads and removes an object, to see that this can be done; leaves nothing.

        Raises:
            LedgerError: with the step that failed.
        """
        system, root = self._open()
        above = Path(root).parent
        made_above = self.exclusive and not above.exists()
        self.replace("probe", b"kitelift")
        found = self.read("probe")
        with _LedgerErrors("remove", root):
            system.delete_dir(root)
            if made_above:
                above.rmdir()
        if found != b"kitelift":
            raise LedgerError(self.location, "what was written is not what is read", "read")

    def archive(self) -> str:
        """Moves the job's folder out of the way and returns its new name."""
        system, root = self._open()
        with _LedgerErrors("set aside", root):
            aside = self._free(f"{root}.{time.strftime('%Y%m%dT%H%M%S')}")
            if self.exclusive:
                system.move(root, aside)
            else:  # An object store moves single objects only.
                fs.copy_files(root, aside, source_filesystem=system, destination_filesystem=system)
                system.delete_dir(root)
        return aside

    def _listed(self, folder: str) -> list[fs.FileInfo]:
        system, root = self._open()
        selector = fs.FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True)
        with _LedgerErrors("read", f"{root}/{folder}"):
            found = system.get_file_info(selector)
        return [info for info in found if not info.base_name.startswith(".")]

    def _free(self, name: str) -> str:
        """Returns a name that no folder has yet: two may be set aside within a second."""
        system, _ = self._open()
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(
            each for each in names if system.get_file_info(each).type == fs.FileType.NotFound
        )

    def _put(self, name: str, data: bytes) -> None:
        system, root = self._open()
        path = f"{root}/{name}"
        if self.exclusive:
            hidden = self._hidden(path, data)
            with _LedgerErrors("write", path):
                Path(hidden).replace(path)
                _fsync_folder(Path(path).parent)
            return
        with _LedgerErrors("write", path), system.open_output_stream(path) as stream:
            stream.write(data)

    def _hidden(self, path: str, data: bytes) -> str:
        """Writes data durably under a name that `names` does not list, beside `path`."""
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.{uuid.uuid4().hex}"
        with _LedgerErrors("write", path):
            _create_folder(Path(folder))
            try:
                with Path(hidden).open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError:
                Path(hidden).unlink(missing_ok=True)
                raise
        return hidden

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self._opened is None:
            if "://" in self.state:
                with _LedgerErrors("open", self.location):
                    system, root = fs.FileSystem.from_uri(self.state)
            else:
                place = self.state.removeprefix("file:")
                system, root = fs.LocalFileSystem(), str(Path(place).expanduser().absolute())
            self._opened = system, f"{root.rstrip('/')}/{self.job_id}"
        return self._opened


def _create_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that a host that loses its power still has them."""
    if not folder.exists():
        _create_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    """Has the disk keep the names in a folder too, which takes it a millisecond."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some know this of files only.
            raise
    finally:
        os.close(descriptor)


class _LedgerErrors:
    """Turns the system's words into an error that says what of the ledger could not be done."""

    def __init__(self, verb: str, path: str) -> None:
        self._verb, self._path = verb, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, pa.ArrowException)):
            # Arrow says the whole path again, and the system's own words last.
            said = re.search(r"\[errno \d+\] (.*)", str(error), re.IGNORECASE)
            reason = getattr(error, "strerror", None) or (said[1] if said else str(error))
            raise LedgerError(self._path, reason, self._verb) from error
