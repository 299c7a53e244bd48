"""The Flex Template without Google: the launcher runs its file, which builds the graph."""

from __future__ import annotations

import base64
import bz2
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext

from pipeline import graph
from pipeline.engines import cluster_checks, dataflow
from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from tests.clusters import SOURCE_URL, TARGET_URL, survey
from transforms.batch import BatchCoder
from transforms.errors import ConfigError, EngineError
from transforms.ledger.ledger import Ledger
from transforms.milvus import endpoint
from transforms.milvus.endpoint import Endpoint

HERE = [
    *("--project=my-project", "--region=europe-west1", "--job_name=migration-1"),
    *("--temp_location=gs://bucket/temp", "--staging_location=gs://bucket/staging"),
]
"""What the launcher adds to the parameters."""

SECRET = "projects/p/secrets/source/versions/latest"

JOB = """
env {{ state = "{state}", job.name = "Moving_1", parallelism = 3 }}
source {{ Milvus {{ url = "{source}", token = "{token}" }} }}
sink {{ Milvus {{ url = "{target}" }} }}
"""


def job(*, state: str = "gs://bucket/state", token: str = f"gcp-secret:{SECRET}") -> JobConfig:
    text = JOB.format(state=state, source=SOURCE_URL, target=TARGET_URL, token=token)
    return config.parse(text, base=Path())


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Secret Manager with one secret; returns the names of the requested secrets."""
    asked: list[str] = []

    class Client:
        def access_secret_version(self, *, name: str) -> Any:
            asked.append(name)
            if name != SECRET:
                raise LookupFailed("404 Secret not found")
            return SimpleNamespace(payload=SimpleNamespace(data=b"root:Geheim\n"))

    class LookupFailed(Exception):
        pass

    modules = {
        "google.cloud.secretmanager": {"SecretManagerServiceClient": Client},
        "google.cloud": {"secretmanager": SimpleNamespace(SecretManagerServiceClient=Client)},
        "google.api_core.exceptions": {"GoogleAPIError": LookupFailed},
        "google.api_core": {},
        "google.auth.exceptions": {"GoogleAuthError": LookupFailed},
        "google.auth": {},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    endpoint.gcp_secret.cache_clear()
    return asked


# -- checks before the job ------------------------------------------------------------------------


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Google's libraries look installed."""
    monkeypatch.setattr(dataflow, "find_spec", lambda name: name)


@pytest.mark.usefixtures("manager", "libraries")
@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"state": "./state"}, ["ledger-not-shared"]),
        ({"token": "root:Milvus"}, ["token-in-clear"]),
        ({"token": "env:HOME"}, ["token-in-clear"]),
    ],
)
def test_dataflow_workers_have_no_files_or_variables_of_this_host(
    changes: dict[str, str], codes: list[str]
) -> None:
    findings = dataflow.Dataflow(job(**changes), HERE).findings()
    assert [finding.code for finding in findings] == codes
    assert all(finding.stops and finding.remedy for finding in findings)


@pytest.mark.usefixtures("libraries")
def test_files_must_be_where_workers_find_them() -> None:
    text = 'env {{ state = "gs://b/s" }}\nsource {{ Milvus {{ url = "http://a:1" }} }}\nsink {{ Parquet {{ path = "{}" }} }}'
    for path, codes in (("/export", ["files-not-shared"]), ("gs://b/export", [])):
        parsed = config.parse(text.format(path), base=Path())
        assert [finding.code for finding in dataflow.Dataflow(parsed, HERE).findings()] == codes


@pytest.mark.usefixtures("manager")
def test_missing_libraries_and_options_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dataflow, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "kitelift\[gcp\]"'):
        dataflow.Dataflow(job(), HERE)
    monkeypatch.setattr(dataflow, "find_spec", lambda name: name)
    with pytest.raises(ConfigError) as caught:
        dataflow.Dataflow(job(), ["--region=r"])
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--project",
        "--temp_location",
    ]


@pytest.mark.usefixtures("manager", "libraries")
def test_a_reference_is_not_a_token_in_the_graph() -> None:
    engine = dataflow.Dataflow(job(), HERE)
    assert [finding.code for finding in cluster_checks.findings(engine, job())] == []


# -- secrets --------------------------------------------------------------------------------------


def test_a_secret_is_read_once_where_it_is_used(manager: list[str]) -> None:
    host = Endpoint("http://host", f"gcp-secret:{SECRET}")
    assert [host.secret(), host.secret()] == ["root:Geheim"] * 2
    assert manager == [SECRET]


@pytest.mark.usefixtures("manager")
def test_an_unreadable_secret_is_reported_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"source\.Milvus\.token: 404 Secret"):
        job(token="gcp-secret:projects/p/secrets/other/versions/1")
    with pytest.raises(ConfigError, match="token: must be gcp-secret:projects/PROJECT/secrets"):
        job(token="gcp-secret:other")


@pytest.mark.skipif(
    bool(find_spec("google.cloud.secretmanager") if find_spec("google.cloud") else 0),
    reason="the library is installed",
)
def test_without_the_library_a_secret_names_the_extra() -> None:
    endpoint.gcp_secret.cache_clear()
    with pytest.raises(
        ConfigError, match=r'requires additional libraries: pip install "kitelift\[gcp\]"'
    ):
        job()


# -- a job of Dataflow ----------------------------------------------------------------------------


def needs_libraries() -> None:
    if not find_spec("google.cloud") or not find_spec("google.cloud.dataflow"):
        pytest.skip("needs Google's libraries: make template")


@pytest.mark.filterwarnings("ignore")  # Google's libraries warn of their own future.
def test_a_job_is_queried_followed_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_libraries()
    from google.api_core.exceptions import ServiceUnavailable
    from google.cloud import dataflow as library

    asked: list[Any] = []

    class Client:
        """Both clients of the library: of jobs, and of their messages."""

        def get_job(self, *, request: Any) -> Any:
            asked.append(request)
            if request.job_id == "away":
                raise ServiceUnavailable("try later")
            return library.Job(current_state=library.JobState[f"JOB_STATE_{request.job_id}"])

        def list_job_messages(self, *, request: Any) -> Any:
            asked.append(request)
            return [library.JobMessage(message_text=text) for text in ("first", "last")]

        def update_job(self, *, request: Any) -> Any:
            asked.append(request)

    for name in ("JobsV1Beta3Client", "MessagesV1Beta3Client"):
        monkeypatch.setattr(library, name, Client)
    states = {"RUNNING": "running", "DONE": "done", "FAILED": "failed", "CANCELLED": "cancelled"}
    remotes = {name: dataflow.DataflowRemote("my-project/europe-west1", name) for name in states}
    assert {name: remote.state() for name, remote in remotes.items()} == states
    assert remotes["FAILED"].failure() == "last"
    remotes["RUNNING"].cancel()
    assert {(each.project_id, each.location) for each in asked} == {("my-project", "europe-west1")}
    assert asked[-1].job.requested_state == library.JobState.JOB_STATE_CANCELLED
    with pytest.raises(EngineError, match="Dataflow my-project/europe-west1: 503 try later"):
        dataflow.DataflowRemote("my-project/europe-west1", "away").state()


# -- the graph ------------------------------------------------------------------------------------


@pytest.fixture
def built() -> beam.Pipeline:
    needs_libraries()
    endpoint.gcp_secret.cache_clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(endpoint, "gcp_secret", lambda name: "root:Geheim")
        configured = job()
    more = ["--dry_run=True", "--no_auth", "--sdk_container_image=my/kitelift:1"]
    engine = dataflow.Dataflow(configured, [*HERE[:2], *HERE[3:], *more])
    pipeline = engine.pipeline("kitelift-Moving_1")
    plan = planner.build_plan(configured, survey(), (), plan_id="p1", made_at=1.5)
    ledger = Ledger("gs://bucket/state", "Moving_1")
    graph.build(pipeline, graph.Run(configured, plan, ledger, "run1"))
    assert engine.submit(pipeline).id == ""
    return pipeline


@pytest.mark.filterwarnings("ignore")  # Google's libraries warn of their own future.
def test_dataflow_gets_the_whole_graph(built: beam.Pipeline) -> None:
    proto = built.runner.proto_pipeline
    assert _name(built) == "kitelift-moving-1"
    _workers_are_made_of_our_image(proto)
    _no_batch_is_shuffled(proto)
    _no_secret_is_in_it(proto)


def _name(built: beam.Pipeline) -> str:
    options = built._options.get_all_options()
    assert not options["save_main_session"]
    assert options["max_num_workers"] == 3
    return str(options["job_name"])


def _workers_are_made_of_our_image(proto: Any) -> None:
    [environment] = proto.components.environments.values()
    assert environment.urn == common_urns.environments.DOCKER.urn
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert payload.container_image == "my/kitelift:1"
    assert len(environment.dependencies) == 0


def _no_batch_is_shuffled(proto: Any) -> None:
    context = PipelineContext(proto.components)
    batches = {
        name
        for name, collection in proto.components.pcollections.items()
        if isinstance(context.coders.get_by_id(collection.coder_id), BatchCoder)
    }
    assert batches
    for transform in proto.components.transforms.values():
        if not transform.subtransforms and batches & {*transform.inputs.values()}:
            assert transform.spec.urn == common_urns.primitives.PAR_DO.urn
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            sides = {transform.inputs[name] for name in payload.side_inputs}
            assert batches.isdisjoint(sides)


def _no_secret_is_in_it(proto: Any) -> None:
    pickled = []
    for transform in proto.components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            pickled.append(bz2.decompress(base64.b64decode(payload.do_fn.payload)))
    assert any(SECRET.encode() in code for code in pickled)
    assert not any(b"Geheim" in code for code in pickled)
    assert b"Geheim" not in proto.SerializeToString()
