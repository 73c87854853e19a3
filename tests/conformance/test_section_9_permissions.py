"""Section 9 of the specification: the lists of an action, who is in them, and what follows from it.

Covered elsewhere, as directly: the route with its defaults, merging and refusals (9.1, 9.2),
`tests/api/test_permission_routes.py`; the whole matrix of people and actions, `tests/domain/test_permission_matrix.py`;
scopes over HTTP (9.5), `tests/api/test_auth_permissions.py`; renaming and deleting, `tests/api/test_action_routes.py`.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.permissions import Permissions, PermissionsPatch
from domain.users import Caller, User

AT = datetime(2026, 1, 2, tzinfo=UTC)
POLICY: Any = {"queries": {"q": {"combinator": "and", "rules": []}}, "conditions": ["true"]}
EVERYBODY: dict[str, Any] = {
    "roles": ["Admin", "Member"],
    "users": [],
    "teams": [],
    "ownedByTeam": False,
    "policy": None,
}
ADMINS: dict[str, Any] = {"roles": ["Admin"], "users": [], "teams": [], "policy": None}


def who(*roles: str, email: str = "ada@x.io", teams: tuple[str, ...] = ()) -> Caller:
    """Somebody who calls."""
    user = User(id="u", email=email, roles=roles, teams=teams, created_at=AT, updated_at=AT)
    return Caller("org", "u", user=user)


ADA, ADMIN, MEMBER, OF_SRE = who(), who("Admin"), who("Member"), who(teams=("sre", "web"))
EXECUTE: dict[str, tuple[dict[str, Any], Caller, list[str], bool]] = {
    "nobody by no list": ({}, ADA, [], False),
    "an address": ({"users": ["ada@x.io"]}, ADA, [], True),
    "an address in another case": ({"users": ["ADA@X.io"]}, ADA, [], True),
    "another address": ({"users": ["eve@x.io"]}, ADA, [], False),
    "an address is no id": ({"users": ["u"]}, ADA, [], False),
    "a role": ({"roles": ["Admin"]}, ADMIN, [], True),
    "a role in lower case": ({"roles": ["admin"]}, ADMIN, [], True),
    "a role in upper case": ({"roles": ["MEMBER"]}, MEMBER, [], True),
    "another role": ({"roles": ["Member"]}, who("Lead"), [], False),
    "a role that only begins so": ({"roles": ["Mem"]}, MEMBER, [], False),
    "one role of several": ({"roles": ["a", "Lead"]}, who("b", "Lead"), [], True),
    "an admin is in no list by that": ({"roles": ["Member"]}, ADMIN, [], False),
    "a team": ({"teams": ["sre"]}, OF_SRE, [], True),
    "one team of several": ({"teams": ["ops", "web"]}, OF_SRE, [], True),
    "another team": ({"teams": ["ops"]}, OF_SRE, [], False),
    "one hit is enough": ({"users": ["eve@x.io"], "roles": ["Lead"], "teams": ["web"]}, OF_SRE, [], True),
    "the entity's team": ({"ownedByTeam": True}, OF_SRE, ["web"], True),
    "one of the entity's teams": ({"ownedByTeam": True}, OF_SRE, ["ops", "sre"], True),
    "another team owns the entity": ({"ownedByTeam": True}, OF_SRE, ["ops"], False),
    "nobody owns the entity": ({"ownedByTeam": True}, OF_SRE, [], False),
    "somebody without a team": ({"ownedByTeam": True}, ADA, ["sre"], False),
    "owners only where that is said": ({"ownedByTeam": False}, OF_SRE, ["sre"], False),
    "a list beside the owners": ({"ownedByTeam": True, "users": ["ada@x.io"]}, ADA, ["ops"], True),
    "whom the lists hide it from, whatever the policy": ({"policy": POLICY}, ADA, [], False),
    "who is asked about by the policy": ({"policy": POLICY, "roles": ["Member"]}, MEMBER, [], True),
    "the organization's credentials": ({}, Caller("org", "client", machine=True), [], True),
    "a machine for a person is the person": (
        {"users": ["eve@x.io"]}, Caller("org", "client", user=ADA.user, machine=True), [], False,
    ),
}  # fmt: skip
APPROVE: dict[str, tuple[dict[str, Any], Caller, bool]] = {
    "admins by default": ({}, ADMIN, True),
    "not members by default": ({}, MEMBER, False),
    "an admin is not implied": ({"roles": []}, ADMIN, False),
    "an address": ({"roles": [], "users": ["Ada@x.io"]}, ADA, True),
    "a team": ({"roles": [], "teams": ["sre"]}, OF_SRE, True),
    "a role in another case": ({"roles": ["lead"]}, who("Lead"), True),
}
MERGED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "nothing is named": ({}, {}, {}),
    "one part": ({"execute": {"users": ["a@x.io"]}}, {"users": ["a@x.io"]}, {}),
    "both parts": (
        {"execute": {"teams": ["t"]}, "approve": {"teams": ["u"]}}, {"teams": ["t"]}, {"teams": ["u"]},
    ),
    "lists are sorted": ({"execute": {"roles": ["b", "a", "C"]}}, {"roles": ["C", "a", "b"]}, {}),
    "a list that is null is not named": ({"execute": {"users": None, "ownedByTeam": None}, "approve": None}, {}, {}),
    "an empty list": ({"execute": {"roles": []}}, {"roles": []}, {}),
    "a policy": ({"execute": {"policy": POLICY}}, {"policy": POLICY}, {}),
    "no policy": ({"execute": {"policy": None}, "approve": {"policy": None}}, {}, {}),
    "the owners": ({"execute": {"ownedByTeam": True}}, {"ownedByTeam": True}, {}),
}  # fmt: skip
REFUSED: dict[str, dict[str, Any]] = {
    "another part": {"view": {}},
    "another key": {"execute": {"groups": []}},
    "owners of an approval": {"approve": {"ownedByTeam": False}},
    "a part that is no object": {"execute": []},
    "a list that is a text": {"execute": {"users": "a@x.io"}},
    "a list of lists": {"approve": {"teams": [["a"]]}},
    "a policy that is a list": {"execute": {"policy": []}},
    "a policy with another key": {"approve": {"policy": {**POLICY, "x": 1}}},
    "a policy without queries": {"approve": {"policy": {"conditions": ["true"]}}},
    "a policy without conditions": {"approve": {"policy": {"queries": POLICY["queries"]}}},
    "a policy with no query": {"execute": {"policy": {**POLICY, "queries": {}}}},
    "a policy with no condition": {"execute": {"policy": {**POLICY, "conditions": []}}},
    "an empty condition": {"execute": {"policy": {**POLICY, "conditions": ["true", ""]}}},
    "a condition that is no text": {"execute": {"policy": {**POLICY, "conditions": [True]}}},
}
SCOPES: dict[str, tuple[dict[str, Any], Caller, str | None]] = {
    "who may execute": ({"roles": ["Member"]}, MEMBER, "execute:actions:a"),
    "who may not": ({"roles": []}, MEMBER, None),
    "who may on the entities of their team": (
        {"roles": [], "ownedByTeam": True},
        OF_SRE,
        "execute:team_entities:actions:a",
    ),
    "who may everywhere": ({"roles": [], "teams": ["sre"], "ownedByTeam": True}, OF_SRE, "execute:actions:a"),
    "who is in no team": ({"roles": [], "ownedByTeam": True}, ADA, None),
    "who is asked about by a policy": ({"roles": ["Member"], "policy": POLICY}, MEMBER, "execute:actions:a"),
}


def of(**parts: Any) -> Permissions:
    """The permissions after a patch."""
    return Permissions().patched(PermissionsPatch.model_validate(parts))


def test_who_may_what_by_default() -> None:
    assert Permissions().model_dump(mode="json") == {"execute": EVERYBODY, "approve": ADMINS}


@pytest.mark.parametrize(("lists", "caller", "owners", "allowed"), EXECUTE.values(), ids=EXECUTE)
def test_who_executes(lists: dict[str, Any], caller: Caller, owners: list[str], allowed: bool) -> None:
    assert bool(of(execute={"roles": [], **lists}).may_execute(caller, owners)) is allowed


@pytest.mark.parametrize(("lists", "caller", "allowed"), APPROVE.values(), ids=APPROVE)
def test_who_approves(lists: dict[str, Any], caller: Caller, allowed: bool) -> None:
    assert bool(of(approve=lists).may_approve(caller)) is allowed


@pytest.mark.parametrize(("body", "execute", "approve"), MERGED.values(), ids=MERGED)
def test_a_patch(body: dict[str, Any], execute: dict[str, Any], approve: dict[str, Any]) -> None:
    assert of(**body).model_dump(mode="json") == {"execute": {**EVERYBODY, **execute}, "approve": {**ADMINS, **approve}}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_patch_that_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PermissionsPatch.model_validate(body)


@pytest.mark.parametrize(("lists", "caller", "scope"), SCOPES.values(), ids=SCOPES)
def test_a_scope(lists: dict[str, Any], caller: Caller, scope: str | None) -> None:
    assert of(execute=lists).scope("a", caller) == scope
