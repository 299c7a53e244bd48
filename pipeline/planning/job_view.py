"""Survey and job -> what the plan and the checks need to know of a job, by collection. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.settings import Env, Sink, Source
from pipeline.planning import chosen_partitions, rbac, reshaping, target_description
from pipeline.planning.cluster_survey import ClusterSurvey
from pipeline.planning.collection_survey import Rows
from pipeline.planning.rbac import TargetNames
from pipeline.planning.reshaping import Reshaped, Trial
from pipeline.planning.same_collection import Match
from pipeline.planning.survey import Survey
from transforms.milvus import qualified_names
from transforms.milvus.description import Description, Pairs
from transforms.milvus.versions import Version
from transforms.plan import Plan

Drop = Literal["", "data", "schema"]


@dataclass(frozen=True, eq=False)
class CollectionView:
    """One chosen collection of the job.

    Attributes:
        name: its name in the source.
        target: its name in the target.
        source: its description in the source.
        rows: its rows in the source.
        existing: the target collection with the name `target`; None if there is none.
        existing_rows: the rows of that collection; None if there is none.
        beside: whether it has aliases and is copied under another name to its own database.
        partitions: the chosen partitions of the source; () for all.
    """

    name: str
    target: str
    source: Description
    rows: Rows
    existing: Description | None
    existing_rows: Rows | None
    beside: bool
    partitions: tuple[str, ...]
    _transforms: tuple[Plugin, ...] = field(repr=False)
    _trials: tuple[Trial, ...] = field(repr=False)
    _sink: Sink = field(repr=False)
    _target_version: Version = field(repr=False)

    @cached_property
    def reshaped(self) -> Reshaped:
        """The source's collection after the job's transforms."""
        tried = reshaping.recall_trials(self._trials)
        reshaped = reshaping.apply_transforms(self.source, self._transforms, self._sink, tried)
        described = chosen_partitions.with_chosen(reshaped.described, self.partitions)
        return replace(reshaped, described=described)

    @cached_property
    def dropped(self) -> Drop:
        """What a copy drops of the existing target collection; "" for nothing."""
        rows, sink = self.existing_rows, self._sink
        if rows is None:
            return ""
        if sink.schema_save_mode == "RECREATE_SCHEMA":
            return "schema"
        has_rows = rows.count > 0 or not rows.exact  # If not loaded, the count may be too low.
        return "data" if sink.data_save_mode == "DROP_DATA" and has_rows else ""

    @cached_property
    def wanted(self) -> Description:
        """The description that a new target collection gets."""
        return target_description.wanted_description(
            self.reshaped.described, self._sink, self._target_version
        )

    @property
    def is_created(self) -> bool:
        """Whether a copy creates the target collection, possibly after it has dropped one."""
        return self.existing is None or self.dropped != ""


@dataclass(frozen=True, eq=False)
class JobView:
    """One job: what both clusters contain, and the settings that the checks use.

    Attributes:
        job_id: the id of the job.
        source: what the source contains.
        target: what the target contains.
        collections: the chosen collections, in the order of the job.
        databases: the databases to copy, with their names in the target.
        plan: the plan of a resumed job; None for a new job.
        matches: the target collections that are, or may be, collections to copy; by name.
        env: the block `env` of the job file.
        source_settings: its block `source.Milvus`.
        sink: its block `sink.Milvus`.
        inherits_database: whether the sink sets no database and so uses the source's.
        qualifies: whether the job copies several databases, so that names are qualified.
        target_names: names of the job in the target, for grants.
        page_bytes: the target size of one page in bytes.
        request_bytes: the target size of one insert in bytes.
        transforms: all transforms of the job file, in its order.
        notes: the paths of accepted keys of the job file, with a note on each.
    """

    job_id: str
    source: ClusterSurvey
    target: ClusterSurvey
    collections: tuple[CollectionView, ...]
    databases: Pairs
    plan: Plan | None
    matches: Mapping[str, Match]
    env: Env
    source_settings: Source
    sink: Sink
    inherits_database: bool
    qualifies: bool
    target_names: TargetNames
    page_bytes: int
    request_bytes: int
    transforms: tuple[Plugin, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the chosen collections in the source."""
        return tuple(collection.name for collection in self.collections)

    def beside(self, collection: str, name: str) -> str:
        """Returns the job's name for a collection, or alias, in the database of a collection."""
        return qualified_names.beside(collection, name) if self.qualifies else name

    def other_owner(self, alias: str, target: str) -> str:
        """Returns the collection, other than `target`, that has the alias in the target; or "".

        The alias is one in the database of `target`.
        """
        owner = self.target.owners.get(self.beside(target, alias), "")
        return "" if owner == target else owner


def view_job(config: JobConfig, survey: Survey, plan: Plan | None = None) -> JobView:
    """Returns the view of a job; `plan` is the plan of a resumed job."""
    return JobView(
        job_id=config.job_id,
        source=survey.source,
        target=survey.target,
        collections=tuple(_view_collection(config, survey, name) for name in survey.chosen),
        databases=(plan.databases if plan else ()) or survey.databases,
        plan=plan,
        matches=survey.matches,
        env=config.env,
        source_settings=config.source,
        sink=config.sink,
        inherits_database=config.inherits_database,
        qualifies=config.qualifies,
        target_names=rbac.target_names(
            config, survey.databases, {name: config.name_of(name) for name in survey.chosen}
        ),
        page_bytes=config.page_bytes,
        request_bytes=config.request_bytes,
        transforms=config.transform,
        notes=config.notes,
    )


def _view_collection(config: JobConfig, survey: Survey, name: str) -> CollectionView:
    target = config.name_of(name)
    return CollectionView(
        name=name,
        target=target,
        source=survey.source.described[name],
        rows=survey.source.rows[name],
        existing=survey.target.described.get(target),
        existing_rows=survey.target.rows.get(target),
        beside=name in survey.beside,
        partitions=chosen_partitions.chosen_partitions(
            config.source, survey.source.described[name]
        ),
        _transforms=config.transforms(name),
        _trials=survey.trials.get(name, ()),
        _sink=config.sink,
        _target_version=survey.target.version,
    )
