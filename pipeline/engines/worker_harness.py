"""One worker: gets the job's files from the engine, installs them, and runs Beam's harness.

`pipeline.engines.worker` starts it and cleans up afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker, sdk_worker_main
from google.protobuf import json_format, text_format

TIMEOUT_S = 60.0

_PACKAGES = (".whl", ".tar.gz", ".zip")
_RESTARTED = (
    "import sys; from apache_beam.runners.worker import sdk_worker_main as m; m.main(sys.argv)"
)


def main(argv: Sequence[str]) -> int:
    """Runs one worker until the engine ends it."""
    arguments = _parsed(argv)
    info = _provision(arguments)
    staged = Path(arguments.folder) / "staged"
    staged.mkdir()
    endpoint = info.artifact_endpoint.url or arguments.artifact_endpoint
    files = _fetch(info, endpoint, arguments.id, staged)
    print(f"worker {arguments.id}: {len(files)} files received with the job", flush=True)
    os.environ.update(_environment(arguments, info))
    packages = [file for file in files if file.name.endswith(_PACKAGES)]
    if packages:
        os.environ["PYTHONPATH"] = _install(packages, Path(arguments.folder))
        # A new interpreter: the packages may have another version of a module that is imported.
        os.execv(sys.executable, [sys.executable, "-c", _RESTARTED])
    sdk_worker_main.main(sys.argv)
    return 0


def silence_tracebacks() -> None:
    """Stops workers that are threads of this process (LOOPBACK) from printing tracebacks.

    Beam's harness prints a traceback for every failed bundle, besides reporting it to the engine.
    Its threads also end with one when the engine closes the connection, as after a failure.
    """
    sdk_worker.print = lambda *_, **__: None
    default_hook = threading.excepthook

    def hear(ended: threading.ExceptHookArgs) -> None:
        if not isinstance(ended.exc_value, grpc.RpcError):
            default_hook(ended)

    threading.excepthook = hear


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kitelift-worker")
    for name in ("logging", "artifact", "provision", "control"):
        parser.add_argument(f"--{name}_endpoint", default="")
    parser.add_argument("--id", default="")
    parser.add_argument("--folder", required=True)
    return parser.parse_known_args(argv)[0]


def _environment(
    arguments: argparse.Namespace, info: beam_provision_api_pb2.ProvisionInfo
) -> Mapping[str, str]:
    """Returns the environment variables that Beam's harness reads."""
    urls = {
        "CONTROL": info.control_endpoint.url or arguments.control_endpoint,
        "LOGGING": info.logging_endpoint.url or arguments.logging_endpoint,
        "STATUS": info.status_endpoint.url,
    }
    return {
        "WORKER_ID": arguments.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "SEMI_PERSISTENT_DIRECTORY": arguments.folder,
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        **{f"{name}_API_SERVICE_DESCRIPTOR": _described(url) for name, url in urls.items() if url},
    }


def _provision(arguments: argparse.Namespace) -> beam_provision_api_pb2.ProvisionInfo:
    request = beam_provision_api_pb2.GetProvisionInfoRequest()
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        return stub.GetProvisionInfo(
            request, metadata=[("worker_id", arguments.id)], timeout=TIMEOUT_S, wait_for_ready=True
        ).info


def _fetch(
    info: beam_provision_api_pb2.ProvisionInfo, endpoint: str, worker: str, into: Path
) -> list[Path]:
    """Downloads the files that were staged with the job; returns their paths."""
    files = []
    metadata = [("worker_id", worker)]
    request = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=info.dependencies)
    unlimited = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(endpoint, options=unlimited) as channel:
        stub = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel)
        for artifact in stub.ResolveArtifacts(request, metadata=metadata).replacements:
            if artifact.role_urn != common_urns.artifact_roles.STAGING_TO.urn:
                continue
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
                artifact.role_payload
            )
            file = into / Path(role.staged_name).name
            wanted = beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact)
            with file.open("wb") as stream:
                for chunk in stub.GetArtifact(wanted, metadata=metadata):
                    stream.write(chunk.data)
            files.append(file)
    return files


def _install(packages: Sequence[Path], work: Path) -> str:
    """Installs packages into a folder of the worker; returns the PYTHONPATH to find them."""
    target = str(work / "packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "--target", target, *map(str, packages)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"pip could not install the packages of the job: {done.stderr}")
    return os.pathsep.join(filter(None, [target, os.environ.get("PYTHONPATH")]))


def _described(url: str) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
