"""All errors that Kitelift raises on purpose.

    MigrationError
    ├── ConfigError            the job file or the command line is wrong      exit 2
    ├── PreflightError         the servers or the ledger do not allow the job  exit 3
    │   ├── JobLocked          another run of the same job is alive
    │   └── JobChanged         the ledger belongs to another job or source
    ├── Interrupted            stopped by the user; the same command resumes  exit 5
    ├── ServerError            a call to a Milvus server failed               exit 4
    │   ├── Unreachable        no connection, or no answer in time
    │   │   └── Stalled        it answers, but a flush or a load makes no progress
    │   ├── AccessDenied       wrong credentials
    │   │   └── PrivilegeMissing
    │   ├── Refused            the server rejects the call; a retry cannot help
    │   │   ├── CallDenied     a managed service does not offer this call
    │   │   ├── Unexplained    it failed for an unknown reason; retried for 60 s
    │   │   └── NotUtf8        a request or an answer has a text that is not UTF-8
    │   ├── Busy               rate limit, memory, loading: a retry can help
    │   ├── TooLarge           a request or an answer exceeds a size limit
    │   └── Ambiguous          it is unknown whether a write that was sent arrived
    ├── LedgerError            the ledger cannot be read or written           exit 4
    ├── EngineError            the engine (Flink, Spark) or a worker failed   exit 4
    └── DataError              the data cannot be copied as it is             exit 4
        ├── UnsupportedField
        ├── FunctionFailed     a Python function of the job file failed
        ├── TextNotUtf8        rows have a text that is not UTF-8; the source cannot send them
        ├── RowsHidden         the source counts rows that no query returns
        ├── RowsRejected       the target rejects rows every time they are sent
        └── RangeFailed        a key range could not be copied

Messages say what failed, why, and what to do. All errors can be pickled, because workers send them
to the launcher. A traceback that reaches a user means a bug (exit 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class MigrationError(Exception):
    """Base class of all errors that end a job on purpose."""

    exit_code = 1
    # Without this, Beam appends the step name to the first argument of an error, which may be a
    # path.
    _tagged_with_step = True


@dataclass(eq=False)
class ConfigError(MigrationError):
    """The job file or the command line is wrong; lists all problems, one per line."""

    problems: Sequence[str]
    exit_code = 2

    def __post_init__(self) -> None:
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(eq=False)
class PreflightError(MigrationError):
    """The job must not start; each line is one reason and its remedy."""

    reasons: Sequence[str]
    exit_code = 3

    def __post_init__(self) -> None:
        super().__init__(self.reasons)

    def __str__(self) -> str:
        return "\n".join(self.reasons)


class JobLocked(PreflightError):
    """Another run of the same job is alive."""


class JobChanged(PreflightError):
    """The job or the source has changed since the ledger was written."""


@dataclass(eq=False)
class Interrupted(MigrationError):
    """The user stopped the job; nothing is lost, and the same command resumes it."""

    how_to_resume: str
    exit_code = 5

    def __post_init__(self) -> None:
        super().__init__(self.how_to_resume)

    def __str__(self) -> str:
        return f"interrupted. {self.how_to_resume}"


@dataclass(eq=False)
class ServerError(MigrationError):
    """One call to a Milvus server failed; `detail` has the server's own words."""

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


class Stalled(Unreachable):
    """The server answers, but a flush or a load makes no progress."""


class AccessDenied(ServerError):
    """Wrong credentials."""


class PrivilegeMissing(AccessDenied):
    """The credentials are right, but this user lacks the privilege for the call."""


class Refused(ServerError):
    """The server rejects the call, and a retry cannot help."""


class CallDenied(Refused):
    """The server, or a service in front of it, denies this call to every user."""


class Unexplained(Refused):
    """The server failed; neither code nor text says whether a retry can help."""


class NotUtf8(Refused):
    """A message has a text that is not UTF-8, so gRPC cannot send it."""


class Busy(ServerError):
    """The server cannot serve the call now: rate limit, memory, loading, a moving channel."""


class TooLarge(ServerError):
    """A request or an answer exceeds a size limit of the server; a smaller one can pass."""


class Ambiguous(ServerError):
    """A write was sent, but no answer or an unclear one came: it may have arrived or not."""

    @property
    def meaning(self) -> ServerError:
        """The server's answer to the write, or this error itself if there was no answer.

        Only the process that sent the write knows the answer.
        """
        return self.__cause__ if isinstance(self.__cause__, ServerError) else self


@dataclass(eq=False)
class LedgerError(MigrationError):
    """The ledger cannot be read or written; what is recorded stays valid."""

    path: str
    reason: str
    verb: str = "write"
    remedy: str = (
        "Nothing is lost: free disk space, or fix `env.state` or the access to it, "
        "then run the same command again"
    )
    exit_code = 4

    def __post_init__(self) -> None:
        super().__init__(self.path, self.reason, self.verb, self.remedy)

    def __str__(self) -> str:
        return f"ledger: cannot {self.verb} {self.path}: {self.reason}. {self.remedy}."


@dataclass(eq=False)
class EngineError(MigrationError):
    """An engine (Flink, Spark) or one of its workers failed; the exit code is that of the cause."""

    where: str
    what: str
    exit_code = 4

    def __post_init__(self) -> None:
        super().__init__(self.where, self.what)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class DataError(MigrationError):
    """The data cannot be copied as it is; a retry cannot help."""

    exit_code = 4


@dataclass(eq=False)
class UnsupportedField(DataError):
    """A field has a type that cannot be copied."""

    collection: str
    field: str
    data_type: str

    def __post_init__(self) -> None:
        super().__init__(self.collection, self.field, self.data_type)

    def __str__(self) -> str:
        return f"{self.collection}.{self.field}: type {self.data_type} cannot be copied"


@dataclass(eq=False)
class FunctionFailed(DataError):
    """A Python function of the job file failed or returned something invalid."""

    function: str
    reason: str

    def __post_init__(self) -> None:
        super().__init__(self.function, self.reason)

    def __str__(self) -> str:
        return f"function {self.function}: {self.reason}"


@dataclass(eq=False)
class TextNotUtf8(DataError):
    """Rows of a source have a text that is not UTF-8; every query that returns such a row fails.

    Attributes:
        where: the range or the collection.
        rows: for each row, its key and the fields with such a text.
        more: whether the search stopped early, so that there may be more such rows.
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
        unnamed = len(self.rows) - 5
        more = f"; and {unnamed:,} more" if unnamed > 0 else ""
        count = f"{len(self.rows):,} row{'' if len(self.rows) == 1 else 's'}"
        if self.more:
            rest = "There may be more: Kitelift stopped reading the range after these."
        else:
            rest = "Kitelift read all other rows of the range."
        return (
            f"the source cannot send {count} of {self.where}, because a text is not UTF-8: "
            f"{named}{more}. {rest} Leave the field out (`transform {{ Filter {{ … }} }}`), or "
            "delete or rewrite these rows in the source. Then run the same command again."
        )


@dataclass(eq=False)
class RowsHidden(DataError):
    """A source counts rows in a range that its pages do not contain.

    Attributes:
        counted: ``count(*)`` of the range.
        keys: the number of distinct keys that were read.
        hidden: the number of counted rows with other keys.
        shown_later: whether the source returned those keys when the range was read again.
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
        """The number of rows that the source does not return even on a second read."""
        return 0 if self.shown_later else self.hidden

    def __str__(self) -> str:
        return f"{self.key_range}: {self.reason}"

    @property
    def reason(self) -> str:
        """What is wrong and what to do, without the range."""
        facts = f"the source counts {self.counted:,} rows"
        if self.shown_later:
            return (
                f"{facts}. Its pages had {self.keys:,} keys, and {self.hidden:,} more on a second "
                "read: a replica lags, or a client writes to the source. Stop the writes, then "
                "run the same command again."
            )
        return (
            f"{facts} but returns only {self.keys:,} keys: {self.hidden:,} rows are hidden from "
            "every query. Release and load the collection in the source, then run the same command "
            "again. If the rows stay hidden, copy without them: `--accept=unreadable-rows`."
        )


@dataclass(eq=False)
class RowsRejected(DataError):
    """The target rejects rows of one range; the other rows of the range are written.

    Attributes:
        where: the range or the collection.
        reasons: the reasons for the first rows, each with its key.
        rows: the number of rejected rows.
        more: whether the search stopped early, so that there may be more rejected rows.
        remedies: what to do about these rows, beside the remedies for any rejected row.
    """

    where: str
    reasons: tuple[str, ...]
    rows: int
    more: bool = False
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.where, self.reasons, self.rows, self.more, self.remedies)

    def __str__(self) -> str:
        count = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        unnamed = self.rows - len(self.reasons)
        named = "; ".join(self.reasons) + (f"; and {unnamed:,} more" if unnamed else "")
        if self.more:
            rest = "There may be more: Kitelift stopped writing the range after these."
        else:
            rest = "Kitelift wrote all other rows of the range."
        remedy = ", or ".join([*self.remedies, "allow rejected rows (`env.max_rejected`)"])
        return (
            f"the target rejects {count} of {self.where}: {named}. {rest} "
            f"{remedy[0].upper()}{remedy[1:]}, then run the same command again."
        )


@dataclass(eq=False)
class RangeFailed(DataError):
    """A key range could not be read, written or compared."""

    key_range: str
    reason: str

    def __post_init__(self) -> None:
        super().__init__(self.key_range, self.reason)

    def __str__(self) -> str:
        return f"{self.key_range}: {self.reason}"
