"""``kitelift worker-pool``: a service next to a TaskManager or an executor that starts workers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from transforms.errors import ConfigError

_THREADS = 16
_END_S = 15.0
"""How long a worker may take to end its harness and remove its folder."""


def serve(address: str) -> int:
    """Serves at ``host:port`` until it is interrupted, then ends its workers; returns 0."""
    with listening(address) as place, contextlib.suppress(KeyboardInterrupt):
        print(f"starting workers on request at {place}; Ctrl-C stops them", flush=True)
        threading.Event().wait()
    return 0


@contextlib.contextmanager
def listening(address: str) -> Iterator[str]:
    """Serves while the context is open; yields the address with the actual port.

    Beam's own pool listens on every address of a host, so anyone who reaches it could start
    programs.

    Raises:
        ConfigError: the address cannot be listened on, or ``kitelift-worker`` is not installed.
    """
    pool = BeamFnExternalWorkerPoolServicer(use_process=True, container_executable=_worker())
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError([f"--listen={address}: cannot listen there: {error}"]) from error
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(0)
        workers = list(pool._worker_processes.values())  # noqa: SLF001 - Beam does it at exit
        for worker in workers:
            worker.terminate()
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(_END_S)


def _worker() -> str:
    """Returns the path of ``kitelift-worker`` of this installation."""
    beside = Path(sys.executable).parent / "kitelift-worker"
    path = str(beside) if beside.is_file() else shutil.which("kitelift-worker")
    if path is None:
        raise ConfigError(["kitelift-worker is not installed with this Python: pip install ."])
    return path
