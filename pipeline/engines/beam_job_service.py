"""Beam's job service: a server in Java that submits jobs to an engine and returns their state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.utils.subprocess_server import JavaJarServer
from apache_beam.version import __version__ as BEAM_VERSION  # noqa: N812 - it is a constant

from pipeline.engines.engine import Submission, SubmissionState
from transforms.errors import ConfigError, EngineError

TIMEOUT_S = 10.0

_STATES: dict[str, SubmissionState] = {
    "DONE": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "DRAINED": "done",
}


@dataclass(frozen=True)
class ServiceRemote:
    """One job of a job service."""

    engine: str
    endpoint: str
    id: str

    def state(self) -> SubmissionState:
        """Returns its state."""
        request = beam_job_api_pb2.GetJobStateRequest(job_id=self.id)
        with grpc.insecure_channel(self.endpoint) as channel:
            try:
                answer = beam_job_api_pb2_grpc.JobServiceStub(channel).GetState(
                    request, timeout=TIMEOUT_S
                )
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                    return "gone"
                raise self._silent(error) from error
        return _STATES.get(beam_job_api_pb2.JobState.Enum.Name(answer.state), "running")

    def failure(self) -> str:
        """Returns the last error message of a job that has ended."""
        request = beam_job_api_pb2.JobMessagesRequest(job_id=self.id)
        text = ""
        with grpc.insecure_channel(self.endpoint) as channel:
            stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
            try:
                for message in stub.GetMessageStream(request, timeout=TIMEOUT_S):
                    response = message.message_response
                    if response.importance >= beam_job_api_pb2.JobMessage.JOB_MESSAGE_ERROR:
                        text = response.message_text
            except grpc.RpcError:
                return text  # On some servers the stream does not end with the job.
        return text

    def cancel(self) -> None:
        """Stops it."""
        request = beam_job_api_pb2.CancelJobRequest(job_id=self.id)
        with grpc.insecure_channel(self.endpoint) as channel:
            try:
                beam_job_api_pb2_grpc.JobServiceStub(channel).Cancel(request, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                raise self._silent(error) from error

    def _silent(self, error: grpc.RpcError) -> EngineError:
        where = f"{self.engine}'s job service {self.endpoint}"
        return EngineError(where, f"does not answer: {error.details()}")


def submission(engine: str, endpoint: str, result: Any, *, stays: bool = True) -> Submission:
    """Returns where to find the job that a runner of Beam has submitted to a job service."""
    number = result._job_id  # noqa: SLF001 - Beam has no public name for it
    return Submission(engine, "beam", endpoint, number, stays=stays)


def jar(given: str | None, artifact: str, option: str) -> str:
    """Returns the path of a jar: the user's, or else Beam's published one, downloaded.

    Raises:
        ConfigError: the file does not exist or cannot be downloaded; it has the exact name.
    """
    if given and "://" not in given and not Path(given).is_file():
        raise ConfigError([f"--{option}={given}: no such file"])
    url = given or JavaJarServer.path_to_maven_jar(artifact, "org.apache.beam", BEAM_VERSION)
    try:
        return str(JavaJarServer.local_jar(url))
    except (RuntimeError, OSError, ValueError) as error:
        name = f"org.apache.beam:{artifact}:{BEAM_VERSION}"
        what = f"cannot download the runner's jar {name} ({type(error).__name__} for {url})."
        remedy = f"Download it on another host, and set its path or URL with --{option}."
        raise ConfigError([f"{what} {remedy}"]) from error


def shortened(text: str) -> str:
    """Returns the innermost cause, or the first line, of a server's error text; 500 characters."""
    causes = re.findall(r"Caused by: ([^\n\\]*)", text)
    return str(causes[-1] if causes else re.split(r"\\n|\n", text)[0])[:500]
