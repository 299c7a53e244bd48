"""The mark of a job on a target collection that it writes to: an alias.

    kitelift_job__JOB__HOST__20261130T221500__3f9a1c5e7b20

Every release has aliases, and can remove them again; 2.3 cannot remove a property. No description
shows the marks among the aliases of a collection, so that no job copies, compares or reports them.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

PREFIX = "kitelift_job__"

_NAME_LENGTH = 80
"""Room for the job and for the host; servers accept aliases of up to 255 characters."""

_TIME = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, order=True)
class JobMark:
    """The mark of one job on one collection; the earlier of two marks is the smaller one.

    Attributes:
        token: differs between any two marks.
        job: the id of the job, possibly cut.
        host: where the job was started.
    """

    since: datetime
    token: str
    job: str
    host: str

    @classmethod
    def new(cls, job: str) -> Self:
        """Returns a mark of a job that starts on this host now."""
        now = datetime.now(UTC).replace(microsecond=0)
        return cls(now, secrets.token_hex(6), job, socket.gethostname())

    @property
    def alias(self) -> str:
        """The alias that is the mark."""
        names = f"{_encode(self.job)}__{_encode(self.host)}"
        return f"{PREFIX}{names}__{self.since.strftime(_TIME)}__{self.token}"

    def __str__(self) -> str:
        return f"job `{self.job}` on host {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def parse(alias: str) -> JobMark:
    """Returns the mark that an alias is; what cannot be read is "unknown".

    >>> since = datetime(2026, 11, 30, 22, 15, tzinfo=UTC)
    >>> mark = JobMark(since, "3f9a1c5e7b20", "nightly-copy", "db 1")
    >>> mark.alias
    'kitelift_job__nightly_2dcopy__db_201__20261130T221500__3f9a1c5e7b20'
    >>> parse(mark.alias) == mark
    True
    >>> parse("kitelift_job__by_hand").job
    'unknown'
    """
    try:
        job, host, since, token = alias.removeprefix(PREFIX).split("__")
        at = datetime.strptime(since, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return JobMark(datetime.fromtimestamp(0, UTC), alias, "unknown", "unknown")
    return JobMark(at, token, _decode(job), _decode(host))


def is_mark(alias: str) -> bool:
    """Returns whether an alias is the mark of a job."""
    return alias.startswith(PREFIX)


def without_marks(aliases: Iterable[str]) -> tuple[str, ...]:
    """Returns the aliases that are no marks, sorted."""
    return tuple(sorted(alias for alias in aliases if not is_mark(alias)))


def only_marks(aliases: Iterable[str]) -> tuple[str, ...]:
    """Returns the aliases that are marks, sorted."""
    return tuple(sorted(filter(is_mark, aliases)))


def _encode(name: str) -> str:
    """Returns a name in letters, digits and single underscores, cut to `_NAME_LENGTH`."""
    encoded = ""
    for character in name:
        plain = character.isascii() and character.isalnum()
        more = character if plain else "".join(f"_{byte:02x}" for byte in character.encode())
        if len(encoded) + len(more) > _NAME_LENGTH:
            break
        encoded += more
    return encoded


def _decode(encoded: str) -> str:
    def characters(match: re.Match[str]) -> str:
        return bytes.fromhex(match[0].replace("_", "")).decode(errors="replace")

    return re.sub(r"(?:_[0-9a-f]{2})+", characters, encoded)
