"""Permissions: who may, and by which rule."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Forbidden
from domain.permissions import ApproveLists, ExecuteLists, Permissions, PermissionsPatch
from domain.users import Caller, User

AT = datetime(2026, 1, 2, tzinfo=UTC)
POLICY: Any = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["true"]}
MACHINE = Caller("org", "client", machine=True)


def person(email: str = "ada@example.com", roles: tuple[str, ...] = ("Member",), **more: Any) -> Caller:
    """Somebody."""
    user = User(id="user_1", email=email, roles=roles, created_at=AT, updated_at=AT, **more)
    return Caller("org", user.id, user=user)


def execute(**lists: Any) -> Permissions:
    """Permissions with these execute lists and no others."""
    return Permissions(execute=ExecuteLists(**{"roles": (), **lists}))


@pytest.mark.parametrize(
    ("permissions", "caller", "allowed"),
    [
        (Permissions(), person(), True),
        (execute(), person(), False),
        (execute(), MACHINE, True),
        (execute(users=("Ada@Example.com",)), person(), True),
        (execute(users=("eve@example.com",)), person(), False),
        (execute(roles=("admin",)), person(roles=("Admin",)), True),
        (execute(roles=("Admin",)), person(), False),
        (execute(teams=("sre",)), person(teams=("sre", "web")), True),
        (execute(teams=("sre",)), person(teams=("web",)), False),
        (execute(roles=("Member",), policy=POLICY), person(), True),
        (execute(roles=("Admin",), policy=POLICY), person(), False),
    ],
)
def test_who_may_execute(permissions: Permissions, caller: Caller, allowed: bool) -> None:
    assert bool(permissions.may_execute(caller)) is allowed


def test_who_owns_the_entity_may_execute_where_that_is_enough() -> None:
    owned = execute(owned_by_team=True)
    assert owned.may_execute(person(teams=("sre",)), entity_teams=["sre"])
    assert not owned.may_execute(person(teams=("sre",)), entity_teams=["web"])
    assert not owned.may_execute(person(teams=("sre",)))


def test_a_refusal_names_what_was_looked_at() -> None:
    with pytest.raises(Forbidden, match=r"ada@example\.com is in none of users \(none\), roles \(Admin\)"):
        Permissions().require_approve(person())
    unasked = Permissions(approve=ApproveLists(roles=("Member",), policy=POLICY))
    with pytest.raises(Forbidden, match="which was not asked"):
        unasked.require_approve(person())


def test_a_patch_replaces_whole_lists_and_nothing_else() -> None:
    before = Permissions(
        execute=ExecuteLists(users=("a@x.io",), policy={"queries": {"q": {}}, "conditions": ["true"]}),
        approve=ApproveLists(teams=("sre",)),
    )
    patch = PermissionsPatch.model_validate({"execute": {"users": ["z@x.io", "b@x.io"], "ownedByTeam": True}})
    after = before.patched(patch)
    assert after.model_dump(mode="json")["execute"]["users"] == ["b@x.io", "z@x.io"], "sorted"
    assert after.execute.owned_by_team
    assert after.execute.policy == before.execute.policy
    assert after.approve == before.approve
    assert before.patched(PermissionsPatch.model_validate({"execute": {"policy": None}})).execute.policy is None


ROLES = st.lists(st.sampled_from(["Admin", "Member", "Lead", "lead"]), unique=True)
TEAMS = st.lists(st.sampled_from(["sre", "web"]), unique=True)


@given(ROLES, TEAMS, ROLES, TEAMS, TEAMS, st.booleans(), st.booleans())
def test_nobody_gains_a_permission_by_losing_a_role_or_a_team(
    roles: list[str],
    teams: list[str],
    listed: list[str],
    listed_teams: list[str],
    owners: list[str],
    owned: bool,
    policy: bool,
) -> None:
    lists: Any = {"roles": listed, "teams": listed_teams, "policy": POLICY if policy else None}
    permissions = Permissions(
        execute=ExecuteLists(**lists, owned_by_team=owned), approve=ApproveLists(**{**lists, "policy": None})
    )

    def may(roles: Iterable[str], teams: Iterable[str]) -> list[bool]:
        caller = person(roles=tuple(roles), teams=tuple(teams))
        return [
            bool(permissions.may_execute(caller)),
            bool(permissions.may_execute(caller, owners)),
            bool(permissions.may_approve(caller)),
            permissions.shows_runs(caller),
            permissions.scope("deploy", caller) is not None,
        ]

    whole = may(roles, teams)
    fewer = [may([one for one in roles if one != lost], teams) for lost in roles]
    fewer += [may(roles, [one for one in teams if one != lost]) for lost in teams]
    for less in fewer:
        assert all(before or not after for before, after in zip(whole, less, strict=True))
