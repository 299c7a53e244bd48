"""The demo job on a real cluster: ``make cluster-flink``, ``make cluster-spark``.

Puts the engine together from packages (once), starts it and two Milvus on this machine, runs the
job as a user would, shows the engine's own page, and stops everything.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pymilvus import MilvusClient

from tests import demo, servers
from tests.cluster import packages, runs
from tests.cluster.flink import Flink
from tests.cluster.spark import Spark

ROWS = 20_000


def main() -> int:
    """Runs the demo on the engine that the command line names; returns the job's exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="kitelift-demo-"))
    try:
        packages.need("java", "mvn")
        with _engine(sys.argv[1]) as (page, options):
            return _run(folder, page, options)
    except packages.NotAvailable as error:
        print(f"make cluster-{sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 5
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _engine(name: str) -> Iterator[tuple[str, list[str]]]:
    """Starts an engine; yields its page, and the options with which a job finds it."""
    if name == "flink":
        with Flink(managers=2, slots=1) as flink:
            yield f"http://{flink.master}", [*runs.options(flink), *runs.process()]
    else:
        with Spark(workers=2, cores=1) as spark:
            yield spark.page, [*runs.options(spark), *runs.process()]


def _run(folder: Path, page: str, options: list[str]) -> int:
    pair = servers.Milvus(folder / "source"), servers.Milvus(folder / "target")
    with servers.started(*pair) as (source, target):
        with contextlib.closing(MilvusClient(source.url)) as client:
            demo.articles(client, ROWS)
            demo.tenants(client, ROWS)
            demo.events(client)
        job = folder / "migration.conf"
        job.write_text(demo.JOB.format(source=source.url, target=target.url))
        command = ["-m", "pipeline", *options, f"--config={job}", f"--state={folder / 'state'}"]
        print(f"\n{job.read_text()}\n$ python {' '.join(map(_quoted, command))}", flush=True)
        print(f"the engine's own page, while this runs: {page}\n", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, *command], check=False).returncode
        print(f"\nexit code {code} after {time.monotonic() - started:.0f} s")
        return code


def _quoted(word: str) -> str:
    return f"'{word}'" if '"' in word else word


if __name__ == "__main__":
    raise SystemExit(main())
