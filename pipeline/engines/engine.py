"""What all engines that run a job on a cluster share: their interface and values."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline.planning.planner import Purpose
from transforms import errors
from transforms.errors import EngineError, MigrationError
from transforms.finding import Finding

if TYPE_CHECKING:
    import apache_beam as beam

SubmissionState = Literal["running", "done", "failed", "cancelled", "gone"]
"""State of a submission, as its engine reports it; "gone": the engine does not know it."""

WORKER_START_OPTIONS = (
    "Set how workers start: --environment_type=PROCESS "
    '--environment_config=\'{"command": "/path/to/kitelift-worker"}\' (Kitelift installed on '
    "every worker host), or --environment_type=EXTERNAL --environment_config=localhost:50000 "
    "(`kitelift worker-pool` next to every worker), or --environment_type=DOCKER "
    "--environment_config=IMAGE, or --environment_type=LOOPBACK (one worker, on this host)."
)

_PYTHON_ERROR = re.compile(r"^(?P<where>(?:\w+\.)*)(?P<kind>\w+): (?P<what>.*)$")
_OUR_ERROR = re.compile(r"transforms\.errors\.(\w+): (.*)")
_STEP = re.compile(r"\s*\[while running '(?P<step>[^']*)'\]")


class Remote(Protocol):
    """A submission that runs on a cluster."""

    def state(self) -> SubmissionState:
        """Returns its state.

        Raises:
            EngineError: the engine does not answer.
        """

    def failure(self) -> str:
        """Returns the engine's error text of a failed submission; "" if there is none."""

    def cancel(self) -> None:
        """Stops it.

        Raises:
            EngineError: the engine refuses it, or does not answer.
        """


@dataclass(frozen=True)
class Submission:
    """Where to find a submission.

    Attributes:
        engine: "Flink", "Spark" or "Dataflow".
        speaks: the API at `address`: Flink's REST, a job service of Beam, or Dataflow.
        id: its id in the engine; "" if a launcher will submit it (Flex Template).
        page: the URL of its web page; "" if there is none.
        stays: whether it continues without the process that submitted it.
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
    """An engine on a cluster, with the options of the user.

    `workers` is how many workers run in parallel, `hosts` on which hosts, if `findings` could see
    them. `probed` is whether a small job first tests the workers; not if they start in minutes.
    """

    name: str
    workers: int
    hosts: tuple[str, ...]
    probed: bool

    def findings(self) -> list[Finding]:
        """Checks the cluster before anything is written; sets the options that depend on it."""

    def pipeline(self, label: str) -> beam.Pipeline:
        """Returns an empty pipeline whose name on the cluster is `label`."""

    def submit(self, pipeline: beam.Pipeline) -> Submission:
        """Submits a pipeline and returns at once.

        Raises:
            EngineError: the engine refuses it.
        """

    def close(self) -> None:
        """Ends the other processes of this engine on this host."""

    @property
    def inside(self) -> bool:
        """Whether workers are threads of this very process (LOOPBACK)."""


# -- failures -------------------------------------------------------------------------------------


def explain_failure(submission: Submission, text: str) -> MigrationError:
    r"""Returns the error in an engine's stack traces that matters to a user, as one line.

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
    reason = f"{kind}: {what}" if kind else _first_cause(text)
    return EngineError(str(submission), f"{reason}{place}")


def _last_python_error(text: str) -> tuple[str, str]:
    if ours := _OUR_ERROR.findall(text):
        return str(ours[-1][0]), str(ours[-1][1])
    kind, what = "", ""
    after_traceback = False
    for line in text.splitlines():
        after_traceback |= "Traceback" in line
        match = _PYTHON_ERROR.match(line)
        if match and after_traceback and not match["where"].startswith(("java.", "org.")):
            kind, what = match["kind"], match["what"]
    return kind, what


def _first_cause(text: str) -> str:
    """Returns the innermost cause of a Java stack trace."""
    causes = re.findall(r"Caused by: (.*)", text)
    lines = [line for line in text.splitlines() if line.strip()]
    return str(causes[-1] if causes else lines[0] if lines else "no reason given")[:500]


# -- hosts ----------------------------------------------------------------------------------------


def is_this_host(host: str) -> bool:
    """Whether a host name or an address is that of this host."""
    if host in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        addresses: set[Any] = {info[4][0] for info in socket.getaddrinfo(host, None)}
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
