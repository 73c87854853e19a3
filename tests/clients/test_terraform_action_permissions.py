"""The permissions of actions through the Terraform provider, replayed: after every apply the next plan is empty."""

from typing import Any

import pytest

from tests.clients import go
from tests.clients.go import Json, text
from tests.clients.terraform import RefusedError, Terraform, Wire
from tests.clients.terraform_action_permissions import ActionPermissions
from tests.clients.terraform_actions import Action
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = {
    "queries": {
        "who": {
            "combinator": "and",
            "rules": [
                {"property": "$blueprint", "operator": "=", "value": "_user"},
                {"property": "$identifier", "operator": "=", "value": "{{.trigger.user.email}}"},
                {"property": "$owned_by_team", "operator": "=", "value": "true"},
            ],
        },
        "none": {"combinator": "or", "rules": []},
    },
    "conditions": ["true", ".results.who.entities | length > 0", "[.results.who.entities[].identifier]"],
}
OTHER = {**POLICY, "queries": {"who": {**POLICY["queries"]["who"], "combinator": "or"}}}  # type: ignore[index]

CASES: dict[str, tuple[Json, Json]] = {
    # What may be said about executing and about approving.
    "defaults": ({}, {}),
    "roles": ({"roles": ["Member"], "owned_by_team": False}, {"roles": []}),
    "roles-in-any-case": ({"roles": ["admin", "member"]}, {"roles": ["Admin", "member"]}),
    "roles-not-in-order": ({"roles": ["Member", "Admin"]}, {"roles": ["Moderator", "Member", "Admin"]}),
    "everything": (
        {"roles": ["Member"], "users": ["z@x.io", "a@x.io"], "teams": ["sre", "data"], "owned_by_team": True},
        {"roles": ["Admin"], "users": ["b@x.io"], "teams": ["sre"]},
    ),
    "policy-for-approving": ({"roles": ["Member"]}, {"policy": text(POLICY)}),
    "policy-for-executing": ({"policy": text(POLICY), "owned_by_team": False}, {"roles": ["Admin"]}),
    "policies": ({"policy": text(POLICY)}, {"policy": text(OTHER), "teams": ["sre"]}),
    "nobody": ({"owned_by_team": False}, {}),
}


async def _action(wire: Wire, identifier: str) -> Terraform:
    terraform = Terraform(wire, Action())
    await terraform.apply(
        {"identifier": identifier, "self_service_trigger": {"operation": "DAY-2"}, "kafka_method": {}}
    )
    return terraform


def _config(action: str, execute: Json, approve: Json) -> Json:
    return {"action_identifier": action, "permissions": {"execute": execute, "approve": approve}}


async def _raw(product: Product, action: str) -> Any:
    return (await product.api.get(f"/v1/actions/{action}/permissions")).json()["permissions"]


@pytest.mark.parametrize("name", CASES)
async def test_what_is_applied_is_found_again(wire: Wire, product: Product, name: str) -> None:
    action = f"allowed-{name}"
    owner = await _action(wire, action)
    terraform = Terraform(wire, ActionPermissions())
    config = _config(action, *CASES[name])
    await terraform.apply(config)
    *_, body = wire.writes[-1]
    assert wire.writes[-1][:2] == ("PATCH", f"/v1/actions/{action}/permissions")
    assert body["execute"].keys() == {"users", "roles", "teams", "ownedByTeam", "policy"}
    assert body["approve"].keys() == {"users", "roles", "teams", "policy"}

    found = await _raw(product, action)
    for part, block in body.items():
        for key, value in block.items():
            expected = sorted(value) if isinstance(value, list) else value
            assert go.text(found[part][key]) == go.text(expected), f"{part}.{key}"
    # An import has no order of its own to keep: lists come sorted.
    imported = await terraform.import_(action)
    assert go.text(imported) == go.text(_sorted(terraform.state))

    await owner.destroy()
    with pytest.raises(RefusedError) as gone:
        await terraform.kind.read(wire, config)
    assert gone.value.status == 404
    assert await terraform.refresh() is None


def _sorted(attributes: Any) -> Any:
    if isinstance(attributes, dict):
        return {key: _sorted(value) for key, value in attributes.items()}
    return sorted(attributes) if isinstance(attributes, list) else attributes


async def test_a_policy_comes_changes_and_goes(wire: Wire, product: Product) -> None:
    await _action(wire, "ruled")
    terraform = Terraform(wire, ActionPermissions())
    roles = {"roles": ["Member"], "owned_by_team": False}
    for policy in (POLICY, OTHER, None, POLICY):
        said = {} if policy is None else {"policy": text(policy)}
        await terraform.apply(_config("ruled", {**roles, **said}, said))
        found = await _raw(product, "ruled")
        assert found["execute"]["policy"] == found["approve"]["policy"] == policy


async def test_lists_are_emptied(wire: Wire, product: Product) -> None:
    await _action(wire, "emptied")
    terraform = Terraform(wire, ActionPermissions())
    full = {"roles": ["Member"], "users": ["a@x.io"], "teams": ["sre"]}
    await terraform.apply(_config("emptied", {**full, "owned_by_team": False}, full))
    await terraform.apply(_config("emptied", {}, {}))
    none: Json = {"roles": [], "users": [], "teams": [], "policy": None}
    assert await _raw(product, "emptied") == {"execute": {**none, "ownedByTeam": True}, "approve": none}


async def test_permissions_outlive_changes_and_renames_of_their_action_and_being_forgotten(
    wire: Wire, product: Product
) -> None:
    action = await _action(wire, "before")
    terraform = Terraform(wire, ActionPermissions())
    await terraform.apply(_config("before", {"teams": ["sre"]}, {"policy": text(POLICY)}))
    said = await _raw(product, "before")
    renamed = {"identifier": "after", "self_service_trigger": {"operation": "CREATE"}, "kafka_method": {}}
    await action.apply({**renamed, "title": "Renamed"})
    assert await _raw(product, "after") == said

    assert await terraform.refresh() is None, "they are not found under the old name, and made under the new one"
    await terraform.apply(_config("after", {"teams": ["sre"]}, {"policy": text(POLICY)}))
    calls = len(wire.sent)
    await terraform.kind.delete(wire, _config("after", {}, {}))
    assert len(wire.sent) == calls
    assert await _raw(product, "after") == said


async def test_permissions_of_an_action_that_is_not_there_are_refused(wire: Wire) -> None:
    terraform = Terraform(wire, ActionPermissions())
    with pytest.raises(RefusedError, match="not_found") as refusal:
        await terraform.apply(_config("never-made", {}, {}))
    assert refusal.value.status == 404
