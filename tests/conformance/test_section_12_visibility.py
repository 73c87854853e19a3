"""Section 12 of the specification: who sees which runs, and which actions are offered on an entity (1.3, 9.4, 12.2).

Covered elsewhere, as directly: every way of looking at a hidden run, `tests/api/test_run_visibility.py`; the filters
of the list of actions, `tests/api/test_action_routes.py`; the condition of a run, `tests/api/test_run_targets.py`.
There is no page of ours that 12.3 could link to, and 12.4 to 12.6 have no surface of their own.
"""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYBODY = {"kim", "lead", "eve", "root"}
# Section 12.1: who sees a run that Kim asked for, by the setting of its action.
VISIBLE: dict[str, tuple[Json, set[str]]] = {
    "everybody, where nothing is said": ({}, EVERYBODY),
    "everybody, where that is said": ({"allowAnyoneToViewRuns": True}, EVERYBODY),
    "requester, approvers and admins": (
        {"allowAnyoneToViewRuns": False, "requiredApproval": True},
        {"kim", "lead", "root"},
    ),
}


def search(*rules: Json, combinator: str = "and") -> Json:
    """A condition."""
    return {"type": "SEARCH", "combinator": combinator, "rules": list(rules)}


def rule(property_: str, operator: str, value: Any) -> Json:
    """A rule of one."""
    return {"property": property_, "operator": operator, "value": value}


MINE = rule("$team", "containsAny", {"context": "userTeams", "property": "$identifier"})
# Section 1.3: the entities (cart is of tier 1 and of the team sre; shop of tier 9; base has nothing) that pass.
CONDITIONS: dict[str, tuple[Json | None, list[str]]] = {
    "none": (None, ["base", "cart", "shop"]),
    "no_rules": (search(), ["base", "cart", "shop"]),
    "no_rules_or": (search(combinator="or"), ["base", "cart", "shop"]),
    "equal": (search(rule("tier", "=", 1)), ["cart"]),
    "unequal": (search(rule("tier", "!=", 1)), ["base", "shop"]),
    "less": (search(rule("tier", "<", 5)), ["cart"]),
    "both": (search(rule("tier", ">", 0), rule("$identifier", "!=", "cart")), ["shop"]),
    "either": (search(rule("tier", "=", 1), rule("tier", "=", 9), combinator="or"), ["cart", "shop"]),
    "grouped": (
        search({"combinator": "or", "rules": [rule("tier", "=", 9), rule("$identifier", "beginsWith", "b")]}),
        ["base", "shop"],
    ),
    "empty": (search({"property": "tier", "operator": "isEmpty"}), ["base"]),
    "title": (search(rule("$title", "contains", "art")), ["cart"]),
    "of_my_teams": (search(MINE), ["cart"]),
}  # fmt: skip
TARGETS = ("base", "cart", "shop")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(product: Product) -> dict[str, httpx.Headers]:
    """Who looks; services are there, and an action for each condition, for each kind and for each list."""
    granted(await product.api.post("/v1/teams", json={"name": "sre", "users": []}), "team")
    await product.entity("base")
    await product.entity("cart", properties={"tier": 1}, team=["sre"])
    await product.entity("shop", properties={"tier": 9})
    await product.entity("cart", "other")

    async def on(identifier: str, operation: str, execute: Json | None = None, /, **trigger: Any) -> None:
        whole = {"type": "self-service", "operation": operation, "userInputs": {"properties": {}}, **trigger}
        await product.action(identifier, trigger=whole)
        body = {"execute": execute or {"roles": ["Member", "Lead"]}}
        granted(await product.api.patch(f"/v1/actions/{identifier}/permissions", json=body), "permissions")

    service = {"blueprintIdentifier": "service"}
    for name, (condition, _) in CONDITIONS.items():
        await on(f"if_{name}", "DAY-2", **service, **({"condition": condition} if condition else {}))
    await on("drop", "DELETE", **service)
    await on("create", "CREATE", **service)
    await on("free", "DAY-2")
    await on("elsewhere", "DAY-2", blueprintIdentifier="other")
    await on("owned", "DAY-2", {"roles": [], "ownedByTeam": True}, **service)
    await on("led", "DAY-2", {"roles": ["lead"]}, **service)
    event = {"type": "ENTITY_CREATED", "blueprintIdentifier": "service"}
    await product.action("auto", trigger={"type": "automation", "event": event}, publish=False)
    return {
        "kim": await product.person("kim@x.io", teams=("sre",)),
        "eve": await product.person("eve@x.io"),
        "lead": await product.person("lead@x.io", "Lead"),
        "root": await product.person("root@x.io", "Admin"),
    }


async def offered(product: Product, entity: str, who: httpx.Headers | None, **more: Any) -> set[str]:
    """The actions that are offered on an entity."""
    query = {"blueprint_identifier": "service", "entity": entity, **more}
    found = granted(await product.api.get("/v1/actions", params=query, headers=who), "actions")
    return {one["identifier"] for one in found}


@pytest.mark.parametrize(("name", "entities"), [(name, ids) for name, (_, ids) in CONDITIONS.items()], ids=CONDITIONS)
async def test_an_action_is_offered_and_run_on_what_its_condition_finds(
    product: Product, people: dict[str, httpx.Headers], name: str, entities: list[str]
) -> None:
    passed = [one for one in TARGETS if f"if_{name}" in await offered(product, one, people["kim"])]
    assert passed == entities
    for one in TARGETS:
        body = {"properties": {}, "entity": one}
        answer = await product.api.post(f"/v1/actions/if_{name}/runs", json=body, headers=people["kim"])
        if one in entities:
            granted(answer, "run", status=202)
        else:
            refused(answer, 422, "entity_does_not_pass_condition", one)


OFFERED: dict[str, tuple[str | None, Json, set[str]]] = {
    "actions on the entity, and those for its owners": ("kim", {}, {"drop", "owned"}),
    "not to who does not own it": ("eve", {}, {"drop"}),
    "by a list": ("lead", {}, {"drop", "led"}),
    "to admins only what the lists say": ("root", {}, set()),
    "everything to the organization's credentials": (None, {}, {"drop", "owned", "led"}),
    "with other filters": ("kim", {"operation": "DELETE"}, {"drop"}),
    "with another filter that excludes": ("kim", {"trigger_type": "automation"}, set()),
}


@pytest.mark.parametrize(("who", "query", "expected"), OFFERED.values(), ids=OFFERED)
async def test_what_is_offered(
    product: Product, people: dict[str, httpx.Headers], who: str | None, query: Json, expected: set[str]
) -> None:
    found = await offered(product, "cart", people[who] if who else None, **query)
    assert {one for one in found if not one.startswith("if_")} == expected


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ({"entity": "cart"}, 422, "blueprint_identifier"),
        ({"entity": "cart", "blueprint_identifier": "service,other"}, 422, "blueprint_identifier"),
        ({"entity": "nothing", "blueprint_identifier": "service"}, 404, "nothing"),
        ({"entity": "cart", "blueprint_identifier": "nothing"}, 404, "nothing"),
    ],
    ids=["of no blueprint", "of two blueprints", "that is not there", "of a blueprint that is not there"],
)
async def test_an_entity_that_nothing_can_be_offered_on(
    product: Product, people: dict[str, httpx.Headers], query: Json, status: int, word: str
) -> None:
    answer = await product.api.get("/v1/actions", params=query, headers=people["kim"])
    refused(answer, status, "not_found" if status == 404 else "invalid_request", word)


async def test_nothing_is_offered_on_what_may_not_be_read(product: Product, people: dict[str, httpx.Headers]) -> None:
    await product.entity("vault", "hidden")
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "hidden",
        "userInputs": {"properties": {}},
    }
    await product.action("open", trigger=trigger)
    body = {"entities": {"read": {"users": [], "roles": ["Lead"], "teams": [], "ownedByTeam": False}}}
    granted(await product.api.patch("/v1/blueprints/hidden/permissions", json=body), "permissions")
    query = {"blueprint_identifier": "hidden", "entity": "vault"}
    refused(await product.api.get("/v1/actions", params=query, headers=people["eve"]), 404, "not_found", "vault")
    found = granted(await product.api.get("/v1/actions", params=query), "actions")
    assert [one["identifier"] for one in found] == ["open"]


@pytest.mark.parametrize(("setting", "seeing"), VISIBLE.values(), ids=VISIBLE)
async def test_who_sees_a_run(
    product: Product, people: dict[str, httpx.Headers], setting: Json, seeing: set[str]
) -> None:
    name = f"seen_{len(seeing)}_{len(setting)}"
    await product.action(name, **setting)
    body = {"approve": {"roles": ["Lead"]}}
    granted(await product.api.patch(f"/v1/actions/{name}/permissions", json=body), "permissions")
    run = (await product.start(name, headers=people["kim"]))["id"]
    for who, headers in people.items():
        answer = await product.api.get(f"/v1/actions/runs/{run}", headers=headers)
        if who in seeing:
            granted(answer, "run")
        else:
            refused(answer, 404, "not_found", run)
