"""Copies roles, privileges and memberships that the target lacks (`sink.Milvus.rbac`).

Nothing is removed but what a failed job added. Users are not created, because servers do not return
passwords.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from pipeline.console.formatting import listed, plural
from pipeline.jobfile.job import JobConfig
from transforms.errors import AccessDenied, Refused
from transforms.finding import Finding
from transforms.milvus import qualified_names
from transforms.milvus.access_control import EVERY, SUPERUSER, Access, AccessClient, Grant, Group
from transforms.milvus.description import Pairs
from transforms.plan import Plan

NAMED = 20
"""The number of users or grants that a finding names."""


Place = tuple[str, str]
"""A database and the plain name of a collection in it."""


@dataclass(frozen=True)
class TargetNames:
    """The names in the target of what a job copies, by their names in the source."""

    databases: Mapping[str, str]
    collections: Mapping[Place, Place]

    def of(self, database: str, collection: str) -> set[str]:
        """Returns the names in the target of a collection; several if any database is meant."""
        return {
            new
            for place, (_, new) in self.collections.items()
            if place[1] == collection and database in (place[0], EVERY)
        }


def target_names(config: JobConfig, databases: Pairs, names: Mapping[str, str]) -> TargetNames:
    """Returns the names of a job; `names` are those of its collections in source and target."""

    def place(name: str, database: str) -> Place:
        return qualified_names.split(name) if config.qualifies else (database, name)

    source, target = config.source_endpoint.database, config.sink.database
    return TargetNames(
        dict(databases),
        {place(old, source): place(new, target) for old, new in names.items()},
    )


def missing_access(source: Access, target: Access, names: TargetNames) -> Access:
    """Returns what the target lacks of the source's access; `users` are those that it lacks.

    Grants on collections that the job does not copy are left out.
    """
    users = source.users - {SUPERUSER}
    grants = frozenset(_translated(source.grants, names))
    return Access(
        users=users - target.users,
        roles=source.roles - target.roles,
        about=source.about,
        members=frozenset(
            (role, user)
            for role, user in source.members - target.members
            if user in users & target.users
        ),
        groups=frozenset(_lacking_groups(source, target)),
        grants=grants - target.grants,
    )


def _translated(grants: frozenset[Grant], names: TargetNames) -> Iterator[Grant]:
    """Yields the grants with the names of database and collections in the target."""
    for grant in grants:
        database = names.databases.get(grant.database, grant.database)
        translated = replace(grant, database=database)
        if grant.kind == "User" or grant.name == EVERY:
            yield translated
        else:  # Also for grants of a privilege group, whose kind is Global.
            for name in names.of(grant.database, grant.name):
                yield replace(translated, name=name)


def _lacking_groups(source: Access, target: Access) -> Iterator[Group]:
    existing = {group.name: group.privileges for group in target.groups}
    for group in source.groups:
        missing = tuple(sorted({*group.privileges} - {*existing.get(group.name, ())}))
        if missing or group.name not in existing:
            yield Group(group.name, missing)


def findings(missing: Access) -> Iterator[Finding]:
    """Yields what Kitelift will add, and the users that it cannot create."""
    added = {
        "privilege group": [group.name for group in sorted(missing.groups)],
        "role": sorted(missing.roles),
        "grant": [str(grant) for grant in sorted(missing.grants)],
        "membership": [f"{user} in {role}" for role, user in sorted(missing.members)],
    }
    for noun, names in added.items():
        if names:
            what = f"Kitelift will add {plural(len(names), noun)}: {listed(names, most=NAMED)}."
            yield Finding("rbac", "users and roles", what, severity="info")
    if missing.users:
        yield Finding(
            "rbac-users",
            "users and roles",
            f"these users do not exist in the target: {listed(sorted(missing.users), most=NAMED)}. "
            "Kitelift cannot copy users, because servers do not return passwords.",
            "Create them in the target, then rerun. Kitelift then adds them to their roles.",
            severity="warning",
        )


def unknown_access(role: str, access: Access) -> Finding:
    """Returns the finding about users and roles that could not be read from one side."""
    block = "source" if role == "source" else "sink"
    return Finding(
        f"{role}-rbac",
        f"{role} users and roles",
        f"{access.problem}.",
        f"Set `{block}.Milvus.token` for a user who may list and create roles, such as root. Or "
        "remove `sink.Milvus.rbac`.",
    )


def add_missing_access(
    config: JobConfig, plan: Plan, keeps: Callable[[tuple[Finding, ...]], bool]
) -> tuple[Finding, ...]:
    """Adds what the target lacks, and returns what it rejected. Safe to repeat.

    Unless `keeps` says yes to the result, what was added is removed again.
    """
    source, target = AccessClient(config.source_endpoint), AccessClient(config.target_endpoint)
    try:
        databases = config.databases(plan)
        new = [name for _, name in databases]
        wanted, existing = source.access([old for old, _ in databases]), target.access(new)
        for role, access in (("source", wanted), ("target", existing)):
            if access.problem:
                return (unknown_access(role, access),)
        copied = {collection.name: collection.target for collection in plan.collections}
        names = target_names(config, databases, copied)
        missing = missing_access(wanted, existing, names)
        added: list[Callable[[], None]] = []
        refused = list(_add(target, existing, missing, added))
        still_missing = missing_access(wanted, target.access(new), names)
        lost = tuple(_lost(still_missing, refused))
        if not keeps(lost):
            _remove(added)
    finally:
        source.close()
        target.close()
    return lost


def _add(
    target: AccessClient, existing: Access, missing: Access, added: list[Callable[[], None]]
) -> Iterator[str]:
    """Adds all that the target accepts; yields the server's words about what it rejects.

    `added` gets what removes each addition.
    """
    for what, add, remove in _steps(target, existing, missing):
        try:
            add()
        except (Refused, AccessDenied) as error:
            yield f"{what}: {error.detail}"
        else:
            added.append(remove)


def _remove(added: list[Callable[[], None]]) -> None:
    """Removes what was added, the last first; what the server does not remove stays."""
    for remove in reversed(added):
        with suppress(Refused, AccessDenied):
            remove()


def _steps(
    target: AccessClient, existing: Access, missing: Access
) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Yields each addition: what it is, what makes it, and what removes it."""
    known = {group.name for group in existing.groups}
    groups = known | {group.name for group in missing.groups}
    for group in sorted(missing.groups):
        what = f"group {group.name}"
        if group.name not in known:
            create = partial(target.create_group, group.name)
            yield what, create, partial(target.drop_group, group.name)
        if group.privileges:
            add = partial(target.add_to_group, group)
            yield what, add, partial(target.remove_from_group, group)
    for role in sorted(missing.roles):
        about = dict(missing.about).get(role, "")
        create = partial(target.create_role, role, about)
        yield f"role {role}", create, partial(target.drop_role, role)
    for grant in sorted(missing.grants):
        add = partial(target.grant, grant, groups)
        yield str(grant), add, partial(target.revoke, grant, groups)
    for role, user in sorted(missing.members):
        add = partial(target.add_member, role, user)
        yield f"role {role} for {user}", add, partial(target.remove_member, role, user)


def _lost(missing: Access, refused: list[str]) -> Iterator[Finding]:
    """Yields the roles and privilege groups that the target still lacks, or has incompletely."""
    names = {group.name for group in missing.groups}
    names |= {*missing.roles, *(grant.role for grant in missing.grants)}
    names |= {role for role, _ in missing.members}
    for name in sorted(names):
        reasons = [reason for reason in refused if name in reason]
        what = "a part of it is missing in the target."
        if reasons:
            what = f"the target rejected a part of it: {listed(reasons, most=NAMED)}."
        code = f"lost:rbac.{name}"
        yield Finding(
            code,
            f"role or privilege group {name}",
            what,
            f"Use another target, or rerun with `--accept={code}` to copy without it.",
            acceptable=True,
        )
