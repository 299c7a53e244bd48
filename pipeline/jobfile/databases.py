"""Checks that the databases of source and sink fit together."""

from __future__ import annotations

from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.patterns import is_pattern
from pipeline.jobfile.settings import Sink, Source

_SOURCE, _SINK = f"source.{PLUGIN}.database", f"sink.{PLUGIN}.database"
_RENAME = f"sink.{PLUGIN}.database_rename"


def check(draft: Draft, source: Source, sink: Sink) -> None:
    """Refuses databases of the sink that do not fit those of the source."""
    several = not isinstance(source.database, str)
    if several and source.endpoint.folder:
        draft.refuse(_SOURCE, "files have no databases; remove it")
    elif several and sink.endpoint.folder:
        draft.refuse(
            _SOURCE, "files have no databases; copy one database per job, each to its own folder"
        )
    if not sink.database:
        return
    if several:
        why = f"must not be set, because {_SOURCE} selects several databases, which keep their "
        draft.refuse(_SINK, f"{why}names; to change names, set {_RENAME}")
    elif is_pattern(sink.database):
        draft.refuse(_SINK, f"must be the name of one database; to copy several, set {_SOURCE}")
    elif sink.database_rename:
        draft.refuse(_RENAME, f"is set beside {_SINK}; remove one of them")
