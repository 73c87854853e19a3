"""What the caller may execute, as the scope strings that clients filter actions by."""

from typing import Any

import httpx

from tests.api.answers import granted, refused
from tests.support.product import Product

PERMISSIONS = "/v1/auth/permissions"


async def scopes(product: Product, headers: httpx.Headers | None = None) -> list[str]:
    """What the caller is told."""
    found: list[str] = granted(await product.api.get(PERMISSIONS, headers=headers), "permissions")
    return found


async def permit(product: Product, action: str, **execute: Any) -> None:
    """Let only these execute the action."""
    body = {"execute": {"roles": [], "users": [], "teams": [], **execute}}
    granted(await product.api.patch(f"/v1/actions/{action}/permissions", json=body), "permissions")


async def test_every_action_the_caller_may_execute_is_told_in_order(product: Product) -> None:
    for name in ("zeta", "alpha", "by_name", "by_team", "closed"):
        await product.action(name)
    await permit(product, "by_name", users=["Ada@Example.com"])
    await permit(product, "by_team", teams=["sre"])
    await permit(product, "closed")
    ada = await product.person("ada@example.com", teams=("sre",))
    eve = await product.person("eve@example.com", teams=("web",))
    both = ["execute:actions:alpha", "execute:actions:zeta"]
    assert await scopes(product, ada) == [
        "execute:actions:alpha",
        "execute:actions:by_name",
        "execute:actions:by_team",
        "execute:actions:zeta",
    ]
    assert await scopes(product, eve) == both
    assert granted(await product.api.get(f"{PERMISSIONS}?action_version=v2", headers=eve), "permissions") == both


async def test_admins_and_the_organization_are_told_of_all(product: Product) -> None:
    await product.action("closed")
    await permit(product, "closed")
    admin = await product.person("admin@example.com", "Admin")
    assert await scopes(product, admin) == ["execute:actions:closed"]
    assert await scopes(product) == ["execute:actions:closed"]
    assert await scopes(product, await product.person("m@example.com")) == []


async def test_owned_by_team_has_a_scope_of_its_own(product: Product) -> None:
    for name in ("owned", "listed"):
        await product.action(name)
    await permit(product, "owned", ownedByTeam=True)
    await permit(product, "listed", ownedByTeam=True, users=["ada@example.com"])
    ada = await product.person("ada@example.com", teams=("sre",))
    assert await scopes(product, ada) == ["execute:actions:listed", "execute:team_entities:actions:owned"]
    assert await scopes(product, await product.person("eve@example.com", teams=("web",))) == [
        "execute:team_entities:actions:listed",
        "execute:team_entities:actions:owned",
    ]
    assert await scopes(product, await product.person("alone@example.com")) == []


async def test_automations_are_not_executed_by_anybody(product: Product) -> None:
    trigger = {"type": "automation", "event": {"type": "ANY_RUN_CHANGE", "actionIdentifier": "deploy"}}
    await product.action("follow", trigger=trigger, publish=True)
    assert await scopes(product) == []


async def test_without_a_token_nothing_is_told(product: Product) -> None:
    refused(await product.api.get(PERMISSIONS, headers={"Authorization": ""}), 401, "unauthorized")
