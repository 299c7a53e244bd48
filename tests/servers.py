"""Starts and stops the real servers that tests, demo and benchmarks talk to.

`milvus` is Milvus 2.3.5 standalone out of the PyPI wheel of that name, `milvus_lite` is
milvus-lite 3.2.2. Each is one child process on ports of its own. Inside the block it answers
RPCs; however the block is left, the process is gone:

    with servers.milvus(folder / "source") as source:
        source.url            # http://127.0.0.1:23410
        source.kill()         # SIGKILL, as a crash does
        source.start()        # the same data, the same url

    with servers.started(Milvus(folder / "source"), Milvus(folder / "target")) as (source, target):
        ...                   # started side by side

Milvus listens on all interfaces and cannot be told otherwise (its etcd and milvus-lite listen on
loopback only), and SIGTERM makes it hang, so it is always killed. No wheel fits some platforms:
ask `have_milvus()`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import grpc
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from pipeline.engines import processes
from tests import ports
from tests.certificates import Certificates

READY_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 5.0
PROBE_INTERVAL_S = 0.05

# What the tail of a log in an error leaves out, and where it cuts a line.
NOISE = re.compile(r"\[(DEBUG|INFO)\]|\"level\":\"info\"")
LOG_WIDTH = 300

# Times at which Milvus looks again, all shortened: a strong read takes 50 ms and not 200, a load
# 1.5 s and not 3.5.
QUICK = {
    "proxy.timeTickInterval": "50",
    "queryCoord.checkInterval": "100",
    "queryCoord.checkSegmentInterval": "100",
    "queryCoord.checkChannelInterval": "100",
    "queryCoord.distPullInterval": "100",
    "queryCoord.leaderViewUpdateInterval": "0.1",
    "queryCoord.updateNextTargetInterval": "0.2",
}

# What Milvus writes outside its folder.
LEFTOVERS = (
    "/run/milvus/standalone-{port}.pid",
    "/tmp/milvus/standalone-{port}.pid",
    "/tmp/milvus/server_id_{pid}",
)


class ServerFailed(RuntimeError):
    """A server has ended, or not answered in time; the message ends with the tail of its log."""


class Server:
    """One server on one data folder: a child process that may be killed and started again.

    Used as a context manager it is started on entry, and killed on exit.
    """

    token = ""
    """``user:password`` of the superuser, empty without authorization."""
    certificates: Certificates | None = None

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self.data = data.absolute()
        self.data.mkdir(parents=True, exist_ok=True)
        self._guard, free = ports.reserve()
        self.port = port or free.pop(0)
        self._ports = free
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.certificates else 'http'}://{self.address}"

    @property
    def address(self) -> str:
        """``host:port``, as a gRPC channel takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Collects the output of all starts."""
        return self.data / "server.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, "never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server, on its old data if there are any, and waits until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts the server and returns at once; `wait` must follow."""
        if self.running:
            raise RuntimeError(f"{self.url} is running already, pid {self.pid}")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the kernel would kill the server when this thread ends")
        self._check_ports()
        command = processes.tie_to_parent(self._command())
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                env=os.environ | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
            )

    def wait(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Waits until the server says by RPC that it is healthy.

        After a restart it may still be loading the collections that were loaded before.
        """
        deadline = time.monotonic() + timeout_s
        with self._channel() as channel:
            stub = milvus_pb2_grpc.MilvusServiceStub(channel)
            while not self._healthy(stub):
                if not self.running:
                    raise ServerFailed(f"{self.url} ended while starting\n{self._tail()}")
                if time.monotonic() > deadline:
                    self.kill()
                    raise ServerFailed(f"{self.url}: no answer in {timeout_s} s\n{self._tail()}")
                time.sleep(PROBE_INTERVAL_S)

    def kill(self) -> None:
        """Ends the process by SIGKILL; returns when it is gone. Does nothing to a dead one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Kills the server and starts it again on the same data and ports."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Kills the server and gives its ports back."""
        self.kill()
        self._guard.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url}, {self.data})"

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _check_ports(self) -> None:
        # Milvus takes another port without a word where one is in use.
        for port in (self.port, *self._ports):
            try:
                ports.bind(port, reuse=True).close()
            except OSError:
                raise ServerFailed(f"port {port} is in use") from None

    def _environment(self) -> dict[str, str]:
        return {}

    def _channel(self) -> grpc.Channel:
        # A fresh connection is tried at once, not after gRPC's growing pauses.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 100),
        ]
        if self.certificates:
            return grpc.secure_channel(self.address, self.certificates.credentials(), options)
        return grpc.insecure_channel(self.address, options)

    def _healthy(self, stub: milvus_pb2_grpc.MilvusServiceStub) -> bool:
        authorization = base64.b64encode(self.token.encode()).decode()
        metadata = [("authorization", authorization)] if self.token else None
        request = milvus_pb2.CheckHealthRequest()
        try:
            answer = stub.CheckHealth(request, timeout=PROBE_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError:
            return False
        return bool(answer.isHealthy)

    def _tail(self, lines: int = 30) -> str:
        output = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        reason = output.partition("\ngoroutine ")[0]  # then come the stacks of hundreds
        kept = [line for line in reason.splitlines() if not NOISE.search(line)]
        return "\n".join(line[:LOG_WIDTH] for line in kept[-lines:])


class Milvus(Server):
    """Milvus 2.3.5 standalone with its own etcd.

    `environment` sets anything of milvus.yaml by name: ``{"PROXY_MAXTASKNUM": "8"}`` is
    proxy.maxTaskNum.
    """

    def __init__(
        self,
        data: Path,
        *,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        authorization: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(data, port=port)
        self.environment = dict(environment or {})
        self.token = "root:Milvus" if authorization else ""
        self.certificates = certificates
        self._etcd_client, self._etcd_peer, self._metrics, *self._component_ports = self._ports

    def kill(self) -> None:
        super().kill()
        if self._process is not None:
            for left in LEFTOVERS:
                Path(left.format(port=self.port, pid=self.pid)).unlink(missing_ok=True)

    def _command(self) -> list[str]:
        self._write_configuration()
        folder = _unpacked_wheel()
        # Not in the environment of the launcher: the folder has a libstdc++ and a libz too.
        libraries = f"LD_LIBRARY_PATH={folder}"
        program = str(folder / "milvus")
        # The alias keeps apart the lock files of servers, which are all in one place.
        return ["env", libraries, program, "run", "standalone", "-alias", str(self.port)]

    def _healthy(self, stub: milvus_pb2_grpc.MilvusServiceStub) -> bool:
        if self.certificates is None or not self.certificates.expired:
            return super()._healthy(stub)
        # No client connects, and what it says by HTTP is not encrypted.
        health = f"http://127.0.0.1:{self._metrics}/healthz"
        try:
            with urllib.request.urlopen(health, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _write_configuration(self) -> None:
        client, peer = (f"http://127.0.0.1:{p}" for p in (self._etcd_client, self._etcd_peer))
        (self.data / "etcd").mkdir(mode=0o700, exist_ok=True)
        (self.data / "etcd.yaml").write_text(
            f"name: default\n"
            f"data-dir: {self.data}/etcd\n"
            f"listen-client-urls: {client}\n"
            f"advertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\n"
            f"initial-advertise-peer-urls: {peer}\n"
            f"initial-cluster: default={peer}\n"
        )
        # Milvus exits without a word where this file is missing.
        (self.data / "glog.conf").write_text("--logtostderr=true\n--minloglevel=1\n")

    def _environment(self) -> dict[str, str]:
        settings = {
            "etcd.use.embed": "true",
            "etcd.config.path": f"{self.data}/etcd.yaml",
            "etcd.data.dir": f"{self.data}/etcd",
            "etcd.endpoints": f"127.0.0.1:{self._etcd_client}",
            "etcd.log.level": "warn",
            "localStorage.path": f"{self.data}/data",
            "rocksmq.path": f"{self.data}/rocksmq",
            "mq.type": "rocksmq",
            "common.storageType": "local",
            # A server that starts after a crash waits until the sessions of its former life have
            # expired: 9 s with this, 70 s with the 30 s of the default.
            "common.session.ttl": "5",
            "log.level": "warn",
            "log.stdout": "true",
            "proxy.http.enabled": "false",
            "proxy.port": str(self.port),
            **QUICK,
            **self._addresses(),
            **self._security(),
        }
        named = {name.replace(".", "_").upper(): value for name, value in settings.items()}
        return {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._metrics),
            "MILVUSCONF": str(self.data),
            **named,
            **self.environment,
        }

    def _addresses(self) -> dict[str, str]:
        components = ("rootCoord", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")
        names = ("proxy.internalPort", *(f"{component}.port" for component in components))
        numbers = dict(zip(names, map(str, self._component_ports), strict=False))
        return numbers | {f"{component}.ip": "127.0.0.1" for component in ("proxy", *components)}

    def _security(self) -> dict[str, str]:
        settings = {"common.security.authorizationEnabled": str(bool(self.token)).lower()}
        if self.certificates:
            settings |= {
                "common.security.tlsMode": "2" if self.certificates.mutual else "1",
                "tls.serverPemPath": str(self.certificates.server_pem),
                "tls.serverKeyPath": str(self.certificates.server_key),
                "tls.caPemPath": str(self.certificates.ca_pem),
            }
        return settings


class MilvusLite(Server):
    """milvus-lite 3.2.2: Python, no authorization, no TLS."""

    def _command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--data-dir", "data"]
        return [sys.executable, "-m", "milvus_lite", "server", *where]


class OldMilvusLite(Server):
    """milvus-lite 2.5.1: another program than 3.2.2, with types of vectors that this lacks.

    `program` is what `packages.old_milvus_lite()` fetches.
    """

    def __init__(self, data: Path, program: Path) -> None:
        super().__init__(data)
        self._program = program

    def _command(self) -> list[str]:
        # Not in the environment of the launcher: the folder has a libm of its own.
        libraries = f"LD_LIBRARY_PATH={self._program.parent}"
        rows = str(self.data / "rows.db")
        return ["env", libraries, str(self._program), rows, self.address, "ERROR"]

    def _healthy(self, stub: milvus_pb2_grpc.MilvusServiceStub) -> bool:
        request = milvus_pb2.ShowCollectionsRequest()  # It has no CheckHealth.
        try:
            stub.ShowCollections(request, timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return True


def milvus(
    data: Path,
    *,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
    authorization: bool = False,
    certificates: Certificates | None = None,
) -> contextlib.AbstractContextManager[Server]:
    """One Milvus 2.3.5, running inside the block."""
    return Milvus(
        data,
        environment=environment,
        port=port,
        authorization=authorization,
        certificates=certificates,
    )


def milvus_lite(
    data: Path, *, port: int | None = None
) -> contextlib.AbstractContextManager[Server]:
    """One milvus-lite 3.2.2, running inside the block."""
    return MilvusLite(data, port=port)


@contextlib.contextmanager
def started(*servers: Server) -> Iterator[tuple[Server, ...]]:
    """Starts servers side by side; all run inside the block."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()
        yield servers


def have_milvus() -> bool:
    """Whether the wheel of the real server is installed, and runs on this platform."""
    return sys.platform == "linux" and (_wheel_folder() / "milvus.lzma").is_file()


def _wheel_folder() -> Path:
    # Found without importing it: the package's import has side effects.
    package = importlib.util.find_spec("milvus")
    return Path(package.origin).parent / "data/bin" if package and package.origin else Path()


@functools.cache
def _unpacked_wheel() -> Path:
    """Unpacks the wheel's compressed binaries into the environment, once for all runs."""
    folder = Path(sys.prefix) / "share" / "milvus-2.3.5"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda packed: _unpack(packed, scratch), _wheel_folder().glob("*.lzma")))
        with contextlib.suppress(OSError):  # another run was faster
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _unpack(packed: Path, folder: Path) -> None:
    target = folder / packed.stem
    target.write_bytes(lzma.decompress(packed.read_bytes()))
    target.chmod(0o755)
