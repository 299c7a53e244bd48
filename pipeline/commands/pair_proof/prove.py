"""`kitelift doctor --prove`: proves a pair of servers with collections of its own.

It creates a small collection for each feature that both servers support, copies them as `kitelift
run` does, compares them with pymilvus' own client, and drops everything that it created.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.commands.pair_proof import inner_run, results, specimen_comparison
from pipeline.commands.pair_proof.fill import fill, name_of
from pipeline.commands.pair_proof.progress import Progress
from pipeline.commands.pair_proof.reader import CollectionReader
from pipeline.commands.pair_proof.results import SpecimenOutcome, SpecimenResult
from pipeline.commands.pair_proof.scratch_area import TAG, ScratchArea, words_of
from pipeline.commands.pair_proof.specimen import Specimen
from pipeline.commands.pair_proof.specimens import SPECIMENS
from pipeline.commands.pair_proof.specimens_2_4 import SPECIMENS_2_4
from pipeline.commands.pair_proof.specimens_2_6 import SPECIMENS_2_6
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines, interrupt
from pipeline.console.formatting import plural
from pipeline.console.wrapping import fit_to_terminal
from pipeline.jobfile.job import JobConfig
from pipeline.planning import survey
from pipeline.preflight import examination
from transforms.errors import ConfigError, PreflightError
from transforms.ledger.ledger import Ledger
from transforms.milvus.versions import Version

ALL = (*SPECIMENS, *SPECIMENS_2_4, *SPECIMENS_2_6)

AT_ONCE = 4
"""Collections that are created or compared in parallel; they mostly wait for servers."""

EXIT_EQUAL, EXIT_UNEQUAL = 0, 4

_OF_THE_PAIR = ("-access", "-unreachable", "-version", "-version-unknown")
"""Endings of the codes of findings about the servers, and not about what a job copies."""


def prove(config: JobConfig, arguments: Arguments) -> int:
    """Proves the pair of servers of a job; returns the exit code.

    Raises:
        ConfigError: the user was not asked for consent to write, or one side is not a server.
        PreflightError: a server cannot be used.
    """
    began = time.monotonic()
    # pymilvus logs each error with a traceback; the results contain the relevant part.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    versions = _examine(config)
    tag = TAG + uuid.uuid4().hex[:8]
    unknown = [result for specimen in ALL if (result := _unknown(specimen, versions))]
    chosen = [
        specimen
        for specimen in ALL
        if not any(specimen.unknown_to(version) for version in versions)
    ]
    _confirm(config, tag, len(chosen), yes=arguments.yes)
    progress = Progress(sys.stderr, quiet=arguments.quiet)
    with _Proof(config, tag, versions, progress).scratch() as proof:
        outcomes = [*proof.results(chosen), *unknown]
    if arguments.as_json:
        print(json.dumps([asdict(result) for result in outcomes], indent=1))
    else:
        results.show(outcomes)
        # Not wrapped on a terminal, so that it can be copied.
        print(results.compatibility_row(outcomes, versions, time.monotonic() - began))
    equal = any(result.outcome == "equal" for result in outcomes)
    proven = equal and not any(result.bad for result in outcomes)
    return EXIT_EQUAL if proven and not proof.not_dropped else EXIT_UNEQUAL


def _examine(config: JobConfig) -> tuple[Version, Version]:
    """Returns the versions of both servers; a finding that stops every job raises an error."""
    for path, block in (("source", config.source), ("sink", config.sink)):
        if block.endpoint.folder:
            raise ConfigError([f"{path}.Milvus.url: --prove needs a server, and this is a folder"])
    clusters = survey.survey_clusters(inner_run.job(config, Path(), "", _databases(config), ()))
    findings = examination.examine(config, clusters, None)
    of_the_pair = tuple(finding for finding in findings if finding.code.endswith(_OF_THE_PAIR))
    finding_lines.show(of_the_pair)
    examination.raise_if_stopped(of_the_pair)
    return clusters.source.version, clusters.target.version


def _databases(config: JobConfig) -> tuple[str, str]:
    """Returns the database on each side that is used if the server refuses to create one."""
    if config.qualifies:
        return "default", "default"
    return config.source_endpoint.database, config.sink.database


def _unknown(specimen: Specimen, versions: Sequence[Version]) -> SpecimenResult | None:
    """Returns why a specimen cannot be tried on these servers; None if it can."""
    for version in versions:
        if missing := specimen.unknown_to(version):
            reason = f"Milvus {version} does not support {', '.join(missing)}"
            return SpecimenResult(specimen.name, "unknown", reason)
    return None


def _confirm(config: JobConfig, tag: str, count: int, *, yes: bool) -> None:
    """Asks the user for consent before anything is written.

    Raises:
        ConfigError: there is no terminal to ask on.
        PreflightError: the user refused.
    """
    if yes:
        return
    urls = f"{config.source.url} and {config.sink.url}"
    what = (
        f"This creates {plural(count, 'small collection')} in database {tag}_… on both servers, "
        f"{urls}, and drops them afterwards."
    )
    if not sys.stdin.isatty():
        raise ConfigError([f"{what} To agree without a terminal, add --yes. Nothing was written."])
    question = fit_to_terminal(f"{what} Continue? [y/N]", sys.stdout)
    if input(f"{question} ").strip().lower() not in ("y", "yes"):
        raise PreflightError(["not confirmed; nothing was written."])


class _Proof:
    """One proof: what it creates on both sides, and in a temporary folder."""

    def __init__(
        self, config: JobConfig, tag: str, versions: tuple[Version, Version], progress: Progress
    ) -> None:
        self._config, self._tag, self._versions = config, tag, versions
        self._progress = progress
        source, target = _databases(config)
        self._source = ScratchArea("source", replace(config.source_endpoint, database=source), tag)
        self._target = ScratchArea("target", replace(config.target_endpoint, database=target), tag)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{tag}-"))
        self._keeps_folder = False
        self.not_dropped: list[str] = []

    @contextmanager
    def scratch(self) -> Iterator[_Proof]:
        """Opens both sides, and drops everything that was created at the end, also after an error.

        Raises:
            PreflightError: a server cannot be used.
        """
        with interrupt.close_before_exit(self._drop):
            try:
                for area in (self._source, self._target):
                    self._open(area)
                yield self
            finally:
                self._drop()

    def _open(self, area: ScratchArea) -> None:
        try:
            area.open()
        except Exception as error:
            message = f"{area.role} {area.endpoint.url}: {words_of(error)}"
            raise PreflightError([message]) from error
        if area.refusal:
            self._progress.say(
                f"{area.role}: cannot create a database ({area.refusal}); using names that begin "
                f"with {self._tag} in database {area.database}",
                "warning",
            )
        for name in area.remains():
            self._progress.say(
                f"{area.role}: database {name} remains from a proof that was killed; drop it",
                "warning",
            )

    def _drop(self) -> None:
        """Drops everything that was created. A repeated call is safe."""
        self._progress.say(f"dropping {self._tag}* on both servers")
        try:
            self.not_dropped = [*self._source.drop(), *self._target.drop()]
        except KeyboardInterrupt:
            self._progress.say(f"interrupted: {self._tag}* may not be dropped", "warning")
            raise
        for error in self.not_dropped:
            self._progress.say(f"not dropped: {error}", "warning")
        if not self._keeps_folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def results(self, specimens: Sequence[Specimen]) -> list[SpecimenResult]:
        """Creates the specimens, copies and compares them; returns the result of each."""
        refused = self._run_parallel(specimens, "created", self._fill)
        created = [specimen for specimen in specimens if not refused[specimen.name]]
        failures = self._copy(created)
        compared = self._run_parallel(
            created, "compared", lambda specimen: self._compare(specimen, failures)
        )
        outcomes = [refused[specimen.name] or compared[specimen.name] for specimen in specimens]
        self._keeps_folder = any(result.bad for result in outcomes if result)
        if self._keeps_folder:
            self._progress.say(f"ledger, report and log of the copy: {self._folder}", "warning")
        return [result for result in outcomes if result]

    def _run_parallel(
        self,
        specimens: Sequence[Specimen],
        phase: str,
        work: Callable[[Specimen], SpecimenResult | None],
    ) -> dict[str, SpecimenResult | None]:
        """Calls `work` with each specimen, `AT_ONCE` in parallel; returns the results by name."""
        outcomes: dict[str, SpecimenResult | None] = {}
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="proof")
        try:
            waiting = {pool.submit(work, specimen): specimen.name for specimen in specimens}
            for done, future in enumerate(as_completed(waiting), start=1):
                outcomes[waiting[future]] = future.result()
                self._progress.step(waiting[future], phase, done, len(waiting))
        finally:
            pool.shutdown(cancel_futures=True)
        return outcomes

    def _fill(self, specimen: Specimen) -> SpecimenResult | None:
        try:
            fill(self._source.client, self._tag, specimen, self._versions)
        except Exception as error:  # noqa: BLE001 - pymilvus passes on errors of gRPC too
            return SpecimenResult(
                specimen.name, "not tried", f"the source refuses it: {words_of(error)}"
            )
        return None

    def _copy(self, specimens: Sequence[Specimen]) -> dict[str, str]:
        """Copies as `kitelift run` does; returns why collections failed, by their names."""
        if not specimens:
            return {}
        job = inner_run.job(
            self._config,
            self._folder / "state",
            self._tag,
            (self._source.database, self._target.database),
            [name_of(self._tag, specimen) for specimen in specimens],
        )
        total = len(specimens)
        with self._progress.show_phases(Ledger(job.env.state, job.job_id), total):
            failed = inner_run.run(job, self._folder / "kitelift.log")
        self._progress.step("all collections", "copied", total - len(failed), total)
        return failed

    def _compare(self, specimen: Specimen, failures: dict[str, str]) -> SpecimenResult:
        name = name_of(self._tag, specimen)
        source, target = (
            CollectionReader(
                area.client, name, lite=any(version.lite for version in self._versions)
            )
            for area in (self._source, self._target)
        )
        try:
            differences = tuple(specimen_comparison.differences(specimen, source, target))
            extent = _extent(source)
        except Exception as error:  # noqa: BLE001 - pymilvus passes on errors of gRPC too
            differences, extent = (words_of(error),), "cannot be compared"
        if why := failures.get(name):
            reason = why.replace(f"{self._tag}_", "")
            return SpecimenResult(specimen.name, "failed", reason, differences)
        outcome: SpecimenOutcome = "differs" if differences else "equal"
        return SpecimenResult(specimen.name, outcome, extent, differences)


def _extent(source: CollectionReader) -> str:
    """Returns what was compared: `300 rows, 10 fields, 3 indexes`."""
    rows, fields = plural(source.count(), "row"), plural(len(source.fields), "field")
    return f"{rows}, {fields}, {plural(len(source.index_names), 'index', 'indexes')}"
