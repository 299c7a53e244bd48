"""Named objects under one URI, each written as a whole: the storage of the ledger.

An atomic step gives each object its final name. So any number of workers can write, and after a
crash each object is either complete or missing. The name of an unfinished object starts with a dot.
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
    "Another version of Kitelift wrote it, or it was edited by hand. Use that version; or drop the "
    "target collections and start over with `kitelift run --restart`"
)


class Store:
    """The objects of one job under one state URI: local, or any URI that `pyarrow.fs` opens.

    Can be pickled; it opens the file system on first use in each process.
    """

    def __init__(self, state: str, job_id: str) -> None:
        self.state = state
        self.job_id = job_id
        self._opened: tuple[fs.FileSystem, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "job_id": self.job_id, "_opened": None}

    @property
    def location(self) -> str:
        """The job's folder as the user would write it, without the options of a URI."""
        if "://" not in self.state:
            return f"{self.state.rstrip('/')}/{self.job_id}"
        parts = urlsplit(self.state)
        host = parts.netloc.rpartition("@")[2]  # An access key and its secret may precede it.
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{self.job_id}"

    @property
    def exclusive(self) -> bool:
        """Whether `write_once` is atomic, so that one of many writers wins: on local files only."""
        return isinstance(self._open()[0], fs.LocalFileSystem)

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object; None if it does not exist."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            try:
                with system.open_input_stream(f"{root}/{name}") as stream:
                    return stream.read()  # type: ignore[no-any-return]
            except FileNotFoundError:
                return None

    def stream(self, name: str) -> pa.NativeFile:
        """Opens an object to read parts of it."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            return system.open_input_file(f"{root}/{name}")

    def value(self, kind: TypeAdapter[StoredValue], name: str) -> StoredValue | None:
        """Returns an object as a value; None if it does not exist.

        Raises:
            LedgerError: the content is not such a value.
        """
        data = self.read(name)
        return None if data is None else self.parse(kind, name, data)

    def parse(self, kind: TypeAdapter[StoredValue], name: str, data: bytes) -> StoredValue:
        """Returns the value in `data`, which is an object or one line of it.

        Raises:
            LedgerError: the content is not such a value.
        """
        try:
            return kind.validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise LedgerError(f"{self.location}/{name}", reason, "read", OTHER_VERSION) from None

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names of the objects in a folder, without unfinished ones."""
        return sorted(info.base_name for info in self._listed(folder))

    def times(self, folder: str) -> dict[str, float]:
        """Returns when each object in a folder was written, by the clock of the storage."""
        return {info.base_name: info.mtime_ns / 1e9 for info in self._listed(folder)}

    def time(self, name: str) -> float | None:
        """Returns when an object was written, by the clock of the storage; None if unknown."""
        system, root = self._open()
        with _LedgerErrors("read", f"{root}/{name}"):
            written = system.get_file_info(f"{root}/{name}").mtime_ns
        return None if written is None else written / 1e9

    def now(self) -> float:
        """Returns the time by the clock of the storage; leaves no object behind."""
        name = f"clock-{uuid.uuid4().hex}"
        self.replace(name, b"kitelift")
        try:
            return self.time(name) or time.time()
        finally:
            self.remove(name)

    @contextlib.contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Holds an exclusive lock on the job's folder; on local files only, otherwise no lock."""
        if not self.exclusive:
            yield
            return
        _, root = self._open()
        with _LedgerErrors("write", root):
            _create_folder(Path(root))
            descriptor = os.open(f"{root}/.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # The lock ends with the process at the latest. Some file systems have no locks.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # A forked child has it as well.
            os.close(descriptor)

    def write_once(self, name: str, data: bytes) -> bool:
        """Writes an object unless it exists; returns whether it wrote."""
        system, root = self._open()
        path = f"{root}/{name}"
        with _LedgerErrors("read", path):
            exists = system.get_file_info(path).type != fs.FileType.NotFound
        if exists:
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
        """Writes an object as a whole; overwrites an existing one."""
        self._put(name, data)

    def remove(self, name: str) -> None:
        """Removes an object if it exists."""
        system, root = self._open()
        with _LedgerErrors("remove", f"{root}/{name}"):
            if system.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
                system.delete_file(f"{root}/{name}")

    def check_access(self) -> None:
        """Checks that an object can be written, read and removed; leaves nothing behind.

        Raises:
            LedgerError: names the step that failed.
        """
        system, root = self._open()
        parent = Path(root).parent
        created_parent = self.exclusive and not parent.exists()
        self.replace("probe", b"kitelift")
        content = self.read("probe")
        with _LedgerErrors("remove", root):
            system.delete_dir(root)
            if created_parent:
                parent.rmdir()
        if content != b"kitelift":
            raise LedgerError(self.location, "an object has other content than was written", "read")

    def archive(self) -> str:
        """Renames the job's folder and returns the new name, which has the time appended."""
        system, root = self._open()
        with _LedgerErrors("archive", root):
            new = self._free(f"{root}.{time.strftime('%Y%m%dT%H%M%S')}")
            if self.exclusive:
                system.move(root, new)
            else:  # An object store can move single objects only.
                fs.copy_files(root, new, source_filesystem=system, destination_filesystem=system)
                system.delete_dir(root)
        return new

    def _listed(self, folder: str) -> list[fs.FileInfo]:
        system, root = self._open()
        selector = fs.FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True)
        with _LedgerErrors("read", f"{root}/{folder}"):
            infos = system.get_file_info(selector)
        return [info for info in infos if not info.base_name.startswith(".")]

    def _free(self, name: str) -> str:
        """Returns `name`, with a number if a folder has it: two archives may share a second."""
        system, _ = self._open()
        paths = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(
            path for path in paths if system.get_file_info(path).type == fs.FileType.NotFound
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
        """Writes data durably to a hidden file beside `path` and returns its path."""
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
    """Creates a folder and its parents, so that they survive a power failure of the host."""
    if not folder.exists():
        _create_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    """Flushes the names in a folder to disk; takes about one millisecond."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some file systems sync files only.
            raise
    finally:
        os.close(descriptor)


class _LedgerErrors:
    """Turns an error of the file system into a LedgerError with the failed step and the path."""

    def __init__(self, verb: str, path: str) -> None:
        self._verb, self._path = verb, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, pa.ArrowException)):
            # Arrow repeats the whole path; the words of the system come last.
            said = re.search(r"\[errno \d+\] (.*)", str(error), re.IGNORECASE)
            reason = getattr(error, "strerror", None) or (said[1] if said else str(error))
            raise LedgerError(self._path, reason, self._verb) from error
