"""Who may do what with which action: a table that is kept, so that a change of any rule is a diff to look at.

`python -m tests.domain.test_permission_matrix --write` writes it again.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domain.permissions import ApproveLists, ExecuteLists, Permissions
from domain.policies import Said
from domain.users import Caller, User

GOLDEN = Path(__file__).parents[1] / "golden" / "permissions.txt"
AT = datetime(2026, 1, 2, tzinfo=UTC)
POLICY: Any = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["true"]}
NOBODY: Any = {"roles": (), "users": (), "teams": ()}
OWNERS = ("sre",)
"""Of the entity, where one is named."""


def _actions() -> dict[str, Permissions]:
    def of(execute: Any, approve: Any) -> Permissions:
        return Permissions(execute=ExecuteLists(**{**NOBODY, **execute}), approve=ApproveLists(**{**NOBODY, **approve}))

    return {
        "by default": Permissions(),
        "for nobody": of({}, {}),
        "for admins": of({"roles": ("admin",)}, {"roles": ("ADMIN",)}),
        "for members": of({"roles": ("Member",)}, {"roles": ("Member",)}),
        "for a person": of({"users": ("Ann@x.io",)}, {"users": ("Ann@x.io",)}),
        "for a team": of({"teams": ("sre",)}, {"teams": ("sre",)}),
        "for owners": of({"owned_by_team": True}, {}),
        "for members, by policy": of(
            {"roles": ("Member",), "policy": POLICY}, {"roles": ("Member",), "policy": POLICY}
        ),
        "hidden, by policy": of({"policy": POLICY}, {"policy": POLICY}),
    }


def _callers() -> dict[str, Caller]:
    def person(email: str, *roles: str, teams: tuple[str, ...] = (), machine: bool = False) -> Caller:
        user = User(id=f"of {email}", email=email, roles=roles, teams=teams, created_at=AT, updated_at=AT)
        return Caller("org", "client", user=user, machine=machine)

    return {
        "an admin": person("root@x.io", "Admin"),
        "a member": person("m@x.io", "Member"),
        "a member of the team": person("t@x.io", "Member", teams=("sre",)),
        "an admin of the team": person("b@x.io", "Admin", teams=("sre",)),
        "the person, without a role": person("ann@x.io"),
        "somebody without a role": person("z@x.io"),
        "a machine": Caller("org", "client", machine=True),
        "a machine for a member": person("m@x.io", "Member", machine=True),
    }


def _said(caller: Caller, *, named: bool) -> Said:
    emails = frozenset({caller.user.email.casefold()} if caller.user and named else ())
    return Said(queries=(), conditions=(), permits=named, emails=emails)


def _may(permissions: Permissions, caller: Caller) -> dict[str, bool]:
    """Each operation; `by policy` where a policy that is asked says yes, after the lists."""
    scope = permissions.scope("a", caller)
    return {
        "is told of it": scope is not None,
        "is told of it for its entities only": scope is not None and "team_entities" in scope,
        "executes, or the policy is asked": bool(permissions.may_execute(caller)),
        "the same on an entity of the team": bool(permissions.may_execute(caller, OWNERS)),
        "approves": bool(permissions.may_approve(caller, _said(caller, named=False))),
        "approves where the policy names them": bool(permissions.may_approve(caller, _said(caller, named=True))),
        "sees hidden runs of others": caller.is_admin or permissions.shows_runs(caller),
        "sees those they were asked about": caller.is_admin or permissions.shows_runs(caller, [caller.id]),
    }


def matrix() -> Iterator[str]:
    """The table, line by line."""
    for action, permissions in _actions().items():
        yield f"# An action {action}"
        for name, caller in _callers().items():
            can = [operation for operation, allowed in _may(permissions, caller).items() if allowed]
            yield f"{name}: {'; '.join(can) or 'nothing'}"
        yield ""


def test_who_may_do_what_is_as_it_was_looked_at() -> None:
    assert GOLDEN.read_text(encoding="utf-8").splitlines() == list(matrix()), (
        "run `python -m tests.domain.test_permission_matrix --write` and look at the difference"
    )


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    GOLDEN.write_text("\n".join(matrix()) + "\n", encoding="utf-8")
