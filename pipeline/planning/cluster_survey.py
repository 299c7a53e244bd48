"""The facts about one cluster, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.planning.collection_survey import Rows
from transforms.errors import ServerError
from transforms.milvus.access_control import Access
from transforms.milvus.description import Description, Pairs
from transforms.milvus.versions import Version, release

OLDEST_READABLE = release("2.3.0")
"""Older servers have no ``count(*)``, so Kitelift cannot verify the rows."""


@dataclass(frozen=True)
class ClusterSurvey:
    """What Kitelift learned about one cluster.

    Attributes:
        problem: the error that ended the survey early; None if there is none.
        database: that of the endpoint; `*` if the job copies several.
        uses: the databases of the job on this cluster, whether or not they exist.
        databases: all databases of the cluster.
        names: all collections of the databases that the job uses.
        described: the examined collections, by name.
        rows: their rows, by name.
        properties: those of the databases that the job uses, by database.
        owners: by a name or alias that the job creates, the collection that already has it.
        access: users and roles; known only if the job copies them.
        aliases: by an alias that the job file names, its collection.
        vanished: collections that were dropped during the survey.
        denied: the optional calls that the server denies.
    """

    url: str
    database: str
    problem: ServerError | None = None
    version: Version = field(default_factory=lambda: Version(""))
    uses: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    described: Mapping[str, Description] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    properties: Mapping[str, Pairs] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    aliases: Mapping[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def is_too_old(self) -> bool:
        """Whether the server's version is not supported."""
        version = self.version
        is_milvus = version.known and not version.lite and not version.files
        return is_milvus and version < OLDEST_READABLE

    @property
    def existing_databases(self) -> tuple[str, ...]:
        """The databases of the job that exist."""
        return tuple(name for name in self.uses if name in self.databases)

    @property
    def missing_databases(self) -> tuple[str, ...]:
        """The databases of the job that do not exist."""
        return tuple(name for name in self.uses if name not in self.databases)
