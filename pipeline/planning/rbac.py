"""Users, roles and privileges, where the job asks for them: what the target lacks is added.

Nothing is taken away, and no user is made: no server tells a password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from pipeline.console.formatting import listed, plural
from pipeline.jobfile.job import JobConfig
from transforms.errors import AccessDenied, Refused
from transforms.milvus.access import (
    EVERY,
    SUPERUSER,
    Access,
    AccessClient,
    Grant,
    Group,
)
from transforms.plan import Finding

NAMED = 20
"""Users and grants that a finding names."""


def missing_access(
    source: Access, target: Access, config: JobConfig, copied: tuple[str, ...]
) -> Access:
    """Returns what the target lacks of the source's access; `users` are those that it lacks.

    `copied` are the collections of the job: grants on others are left out.
    """
    users = source.users - {SUPERUSER}
    grants = frozenset(_translated(source.grants, config, copied))
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


def _translated(
    grants: frozenset[Grant], config: JobConfig, copied: tuple[str, ...]
) -> Iterator[Grant]:
    """Yields the grants as they are to be in the target, whose names may be others."""
    for each in grants:
        ours = each.database == config.source.database
        grant = replace(each, database=config.sink.database) if ours else each
        if grant.kind == "User" or grant.name == EVERY:
            yield grant
        elif grant.name in copied:  # Of a privilege group too, whose kind is Global.
            yield replace(grant, name=config.name_of(grant.name))


def _lacking_groups(source: Access, target: Access) -> Iterator[Group]:
    there = {group.name: group.privileges for group in target.groups}
    for group in source.groups:
        missing = tuple(sorted({*group.privileges} - {*there.get(group.name, ())}))
        if missing or group.name not in there:
            yield Group(group.name, missing)


def findings(missing: Access) -> Iterator[Finding]:
    """Yields what is going to be added, and who cannot be."""
    added = {
        "privilege group": [group.name for group in sorted(missing.groups)],
        "role": sorted(missing.roles),
        "grant": [str(grant) for grant in sorted(missing.grants)],
        "membership": [f"{user} in {role}" for role, user in sorted(missing.members)],
    }
    for noun, names in added.items():
        if names:
            what = f"{plural(len(names), noun)} to be added: {listed(names, most=NAMED)}."
            yield Finding("rbac", "users and roles", what, severity="info")
    if missing.users:
        yield Finding(
            "rbac-users",
            "users and roles",
            f"not in the target: {listed(sorted(missing.users), most=NAMED)}; "
            "no server tells a password.",
            "Make them there, then run again: they are given their roles.",
            severity="warning",
        )


def unknown_access(role: str, access: Access) -> Finding:
    """Says why one side's access is not known."""
    block = "source" if role == "source" else "sink"
    return Finding(
        f"{role}-rbac",
        f"{role} users and roles",
        f"{access.problem}.",
        f"Give a token under {block}.Milvus of one who may see and make roles (root may), or leave "
        "out sink.Milvus.rbac.",
    )


def add_missing_access(config: JobConfig, copied: tuple[str, ...]) -> tuple[Finding, ...]:
    """Adds what the target lacks; done twice, it changes nothing. Returns what it did not take."""
    source, target = AccessClient(config.source_endpoint), AccessClient(config.target_endpoint)
    try:
        wanted, there = source.access(), target.access()
        for role, access in (("source", wanted), ("target", there)):
            if access.problem:
                return (unknown_access(role, access),)
        refused = list(_refused(target, there, missing_access(wanted, there, config, copied)))
        left = missing_access(wanted, target.access(), config, copied)
    finally:
        source.close()
        target.close()
    return tuple(_left(left, refused))


def _refused(target: AccessClient, there: Access, missing: Access) -> Iterator[str]:
    """Adds all that can be added; yields the server's words about what cannot."""
    for what, step in _steps(target, there, missing):
        try:
            step()
        except (Refused, AccessDenied) as error:
            yield f"{what}: {error.detail}"


def _steps(
    target: AccessClient, there: Access, missing: Access
) -> Iterator[tuple[str, Callable[[], None]]]:
    known = {each.name for each in there.groups}
    groups = known | {each.name for each in missing.groups}
    for group in sorted(missing.groups):
        if group.name not in known:
            yield f"group {group.name}", partial(target.create_group, group.name)
        if group.privileges:
            yield f"group {group.name}", partial(target.add_to_group, group)
    for role in sorted(missing.roles):
        about = dict(missing.about).get(role, "")
        yield f"role {role}", partial(target.create_role, role, about)
    for grant in sorted(missing.grants):
        yield str(grant), partial(target.grant, grant, groups)
    for role, user in sorted(missing.members):
        yield f"role {role} for {user}", partial(target.add_member, role, user)


def _left(left: Access, refused: list[str]) -> Iterator[Finding]:
    """Yields what the target does not have although it was told to, by role and by group."""
    lost = {group.name for group in left.groups}
    lost |= {*left.roles, *(grant.role for grant in left.grants)}
    lost |= {role for role, _ in left.members}
    for name in sorted(lost):
        words = [each for each in refused if name in each] or ["the target does not have all of it"]
        code = f"lost:rbac.{name}"
        yield Finding(
            code,
            f"role or privilege group {name}",
            f"{listed(words, most=NAMED)}.",
            f"Use another target, or go on without it by --accept={code}.",
            acceptable=True,
        )
