"""Dataflow: checks before a job, its submission, and its state afterwards.

A Flex Template gives the pipeline to the template's launcher as a file, so its job id is unknown
then. Nothing that needs the service itself was run: see templates/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions

from pipeline.engines import beam_options
from pipeline.engines.engine import Submission, SubmissionState
from pipeline.jobfile.job import JobConfig
from transforms.errors import ConfigError, EngineError
from transforms.finding import Finding

_STATES: dict[str, SubmissionState] = {
    "JOB_STATE_DONE": "done",
    "JOB_STATE_DRAINED": "done",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
}


class Dataflow:
    """Dataflow with the options of the user or of the launcher of a Flex Template."""

    name = "Dataflow"
    inside = False
    probed = False
    hosts: tuple[str, ...] = ()

    def __init__(self, config: JobConfig, arguments: Sequence[str]) -> None:
        """Checks the options without any network call.

        Raises:
            ConfigError: an option is wrong, or the client libraries are missing.
        """
        if not find_spec("google.cloud.dataflow"):
            raise ConfigError(
                ['--runner=DataflowRunner needs more libraries: pip install "kitelift[gcp]"']
            )
        self._config, self._given = config, tuple(arguments)
        self.workers = config.env.parallelism
        cloud = beam_options.read(arguments).view_as(GoogleCloudOptions)
        self._cloud = cloud
        needed = ("project", "region", "temp_location")
        missing = [option for option in needed if not getattr(cloud, option)]
        if missing:
            raise ConfigError([f"--{option}: missing; Dataflow needs it" for option in missing])

    def findings(self) -> list[Finding]:
        """Returns the settings that name something that only the launcher has."""
        findings = []
        what = "it is a folder of the launcher, which no longer exists when the job runs."
        if "://" not in (state := self._config.env.state):
            findings.append(Finding("ledger-not-shared", f"env.state {state}", what, "Set gs://…"))
        sides = {"source": self._config.source_endpoint, "sink": self._config.target_endpoint}
        for side, endpoint in sides.items():
            if endpoint.folder and "://" not in endpoint.folder:
                where = f"{side}.Parquet.path {endpoint.folder}"
                findings.append(Finding("files-not-shared", where, what, "Set gs://…"))
            if endpoint.token and not endpoint.token.startswith("gcp-secret:"):
                token = "a literal token would be in the job's graph, and workers of Dataflow do "
                token += "not have your variables and files."
                remedy = "Set it as `gcp-secret:projects/PROJECT/secrets/NAME/versions/latest`."
                findings.append(Finding("token-in-clear", f"{side}.Milvus.token", token, remedy))
        return findings

    def pipeline(self, label: str) -> beam.Pipeline:
        """Returns an empty pipeline."""
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

        flags = [
            f"--job_name={re.sub('[^a-z0-9-]+', '-', label.lower()).strip('-')}",
            f"--max_num_workers={self.workers}",
            *self._given,
            "--runner=DataflowRunner",
            # The workers' image has all they need; a list of what is installed here is useless
            # and takes seconds.
            "--experiments=disable_logging_submission_environment",
        ]
        try:
            return beam.Pipeline(runner=DataflowRunner(), options=beam_options.read(flags))
        except ValueError as error:
            raise ConfigError(str(error).splitlines()) from error

    def submit(self, pipeline: beam.Pipeline) -> Submission:
        """Submits a pipeline and returns at once; the id is "" if a launcher submits it."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        project, region = self._cloud.project, self._cloud.region
        try:
            result = pipeline.run()
        except (GoogleAPIError, GoogleAuthError, OSError) as error:
            raise EngineError(f"Dataflow {project}/{region}", str(error)) from error
        number = result.job_id() if getattr(result, "has_job", False) else ""
        page = f"https://console.cloud.google.com/dataflow/jobs/{region}/{number}?project={project}"
        address = f"{project}/{region}"
        return Submission("Dataflow", "dataflow", address, number, page if number else "")

    def close(self) -> None:
        """Does nothing: no other process runs."""


@dataclass(frozen=True)
class DataflowRemote:
    """One job of Dataflow; `address` is ``project/region``."""

    address: str
    id: str

    def state(self) -> SubmissionState:
        """Returns its state."""
        from google.cloud import dataflow

        job = self._ask("JobsV1Beta3Client", "get_job", dataflow.GetJobRequest)
        return _STATES.get(dataflow.JobState(job.current_state).name, "running")

    def failure(self) -> str:
        """Returns the last error message of the job."""
        from google.cloud import dataflow

        request = dataflow.ListJobMessagesRequest
        level = dataflow.JobMessageImportance.JOB_MESSAGE_ERROR
        messages = self._ask(
            "MessagesV1Beta3Client", "list_job_messages", request, minimum_importance=level
        )
        return next(reversed([message.message_text for message in messages]), "")

    def cancel(self) -> None:
        """Stops it."""
        from google.cloud import dataflow

        wanted = dataflow.Job(requested_state=dataflow.JobState.JOB_STATE_CANCELLED)
        self._ask("JobsV1Beta3Client", "update_job", dataflow.UpdateJobRequest, job=wanted)

    def _ask(self, client: str, call: str, request: Any, **more: Any) -> Any:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import dataflow

        project, _, region = self.address.partition("/")
        named = request(project_id=project, location=region, job_id=self.id, **more)
        try:
            return getattr(getattr(dataflow, client)(), call)(request=named)
        except (GoogleAPIError, GoogleAuthError) as error:
            raise EngineError(f"Dataflow {self.address}", str(error)) from error
