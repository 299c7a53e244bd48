"""Engines, Beam's runners for them and an old Milvus, from packages into a cache folder.

Flink and Spark come from PyPI (their Python packages hold the Java programs), Beam's runners from
Maven Central. Nothing is installed into an environment. What is complete has its final name, so a
run that was interrupted leaves nothing half done, and the next one is quick.

The official job servers of Beam 2.77 are one jar each; where they are to be had, use those. Here
the same is assembled from the runners' thin artifacts, of the newest version that is published.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

FLINK = "1.19.3"
SPARK = "3.5.9"
FLINK_RUNNER = "beam-runners-flink-1.19"
SPARK_RUNNER = "beam-runners-spark-3"
OLD_MILVUS_LITE = Path(__file__).parent / "milvus-lite.txt"
BEAM_JAVA = "2.70.0"
# 2.70.0 of this one module is not published; 2.65.0 has the same vendored gRPC.
JOB_SERVICE = "2.65.0"

# 100 MB of Flink that no job of Beam loads.
_NEEDLESS = ("flink-table", "flink-connector", "flink-csv", "flink-json", "flink-cep")
# What the cluster has itself: a second copy would clash.
_PROVIDED = r"flink-|spark-|scala-|slf4j-|log4j-|commons-math|beam-sdks-java-harness"
# What only Google Cloud needs; its Guava clashes with Spark's.
_GOOGLE = (
    r"beam-sdks-java-extensions-google|gcs|util-|bigdataoss|gapic-|gax-|grpc-|api-common|conscrypt"
    r"|google-(auth|cloud|http|api|oauth)|proto-google|protobuf-java-util|opencensus|s2a|httpc|re2j"
)
# What is true of one jar only: its signature, its module, and an index for which Java overlooks
# the class path.
_OWN = re.compile(r"META-INF/([^/]*\.(SF|RSA|DSA)|INDEX\.LIST)$|(^|/)module-info\.class$")

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>runner</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencyManagement><dependencies><dependency>
    <groupId>org.apache.beam</groupId><artifactId>beam-runners-java-job-service</artifactId>
    <version>{JOB_SERVICE}</version>
  </dependency></dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>org.apache.beam</groupId><artifactId>{{artifact}}</artifactId>
      <version>{BEAM_JAVA}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>2.0.16</version></dependency>
  </dependencies>
</project>
"""


class NotAvailable(RuntimeError):
    """What is needed cannot be had here; the message says what and why."""


def cache() -> Path:
    """Where engines are kept: outside of any clone, so that the next one finds them."""
    given = os.environ.get("KITELIFT_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(given) if given else base / "kitelift"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def need(*programs: str) -> None:
    """Makes sure that programs are there.

    Raises:
        NotAvailable: one of them is not.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotAvailable(f"needs Java 17 and Maven; there is no {' and no '.join(missing)}")


def flink() -> Path:
    """A complete FLINK_HOME."""
    need("java")
    return _made(f"flink-{FLINK}", _make_flink)


def spark() -> Path:
    """A SPARK_HOME: jars and bin."""
    need("java")
    return _made(f"spark-{SPARK}", _make_spark)


def old_milvus_lite() -> Path:
    """The program in milvus-lite 2.5.1, in a venv of its own: 3.2.2 is in that of the tests."""
    home = _made("milvus-lite-2.5.1", _make_old_milvus_lite)
    return next(home.glob("lib/python*/site-packages/milvus_lite/lib/milvus"))


def flink_runner() -> Path:
    """The jar that is sent to Flink with each job."""
    main = "org.apache.beam.runners.flink.FlinkPipelineRunner"
    minor = FLINK_RUNNER.rpartition("-")[2]
    head = f"Main-Class: {main}\r\nFlink-Version: {minor}\r\n"
    jars = _made(f"{FLINK_RUNNER}-{BEAM_JAVA}", lambda into: _fetch(FLINK_RUNNER, into))
    skip = re.compile(f"{_PROVIDED}|{_GOOGLE}")
    return _made(f"{jars.name}-job.jar", lambda into: _merge(jars, into, head, skip))


def spark_runner() -> Path:
    """The jar of a job server for Spark, which finds Spark itself beside it."""
    main = "org.apache.beam.runners.spark.SparkJobServerDriver"
    jars = _made(f"{SPARK_RUNNER}-{BEAM_JAVA}", lambda into: _fetch(SPARK_RUNNER, into))
    beside = " ".join(
        f"spark-{SPARK}/jars/{jar.name}" for jar in sorted(spark().glob("jars/*.jar"))
    )
    head = f"Main-Class: {main}\r\n{_folded(f'Class-Path: {beside}')}"
    skip = re.compile(_PROVIDED)
    return _made(f"{jars.name}-job-server.jar", lambda into: _merge(jars, into, head, skip))


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """Returns what stands in the cache under a name; makes it first where it is missing."""
    there = cache() / name
    if there.exists():
        return there
    print(f"making {there} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        part = Path(scratch) / name
        make(part)
        if not there.exists():  # Another run may have been faster.
            part.rename(there)
    return there


def _make_flink(home: Path) -> None:
    # The wheel has the scripts and the configuration, the other package's sdist the jars.
    with zipfile.ZipFile(_download("apache-flink", FLINK, home.parent)) as wheel:
        for info in wheel.infolist():
            _, *parts = Path(info.filename).parts
            if parts[:1] in (["bin"], ["conf"]) and not info.is_dir():
                _put(home.joinpath(*parts), wheel.read(info), executable=parts[0] == "bin")
    wanted = {("deps", "lib"), ("deps", "bin")}
    _unpack(_download("apache-flink-libraries", FLINK, home.parent, source=True), home, wanted)


def _make_spark(home: Path) -> None:
    wanted = {("deps", "jars"), ("deps", "bin")}
    _unpack(_download("pyspark", SPARK, home.parent, source=True), home, wanted)


def _make_old_milvus_lite(home: Path) -> None:
    venv.create(home, symlinks=True)
    install = ["-m", "pip", f"--python={home}/bin/python", "install", "--quiet", "--no-deps"]
    pinned = ["--require-hashes", "--only-binary=:all:", "-r", str(OLD_MILVUS_LITE)]
    _call([sys.executable, *install, *pinned], "milvus-lite 2.5.1")


def _unpack(sdist: Path, home: Path, wanted: set[tuple[str, ...]]) -> None:
    with tarfile.open(sdist) as archive:
        for member in archive:
            _, *parts = Path(member.name).parts
            stream = archive.extractfile(member) if tuple(parts[:2]) in wanted else None
            if stream is not None and not parts[-1].startswith(_NEEDLESS):
                _put(home.joinpath(*parts[1:]), stream.read(), executable=bool(member.mode & 0o100))


def _put(path: Path, data: bytes, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if executable:
        path.chmod(0o755)


def _download(package: str, version: str, folder: Path, *, source: bool = False) -> Path:
    into = folder / package
    into.mkdir()
    kind = ["--no-binary", ":all:"] if source else []
    command = ["pip", "download", "--quiet", "--no-deps", "--dest", str(into), *kind]
    _call([sys.executable, "-m", *command, f"{package}=={version}"], f"{package} {version}")
    return next(into.iterdir())


def _fetch(artifact: str, into: Path) -> None:
    need("mvn")
    pom = into.parent / "pom.xml"
    pom.write_text(_POM.format(artifact=artifact))
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into}"]
    _call(["mvn", "-B", "-q", "-f", str(pom), *goal], f"org.apache.beam:{artifact}:{BEAM_JAVA}")


def _call(command: list[str], what: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise NotAvailable(f"{what} cannot be fetched: {' | '.join(lines[:3])[:500]}")


def _merge(jars: Path, into: Path, head: str, skip: re.Pattern[str]) -> None:
    """Merges jars into one: of two files with one name the first wins, services are joined."""
    services: dict[str, list[str]] = {}
    seen = {"META-INF/MANIFEST.MF"}
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
        merged.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\n{head}\r\n")
        for jar in _in_order(each for each in jars.glob("*.jar") if not skip.match(each.name)):
            with zipfile.ZipFile(jar) as archive:
                for info in archive.infolist():
                    name = info.filename
                    if name.startswith("META-INF/services/") and not info.is_dir():
                        services.setdefault(name, []).extend(
                            archive.read(info).decode().split("\n")
                        )
                    elif name not in seen and not info.is_dir() and not _OWN.search(name):
                        seen.add(name)
                        merged.writestr(name, archive.read(info))
        for name, lines in services.items():
            merged.writestr(name, "\n".join(dict.fromkeys(lines)) + "\n")


def _in_order(jars: Iterable[Path]) -> list[Path]:
    return sorted(jars, key=lambda jar: (not jar.name.startswith("beam-runners"), jar.name))


def _folded(line: str) -> str:
    """A line of a manifest, which may have 72 bytes; it goes on behind a blank."""
    first, rest = line[:70], line[70:]
    more = "".join(f"\r\n {rest[at : at + 69]}" for at in range(0, len(rest), 69))
    return f"{first}{more}\r\n"
