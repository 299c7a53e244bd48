"""Users, roles, privilege groups and grants of a fake server; it lets everybody in all the same."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.fakes.memory import BAD_PARAMETER
from tests.fakes.script import Refusal

_DONE = common_pb2.Status()


class Guard:
    """What is known of access: `roles` with their users, `groups` with their privileges.

    A grant is role, privilege, kind, name and database; a privilege of `unknown` is refused.
    """

    def __init__(self) -> None:
        self.users = {"root"}
        self.roles: dict[str, set[str]] = {"admin": {"root"}, "public": set()}
        self.about: dict[str, str] = {}
        self.groups: dict[str, set[str]] = {}
        self.grants: set[tuple[str, str, str, str, str]] = set()
        self.unknown: set[str] = set()

    def ListCredUsers(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ListCredUsersResponse(usernames=sorted(self.users))

    def SelectRole(self, request: Any, context: Any = None) -> Any:
        assert request.include_user_info
        results = [
            milvus_pb2.RoleResult(
                role=milvus_pb2.RoleEntity(name=role, description=self.about.get(role, "")),
                users=[milvus_pb2.UserEntity(name=user) for user in sorted(users)],
            )
            for role, users in self.roles.items()
        ]
        return milvus_pb2.SelectRoleResponse(results=results)

    def SelectUser(self, request: Any, context: Any = None) -> Any:
        assert request.include_role_info
        user = request.user.name
        roles = [milvus_pb2.RoleEntity(name=role) for role, of in self.roles.items() if user in of]
        return milvus_pb2.SelectUserResponse(
            results=[milvus_pb2.UserResult(user=request.user, roles=roles)]
        )

    def SelectGrant(self, request: Any, context: Any = None) -> Any:
        asked = request.entity
        found = [
            milvus_pb2.GrantEntity(
                role=asked.role,
                object=milvus_pb2.ObjectEntity(name=kind),
                object_name=name,
                db_name=database,
                grantor=_grantor(privilege),
            )
            for role, privilege, kind, name, database in sorted(self.grants)
            if (role, database) == (asked.role.name, asked.db_name)
        ]
        return milvus_pb2.SelectGrantResponse(entities=found)

    def ListPrivilegeGroups(self, request: Any, context: Any = None) -> Any:
        groups = [
            milvus_pb2.PrivilegeGroupInfo(
                group_name=name,
                privileges=[_privilege(privilege) for privilege in sorted(privileges)],
            )
            for name, privileges in {"ClusterAdmin": {"CreateRole"}, **self.groups}.items()
        ]
        return milvus_pb2.ListPrivilegeGroupsResponse(privilege_groups=groups)

    def CreateRole(self, request: Any, context: Any = None) -> Any:
        if request.entity.name in self.roles:
            raise Refusal(BAD_PARAMETER, f"role [{request.entity.name}] already exists")
        self.roles[request.entity.name] = set()
        self.about[request.entity.name] = request.entity.description
        return _DONE

    def DropRole(self, request: Any, context: Any = None) -> Any:
        if any(role == request.role_name for role, *_ in self.grants):
            raise Refusal(BAD_PARAMETER, f"fail to drop the role {request.role_name}: has grants")
        del self.roles[request.role_name], self.about[request.role_name]
        return _DONE

    def OperateUserRole(self, request: Any, context: Any = None) -> Any:
        adds = request.type == milvus_pb2.OperateUserRoleType.AddUserToRole
        users = self.roles[request.role_name]
        (users.add if adds else users.remove)(request.username)
        return _DONE

    def CreatePrivilegeGroup(self, request: Any, context: Any = None) -> Any:
        if request.group_name in self.groups:
            raise Refusal(BAD_PARAMETER, f"group [{request.group_name}] already exists")
        self.groups[request.group_name] = set()
        return _DONE

    def DropPrivilegeGroup(self, request: Any, context: Any = None) -> Any:
        del self.groups[request.group_name]
        return _DONE

    def OperatePrivilegeGroup(self, request: Any, context: Any = None) -> Any:
        privileges = {privilege.name for privilege in request.privileges}
        if request.type == milvus_pb2.OperatePrivilegeGroupType.AddPrivilegesToGroup:
            self.groups[request.group_name] |= privileges
        else:
            self.groups[request.group_name] -= privileges
        return _DONE

    def OperatePrivilege(self, request: Any, context: Any = None) -> Any:
        grant = request.entity
        if grant.grantor.privilege.name in self.groups:
            raise Refusal(BAD_PARAMETER, "a privilege group is no privilege")
        return self._grant(grant.role.name, grant.grantor, grant.object.name, grant, request.type)

    def OperatePrivilegeV2(self, request: Any, context: Any = None) -> Any:
        return self._grant(request.role.name, request.grantor, "Global", request, request.type)

    def _grant(self, role: str, grantor: Any, kind: str, request: Any, operation: int) -> Any:
        name = getattr(request, "collection_name", "") or request.object_name
        privilege = grantor.privilege.name
        if role not in self.roles or privilege in self.unknown:
            raise Refusal(BAD_PARAMETER, f"not found the privilege name[{privilege}]")
        grant = (role, privilege, kind, name, request.db_name)
        if operation == milvus_pb2.OperatePrivilegeType.Grant:
            self.grants.add(grant)
        else:
            self.grants.remove(grant)
        return _DONE


def _privilege(name: str) -> milvus_pb2.PrivilegeEntity:
    return milvus_pb2.PrivilegeEntity(name=name)


def _grantor(privilege: str) -> milvus_pb2.GrantorEntity:
    return milvus_pb2.GrantorEntity(privilege=_privilege(privilege))
