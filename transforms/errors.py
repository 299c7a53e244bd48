"""Everything that Kitelift raises on purpose.

    MigrationError
    ├── ConfigError            the job file or the command line is wrong      exit 2
    ├── PreflightError         the clusters, or the ledger, refuse the plan   exit 3
    │   ├── JobLocked          another run of the same job is alive
    │   └── JobChanged         the ledger belongs to another job or source
    ├── Interrupted            stopped half way; the same command goes on     exit 5
    ├── ServerError            what a Milvus, or the way to it, answered      exit 4
    │   ├── Unreachable        no connection, or no answer in time
    │   ├── AccessDenied       wrong credentials
    │   │   └── PrivilegeMissing
    │   ├── Refused            the server said no; asking again cannot help
    │   │   ├── CallDenied     a managed service does not offer this call
    │   │   ├── Unexplained    it failed, and why is unknown: retried for a minute
    │   │   └── NotUtf8        an answer, or a request, has a text that is not UTF-8
    │   ├── Busy               rate limit, memory, loading: worth another try
    │   ├── TooLarge           a message or an answer above a size limit
    │   └── Ambiguous          the connection broke after a write was sent
    ├── LedgerError            the ledger cannot be read or written           exit 4
    ├── EngineError            what a cluster of workers said, or one of them  exit 4
    └── DataError              the data cannot be moved as it is              exit 4
        ├── UnsupportedField
        ├── FunctionFailed     a Python function of the job file
        ├── TextNotUtf8        a row has a text that is not UTF-8, so no server can send it
        ├── RowsHidden         the source counts rows that no query shows
        ├── RowsRejected       the target rejects rows, however often they are sent
        └── RangeFailed

Messages say where, what, and what to do. Errors cross from workers to the launcher, so all pickle.
A traceback that reaches a user means a bug (exit 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class MigrationError(Exception):
    """Anything that ends a job on purpose."""

    exit_code = 1
    # Beam would add the name of the step to the first value of an error, a path for one.
    _tagged_with_step = True


@dataclass(eq=False)
class ConfigError(MigrationError):
    """The job file or the command line is wrong; all problems at once, a line each."""

    problems: Sequence[str]
    exit_code = 2

    def __post_init__(self) -> None:
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(eq=False)
class PreflightError(MigrationError):
    """The job must not start; each line is one reason with its remedy."""

    reasons: Sequence[str]
    exit_code = 3

    def __post_init__(self) -> None:
        super().__init__(self.reasons)

    def __str__(self) -> str:
        return "\n".join(self.reasons)


class JobLocked(PreflightError):
    """Another run of the same job is alive."""


class JobChanged(PreflightError):
    """The ledger belongs to a job, or a source, that is no longer the same."""


@dataclass(eq=False)
class Interrupted(MigrationError):
    """Stopped half way by the user; nothing is lost, the same command goes on."""

    how_to_resume: str
    exit_code = 5

    def __post_init__(self) -> None:
        super().__init__(self.how_to_resume)

    def __str__(self) -> str:
        return f"interrupted. {self.how_to_resume}"


@dataclass(eq=False)
class ServerError(MigrationError):
    """What a Milvus answered to one call, in its own words."""

    server: str
    call: str
    detail: str
    code: int = 0
    exit_code = 4

    def __post_init__(self) -> None:
        super().__init__(self.server, self.call, self.detail, self.code)

    def __str__(self) -> str:
        code = f" (code {self.code})" if self.code else ""
        return f"{self.server}: {self.call}: {self.detail}{code}"


class Unreachable(ServerError):
    """No connection, or no answer in time."""


class AccessDenied(ServerError):
    """Wrong credentials."""


class PrivilegeMissing(AccessDenied):
    """The credentials are right, but this user may not do this."""


class Refused(ServerError):
    """The server said no, and asking again cannot help."""


class CallDenied(Refused):
    """The server, or a service in front of it, does not offer this call to anybody."""


class Unexplained(Refused):
    """The server failed, and neither code nor text says whether a retry can help."""


class NotUtf8(Refused):
    """A message has a text that is not UTF-8, so gRPC does not carry it."""


class Busy(ServerError):
    """The server asks for patience: rate limit, memory, loading, a channel that moves."""


class TooLarge(ServerError):
    """A message or an answer is above one of the server's size limits: ask for less."""


class Ambiguous(ServerError):
    """A write was sent, and no answer or an unclear one came: it may or may not have been done."""

    @property
    def meaning(self) -> ServerError:
        """What the server answered to the write; this error itself if it answered nothing.

        Known only in the process that sent the write.
        """
        return self.__cause__ if isinstance(self.__cause__, ServerError) else self


@dataclass(eq=False)
class LedgerError(MigrationError):
    """The ledger cannot be read or written; what is recorded stays good."""

    path: str
    reason: str
    verb: str = "write"
    remedy: str = "make room, or mend env.state or the access to it, and run the same command again"
    exit_code = 4

    def __post_init__(self) -> None:
        super().__init__(self.path, self.reason, self.verb, self.remedy)

    def __str__(self) -> str:
        return (
            f"ledger: cannot {self.verb} {self.path}: {self.reason}. "
            f"Nothing is lost: {self.remedy}."
        )


@dataclass(eq=False)
class EngineError(MigrationError):
    """What an engine (Flink, Spark) said, or a worker in it; the exit code is that of the cause."""

    where: str
    what: str
    exit_code = 4

    def __post_init__(self) -> None:
        super().__init__(self.where, self.what)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class DataError(MigrationError):
    """The data cannot be moved as it is; trying again cannot help."""

    exit_code = 4


@dataclass(eq=False)
class UnsupportedField(DataError):
    """A field whose type cannot be carried."""

    collection: str
    field: str
    data_type: str

    def __post_init__(self) -> None:
        super().__init__(self.collection, self.field, self.data_type)

    def __str__(self) -> str:
        return f"{self.collection}.{self.field}: type {self.data_type} cannot be copied"


@dataclass(eq=False)
class FunctionFailed(DataError):
    """A Python function of the job file failed, or did not return what it must."""

    function: str
    reason: str

    def __post_init__(self) -> None:
        super().__init__(self.function, self.reason)

    def __str__(self) -> str:
        return f"function {self.function}: {self.reason}"


@dataclass(eq=False)
class TextNotUtf8(DataError):
    """Rows of a source have a text that is not UTF-8; every query that shows such a row fails.

    Attributes:
        where: the range, or the collection.
        rows: the rows, each as its key and the fields with such a text.
        more: whether the search for such rows was stopped, so that there may be more of them.
    """

    where: str
    rows: tuple[tuple[int | str, tuple[str, ...]], ...]
    more: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.where, self.rows, self.more)

    def __str__(self) -> str:
        named = "; ".join(
            f"key {key!r}"
            + (f" (field {', '.join(f'`{name}`' for name in fields)})" if fields else "")
            for key, fields in self.rows[:5]
        )
        left = len(self.rows) - 5
        more = f"; and {left:,} more" if left > 0 else ""
        many = f"{len(self.rows):,} row{'' if len(self.rows) == 1 else 's'}"
        if self.more:
            rest = "There may be more: Kitelift stopped to read the range after so many."
        else:
            rest = "All other rows of the range are read."
        return (
            f"the source cannot send {many} of {self.where}, because a text is not UTF-8: "
            f"{named}{more}. {rest} Leave the field out (`transform {{ Filter {{ … }} }}`), or "
            "delete or rewrite these rows in the source, then run the same command again."
        )


@dataclass(eq=False)
class RowsHidden(DataError):
    """A source counts rows in a range that its pages do not show.

    Attributes:
        keys: the different keys that were read.
        hidden: how many rows more there are under other keys.
        shown_later: whether the source showed those keys when it was asked again.
    """

    key_range: str
    counted: int
    keys: int
    hidden: int
    shown_later: bool = False

    def __post_init__(self) -> None:
        super().__init__(self.key_range, self.counted, self.keys, self.hidden, self.shown_later)

    @property
    def withheld(self) -> int:
        """The rows that the source does not show even when it is asked again."""
        return 0 if self.shown_later else self.hidden

    def __str__(self) -> str:
        return f"{self.key_range}: {self.reason}"

    @property
    def reason(self) -> str:
        """What is wrong, and what to do."""
        facts = f"the source counts {self.counted:,} rows"
        if self.shown_later:
            return (
                f"{facts}, its pages had {self.keys:,} keys, and {self.hidden:,} more keys when "
                "they were read again: a replica lags, or something writes to the source. Stop "
                "the writes and run the same command again."
            )
        return (
            f"{facts} and shows {self.keys:,} keys: {self.hidden:,} rows are hidden from every "
            "query. Release and load the collection in the source, then run the same command "
            "again; if the rows stay hidden, copy without them with --accept=unreadable-rows."
        )


@dataclass(eq=False)
class RowsRejected(DataError):
    """The target rejects rows of one range; the other rows of the range are written.

    Attributes:
        where: the range, or the collection.
        reasons: of the first of the rows, each with its key.
        rows: how many rows are rejected.
        more: whether the search for rejected rows was stopped, so that there may be more of them.
        remedies: what to do, without those that every rejected row has.
    """

    where: str
    reasons: tuple[str, ...]
    rows: int
    more: bool = False
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.where, self.reasons, self.rows, self.more, self.remedies)

    def __str__(self) -> str:
        many = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        left = self.rows - len(self.reasons)
        named = "; ".join(self.reasons) + (f"; and {left:,} more" if left else "")
        if self.more:
            rest = "There may be more: Kitelift stopped to write the range after so many."
        else:
            rest = "All other rows of the range are written."
        what_to_do = ", or ".join([*self.remedies, "allow rejected rows (`env.max_rejected`)"])
        return (
            f"the target rejects {many} of {self.where}: {named}. {rest} "
            f"{what_to_do[0].upper()}{what_to_do[1:]}, then run the same command again."
        )


@dataclass(eq=False)
class RangeFailed(DataError):
    """One or more ranges failed for good."""

    key_range: str
    reason: str

    def __post_init__(self) -> None:
        super().__init__(self.key_range, self.reason)

    def __str__(self) -> str:
        return f"{self.key_range}: {self.reason}"
