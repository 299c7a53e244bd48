"""Who may do what in a Milvus: users, roles, privilege groups and grants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pymilvus.grpc_gen import milvus_pb2

from transforms.errors import AccessDenied, Refused, ServerError
from transforms.milvus.catalog import Catalog

SUPERUSER = "root"
ADMIN = "admin"
EVERY = "*"
"""Stands for every object, every privilege, or every database."""

_LEVELS = ("Cluster", "Database", "Collection")
_BUILT_IN_GROUPS = {
    f"{level}{kind}" for level in _LEVELS for kind in ("ReadOnly", "ReadWrite", "Admin")
}


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege of one role. `kind` is Collection, Global or User: that of which it is."""

    role: str
    privilege: str
    kind: str
    name: str
    database: str

    def __str__(self) -> str:
        return f"{self.privilege} on {self.kind} {self.name} ({self.database}) for {self.role}"


@dataclass(frozen=True, order=True)
class Group:
    """A privilege group that users have made (2.5 and later)."""

    name: str
    privileges: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """All of it. `problem` is why it is not known.

    `members` are pairs of a role and a user, `about` of a role and its description (3.0).
    """

    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    about: frozenset[tuple[str, str]] = frozenset()
    members: frozenset[tuple[str, str]] = frozenset()
    groups: frozenset[Group] = frozenset()
    grants: frozenset[Grant] = frozenset()
    problem: str = ""


class AccessClient(Catalog):
    """Asks for the access to one Milvus, and adds to it; it never takes anything away."""

    def access(self) -> Access:
        """Returns who may do what in the database, and in the cluster."""
        try:
            return self._access()
        except (AccessDenied, Refused) as error:
            return Access(problem=f"{error.call}: {error.detail}")

    def own_grants(self, user: str) -> frozenset[Grant] | None:
        """Returns what a user may do by its roles; None for one who may do everything.

        A user may ask that of itself, without any privilege (2.3.5, measured).
        """
        request = milvus_pb2.SelectUserRequest(
            user=milvus_pb2.UserEntity(name=user), include_role_info=True
        )
        found = self._ask("SelectUser", request, milvus_pb2.SelectUserResponse).results
        roles = {role.name for each in found for role in each.roles}
        if user == SUPERUSER or ADMIN in roles:
            return None
        return frozenset(grant for role in sorted(roles) for grant in self._grants(role))

    def create_role(self, name: str, about: str = "") -> None:
        """Makes a role."""
        entity = milvus_pb2.RoleEntity(name=name, description=about)
        self._do("CreateRole", milvus_pb2.CreateRoleRequest(entity=entity))

    def add_member(self, role: str, user: str) -> None:
        """Gives a role to a user."""
        request = milvus_pb2.OperateUserRoleRequest(
            username=user, role_name=role, type=milvus_pb2.OperateUserRoleType.AddUserToRole
        )
        self._do("OperateUserRole", request)

    def create_group(self, name: str) -> None:
        """Makes a privilege group without privileges."""
        request = milvus_pb2.CreatePrivilegeGroupRequest(group_name=name)
        self._do("CreatePrivilegeGroup", request)

    def add_to_group(self, group: Group) -> None:
        """Adds privileges to a group that is there."""
        request = milvus_pb2.OperatePrivilegeGroupRequest(
            group_name=group.name,
            privileges=[
                milvus_pb2.PrivilegeEntity(name=privilege) for privilege in group.privileges
            ],
            type=milvus_pb2.OperatePrivilegeGroupType.AddPrivilegesToGroup,
        )
        self._do("OperatePrivilegeGroup", request)

    def grant(self, grant: Grant, groups: Iterable[str] = ()) -> None:
        """Gives a privilege, or one of the `groups`, to a role.

        Groups are only known to the second form of the call, and what was granted by the first may
        not be said in the second: so one is tried after the other.

        Raises:
            ServerError: neither does it; the words are those of the first.
        """
        calls = [self._grant_by_object, self._grant_by_collection]
        if grant.privilege in {*groups, *_BUILT_IN_GROUPS}:
            calls.reverse()
        try:
            calls[0](grant)
        except Refused as first:
            try:
                calls[1](grant)
            except ServerError:
                raise first from None

    # -- inside ---------------------------------------------------------------------------------

    def _grant_by_object(self, grant: Grant) -> None:
        entity = milvus_pb2.GrantEntity(
            role=milvus_pb2.RoleEntity(name=grant.role),
            object=milvus_pb2.ObjectEntity(name=grant.kind),
            object_name=grant.name,
            grantor=_grantor(grant),
            db_name=grant.database,
        )
        kind = milvus_pb2.OperatePrivilegeType.Grant
        self._do("OperatePrivilege", milvus_pb2.OperatePrivilegeRequest(entity=entity, type=kind))

    def _grant_by_collection(self, grant: Grant) -> None:
        request = milvus_pb2.OperatePrivilegeV2Request(
            role=milvus_pb2.RoleEntity(name=grant.role),
            grantor=_grantor(grant),
            type=milvus_pb2.OperatePrivilegeType.Grant,
            db_name=grant.database,
            collection_name=grant.name,
        )
        self._do("OperatePrivilegeV2", request)

    def _access(self) -> Access:
        request = milvus_pb2.SelectRoleRequest(include_user_info=True)
        found = self._ask("SelectRole", request, milvus_pb2.SelectRoleResponse).results
        users = self._ask(
            "ListCredUsers", milvus_pb2.ListCredUsersRequest(), milvus_pb2.ListCredUsersResponse
        )
        groups = self._if_known(
            "ListPrivilegeGroups",
            milvus_pb2.ListPrivilegeGroupsRequest(),
            milvus_pb2.ListPrivilegeGroupsResponse,
        )
        roles = frozenset(each.role.name for each in found)
        return Access(
            users=frozenset(users.usernames),
            roles=roles,
            about=frozenset((each.role.name, each.role.description) for each in found),
            members=frozenset((each.role.name, user.name) for each in found for user in each.users),
            groups=frozenset(
                Group(group.group_name, tuple(sorted(one.name for one in group.privileges)))
                for group in groups.privilege_groups
                if group.group_name not in _BUILT_IN_GROUPS
            ),
            grants=frozenset(grant for role in sorted(roles) for grant in self._grants(role)),
        )

    def _grants(self, role: str) -> Iterator[Grant]:
        """Yields what a role may do in our database, or whatever the database.

        Before 2.5 what is no collection's stands under the database "default".
        """
        for database in dict.fromkeys((self._database, "default", EVERY)):
            entity = milvus_pb2.GrantEntity(role=milvus_pb2.RoleEntity(name=role), db_name=database)
            answer = self._if_known(
                "SelectGrant",
                milvus_pb2.SelectGrantRequest(entity=entity),
                milvus_pb2.SelectGrantResponse,
            )
            for each in answer.entities:
                kind, place = each.object.name, each.db_name or database
                if place in (self._database, EVERY) or kind != "Collection":
                    privilege = each.grantor.privilege.name
                    yield Grant(role, privilege, kind, each.object_name, place)


def _grantor(grant: Grant) -> milvus_pb2.GrantorEntity:
    return milvus_pb2.GrantorEntity(privilege=milvus_pb2.PrivilegeEntity(name=grant.privilege))
