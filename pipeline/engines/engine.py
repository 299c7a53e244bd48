"""What the engines that run a job on a cluster have in common: values, and what they are asked."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline.planning.planner import Purpose
from transforms import errors
from transforms.errors import EngineError, MigrationError
from transforms.plan import Finding

if TYPE_CHECKING:
    import apache_beam as beam

SubmissionState = Literal["running", "done", "failed", "cancelled", "gone"]
"""Of a submission, as its engine tells; "gone" is one that the engine does not know (any more)."""

WORKER_START_OPTIONS = (
    "Say how workers start: --environment_type=PROCESS "
    '--environment_config=\'{"command": "/path/to/kitelift-worker"}\' (Kitelift installed on '
    "every worker host), or --environment_type=EXTERNAL --environment_config=localhost:50000 "
    "(`kitelift worker-pool` beside every worker), or --environment_type=DOCKER "
    "--environment_config=IMAGE, or --environment_type=LOOPBACK (one worker, on this host)."
)

_PYTHON_ERROR = re.compile(r"^(?P<where>(?:\w+\.)*)(?P<kind>\w+): (?P<what>.*)$")
_OUR_ERROR = re.compile(r"transforms\.errors\.(\w+): (.*)")
_STEP = re.compile(r"\s*\[while running '(?P<step>[^']*)'\]")


class Remote(Protocol):
    """A submission that runs on a cluster."""

    def state(self) -> SubmissionState:
        """Asks how it stands.

        Raises:
            EngineError: the engine does not answer.
        """

    def failure(self) -> str:
        """Returns all that the engine has to say about a failed submission."""

    def cancel(self) -> None:
        """Stops it.

        Raises:
            EngineError: the engine does not do it.
        """


@dataclass(frozen=True)
class Submission:
    """Where a submission is to be found again.

    Attributes:
        engine: "Flink", "Spark" or "Dataflow".
        speaks: whom to ask at `address`: Flink's own REST, a job service of Beam, or Dataflow.
        id: what the engine calls it; "" where somebody else will submit it (Flex Template).
        page: where people look at it; "" if there is no such page.
        stays: whether it goes on without the launcher.
    """

    engine: str
    speaks: Literal["flink", "beam", "dataflow"]
    address: str
    id: str
    page: str = ""
    stays: bool = True
    run_id: str = ""
    purpose: Purpose = "copy"

    def __str__(self) -> str:
        return f"{self.engine} job {self.id}"


class Engine(Protocol):
    """An engine on a cluster, with the options that a user gave for it.

    `workers` is how many work at the same time, `hosts` where, as far as `findings` could tell.
    `probed` is whether a small job first shows that workers are fit: not where they take minutes.
    """

    name: str
    workers: int
    hosts: tuple[str, ...]
    probed: bool

    def findings(self) -> list[Finding]:
        """Looks at the cluster before anything is written; sets what depends on it."""

    def pipeline(self, label: str) -> beam.Pipeline:
        """Returns an empty pipeline whose name on the cluster is `label`."""

    def submit(self, pipeline: beam.Pipeline) -> Submission:
        """Submits a pipeline and returns at once.

        Raises:
            EngineError: the engine refused it.
        """

    def close(self) -> None:
        """Ends what runs beside this process for it."""

    @property
    def inside(self) -> bool:
        """Whether workers are threads of this very process (LOOPBACK)."""


# -- failures -------------------------------------------------------------------------------------


def explain_failure(submission: Submission, text: str) -> MigrationError:
    r"""Finds in an engine's stack traces what a user needs to know: one error of ours, one line.

    >>> job = Submission("Flink", "flink", "http://jm:8081", "b7")
    >>> lines = ["java.lang.Exception: Traceback:", "ValueError: boom [while running 'Write']"]
    >>> print(explain_failure(job, "\n".join(lines)))
    Flink job b7: ValueError: boom (in Write)
    """
    kind, what = _last_python_error(text)
    step = _STEP.search(what)
    what = _STEP.sub("", what).strip().rstrip("'\"").strip()
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, MigrationError):
        error = EngineError(str(submission), what)
        error.exit_code = ours.exit_code
        return error
    place = f" (in {step['step']})" if step else ""
    said = f"{kind}: {what}" if kind else _first_cause(text)
    return EngineError(str(submission), f"{said}{place}")


def _last_python_error(text: str) -> tuple[str, str]:
    if ours := _OUR_ERROR.findall(text):
        return str(ours[-1][0]), str(ours[-1][1])
    kind, what = "", ""
    after_traceback = False
    for line in text.splitlines():
        after_traceback |= "Traceback" in line
        found = _PYTHON_ERROR.match(line)
        if found and after_traceback and not found["where"].startswith(("java.", "org.")):
            kind, what = found["kind"], found["what"]
    return kind, what


def _first_cause(text: str) -> str:
    """The innermost cause of a Java stack trace."""
    causes = re.findall(r"Caused by: (.*)", text)
    lines = [line for line in text.splitlines() if line.strip()]
    return str(causes[-1] if causes else lines[0] if lines else "it gives no reason")[:500]


# -- hosts ----------------------------------------------------------------------------------------


def is_this_host(host: str) -> bool:
    """Whether a name or an address is this host's."""
    if host in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        addresses: set[Any] = {found[4][0] for found in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(_binds(address) for address in addresses)


def _binds(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
