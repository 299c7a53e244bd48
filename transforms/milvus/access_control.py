"""Access control of a Milvus: users, roles, privilege groups and grants."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pymilvus.grpc_gen import milvus_pb2

from transforms.errors import AccessDenied, Refused, ServerError
from transforms.milvus.catalog import Catalog

SUPERUSER = "root"
ADMIN = "admin"
EVERY = "*"
"""The wildcard for every object, every privilege, or every database."""

_LEVELS = ("Cluster", "Database", "Collection")
_BUILT_IN_GROUPS = {
    f"{level}{kind}" for level in _LEVELS for kind in ("ReadOnly", "ReadWrite", "Admin")
}


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege of one role. `kind` is the type of the object: Collection, Global or User."""

    role: str
    privilege: str
    kind: str
    name: str
    database: str

    def __str__(self) -> str:
        return f"{self.privilege} on {self.kind} {self.name} ({self.database}) for {self.role}"


@dataclass(frozen=True, order=True)
class Group:
    """A privilege group that users created (2.5 and later)."""

    name: str
    privileges: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """The access control of some databases. If it is unknown, `problem` says why.

    `members` are pairs (role, user), `about` pairs (role, description; 3.0).
    """

    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    about: frozenset[tuple[str, str]] = frozenset()
    members: frozenset[tuple[str, str]] = frozenset()
    groups: frozenset[Group] = frozenset()
    grants: frozenset[Grant] = frozenset()
    problem: str = ""


class AccessClient(Catalog):
    """Reads the access control of one Milvus, adds to it, and removes what it added."""

    def access(self, databases: Collection[str]) -> Access:
        """Returns the access control of these databases and of the cluster."""
        try:
            return self._access(databases)
        except (AccessDenied, Refused) as error:
            return Access(problem=f"{error.call}: {error.detail}")

    def own_grants(self, user: str, databases: Collection[str]) -> frozenset[Grant] | None:
        """Returns the grants of a user's roles; None if the user may do everything.

        A user can request this for itself without any privilege (2.3.5, measured).
        """
        request = milvus_pb2.SelectUserRequest(
            user=milvus_pb2.UserEntity(name=user), include_role_info=True
        )
        results = self._ask("SelectUser", request, milvus_pb2.SelectUserResponse).results
        roles = {role.name for result in results for role in result.roles}
        if user == SUPERUSER or ADMIN in roles:
            return None
        return frozenset(grant for role in sorted(roles) for grant in self._grants(role, databases))

    def create_role(self, name: str, about: str = "") -> None:
        """Creates a role."""
        entity = milvus_pb2.RoleEntity(name=name, description=about)
        self._do("CreateRole", milvus_pb2.CreateRoleRequest(entity=entity))

    def drop_role(self, name: str) -> None:
        """Drops a role without grants."""
        self._do("DropRole", milvus_pb2.DropRoleRequest(role_name=name))

    def add_member(self, role: str, user: str) -> None:
        """Gives a role to a user."""
        self._operate_member(role, user, milvus_pb2.OperateUserRoleType.AddUserToRole)

    def remove_member(self, role: str, user: str) -> None:
        """Takes a role from a user."""
        self._operate_member(role, user, milvus_pb2.OperateUserRoleType.RemoveUserFromRole)

    def create_group(self, name: str) -> None:
        """Creates a privilege group without privileges."""
        request = milvus_pb2.CreatePrivilegeGroupRequest(group_name=name)
        self._do("CreatePrivilegeGroup", request)

    def drop_group(self, name: str) -> None:
        """Drops a privilege group."""
        self._do("DropPrivilegeGroup", milvus_pb2.DropPrivilegeGroupRequest(group_name=name))

    def add_to_group(self, group: Group) -> None:
        """Adds privileges to an existing group."""
        self._operate_group(group, milvus_pb2.OperatePrivilegeGroupType.AddPrivilegesToGroup)

    def remove_from_group(self, group: Group) -> None:
        """Removes privileges from a group."""
        self._operate_group(group, milvus_pb2.OperatePrivilegeGroupType.RemovePrivilegesFromGroup)

    def grant(self, grant: Grant, groups: Iterable[str] = ()) -> None:
        """Grants a privilege, or one of the `groups`, to a role.

        Raises:
            ServerError: the server rejects it.
        """
        self._operate_grant(grant, groups, milvus_pb2.OperatePrivilegeType.Grant)

    def revoke(self, grant: Grant, groups: Iterable[str] = ()) -> None:
        """Revokes a privilege, or one of the `groups`, from a role.

        Raises:
            ServerError: the server rejects it.
        """
        self._operate_grant(grant, groups, milvus_pb2.OperatePrivilegeType.Revoke)

    # -- inside ---------------------------------------------------------------------------------

    def _operate_member(self, role: str, user: str, operation: int) -> None:
        request = milvus_pb2.OperateUserRoleRequest(username=user, role_name=role, type=operation)
        self._do("OperateUserRole", request)

    def _operate_group(self, group: Group, operation: int) -> None:
        request = milvus_pb2.OperatePrivilegeGroupRequest(
            group_name=group.name,
            privileges=[
                milvus_pb2.PrivilegeEntity(name=privilege) for privilege in group.privileges
            ],
            type=operation,
        )
        self._do("OperatePrivilegeGroup", request)

    def _operate_grant(self, grant: Grant, groups: Iterable[str], operation: int) -> None:
        """Grants or revokes.

        There are two forms of the call. Only the second knows groups, and it does not accept every
        grant of the first. So one is tried after the other.

        Raises:
            ServerError: both fail; it is the error of the first.
        """
        calls = [self._operate_by_object, self._operate_by_collection]
        if grant.privilege in {*groups, *_BUILT_IN_GROUPS}:
            calls.reverse()
        try:
            calls[0](grant, operation)
        except Refused as first:
            try:
                calls[1](grant, operation)
            except ServerError:
                raise first from None

    def _operate_by_object(self, grant: Grant, operation: int) -> None:
        entity = milvus_pb2.GrantEntity(
            role=milvus_pb2.RoleEntity(name=grant.role),
            object=milvus_pb2.ObjectEntity(name=grant.kind),
            object_name=grant.name,
            grantor=_grantor(grant),
            db_name=grant.database,
        )
        request = milvus_pb2.OperatePrivilegeRequest(entity=entity, type=operation)
        self._do("OperatePrivilege", request)

    def _operate_by_collection(self, grant: Grant, operation: int) -> None:
        request = milvus_pb2.OperatePrivilegeV2Request(
            role=milvus_pb2.RoleEntity(name=grant.role),
            grantor=_grantor(grant),
            type=operation,
            db_name=grant.database,
            collection_name=grant.name,
        )
        self._do("OperatePrivilegeV2", request)

    def _access(self, databases: Collection[str]) -> Access:
        request = milvus_pb2.SelectRoleRequest(include_user_info=True)
        results = self._ask("SelectRole", request, milvus_pb2.SelectRoleResponse).results
        users = self._ask(
            "ListCredUsers", milvus_pb2.ListCredUsersRequest(), milvus_pb2.ListCredUsersResponse
        )
        groups = self._if_known(
            "ListPrivilegeGroups",
            milvus_pb2.ListPrivilegeGroupsRequest(),
            milvus_pb2.ListPrivilegeGroupsResponse,
        )
        roles = frozenset(result.role.name for result in results)
        return Access(
            users=frozenset(users.usernames),
            roles=roles,
            about=frozenset((result.role.name, result.role.description) for result in results),
            members=frozenset(
                (result.role.name, user.name) for result in results for user in result.users
            ),
            groups=frozenset(
                Group(
                    group.group_name,
                    tuple(sorted(privilege.name for privilege in group.privileges)),
                )
                for group in groups.privilege_groups
                if group.group_name not in _BUILT_IN_GROUPS
            ),
            grants=frozenset(
                grant for role in sorted(roles) for grant in self._grants(role, databases)
            ),
        )

    def _grants(self, role: str, databases: Collection[str]) -> Iterator[Grant]:
        """Yields the grants of a role in some databases, and those for no particular database.

        Before 2.5, grants on objects other than collections belong to the database "default".
        """
        for database in dict.fromkeys((*databases, "default", EVERY)):
            entity = milvus_pb2.GrantEntity(role=milvus_pb2.RoleEntity(name=role), db_name=database)
            answer = self._if_known(
                "SelectGrant",
                milvus_pb2.SelectGrantRequest(entity=entity),
                milvus_pb2.SelectGrantResponse,
            )
            for entity in answer.entities:
                kind, place = entity.object.name, entity.db_name or database
                if place in (*databases, EVERY) or kind != "Collection":
                    privilege = entity.grantor.privilege.name
                    yield Grant(role, privilege, kind, entity.object_name, place)


def _grantor(grant: Grant) -> milvus_pb2.GrantorEntity:
    return milvus_pb2.GrantorEntity(privilege=milvus_pb2.PrivilegeEntity(name=grant.privilege))
