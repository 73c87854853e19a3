"""Who reads the entities of a blueprint over HTTP: everybody, or whom its permissions name, wherever they are shown."""

from typing import Any

import httpx
import pytest

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

SECRETS = "/v1/blueprints/secret/entities"
NOBODY: Json = {"roles": []}
OWNERS: Json = {"roles": [], "ownedByTeam": True}
CREW: Json = {
    "roles": [],
    "policy": {
        "queries": {
            "crew": {
                "combinator": "and",
                "rules": [
                    {"property": "$blueprint", "operator": "=", "value": "crew"},
                    {"property": "mail", "operator": "=", "value": "{{ .user.email }}"},
                ],
            }
        },
        "conditions": [".results.crew.entities | length > 0", ".results.crew.entities[0].identifier"],
    },
}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Secrets of two teams, of which one inherits its team, and something public that knows them."""
    mirrors = {"secret": {"path": "knows.$title"}}
    for document in (
        {"identifier": "vault", "schema": {"properties": {}}},
        {"identifier": "secret", "schema": {"properties": {"n": {"type": "number"}}}},
        {
            "identifier": "heir",
            "schema": {"properties": {}},
            "relations": {"of": {"target": "secret"}},
            "ownership": {"type": "Inherited", "path": "of"},
        },
        {
            "identifier": "public",
            "schema": {"properties": {}},
            "relations": {"knows": {"target": "secret"}},
            "mirrorProperties": mirrors,
        },
        {"identifier": "crew", "schema": {"properties": {"mail": {"type": "string"}}}},
    ):
        granted(await product.api.post("/v1/blueprints", json=document), "blueprint", status=201)
    for blueprint, entity in (
        ("secret", {"identifier": "ours", "team": "sre", "properties": {"n": 1}}),
        ("secret", {"identifier": "theirs", "team": "web", "properties": {"n": 2}}),
        ("heir", {"identifier": "our-heir", "relations": {"of": "ours"}}),
        ("heir", {"identifier": "their-heir", "relations": {"of": "theirs"}}),
        ("public", {"identifier": "page", "relations": {"knows": "theirs"}}),
        ("crew", {"identifier": "kim", "properties": {"mail": "m@x.io"}}),
    ):
        at = f"/v1/blueprints/{blueprint}/entities"
        granted(await product.api.post(at, json=entity), "entity", status=201)
    return product


async def give(product: Product, blueprint: str = "secret", **read: Any) -> None:
    path = f"/v1/blueprints/{blueprint}/permissions"
    granted(await product.api.patch(path, json={"entities": {"read": read}}), "permissions")


def names_in(answer: httpx.Response, blueprint: str) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["identifier"] for one in answer.json()["entities"] if one["blueprint"] == blueprint]


async def seen(product: Product, headers: httpx.Headers | None, blueprint: str = "secret") -> dict[str, list[str]]:
    """The entities of the blueprint that each way to read them tells of."""
    api = product.api
    rule: Json = {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": blueprint}]}
    at = f"/v1/blueprints/{blueprint}/entities"
    found: dict[str, list[str]] = {}
    for way, answer in (
        ("list", await api.get(at, headers=headers)),
        ("search", await api.post("/v1/entities/search", json=rule, headers=headers)),
        ("all", await api.post("/v1/entities/search", headers=headers)),
        ("page", await api.post(f"{at}/search", json={}, headers=headers)),
        ("datasource", await api.post("/v1/blueprints/entities/datasource-entities", json={}, headers=headers)),
    ):
        found[way] = names_in(answer, blueprint)
    found["one"] = []
    for name in ("ours", "theirs", "our-heir", "their-heir"):
        answer = await api.get(f"{at}/{name}", headers=headers)
        history: Json = {
            "blueprintIdentifier": blueprint, "entityIdentifier": name, "propertyNames": ["$title"],
            "timeInterval": "day", "timeRange": {"preset": "lastWeek"},
        }  # fmt: skip
        past = await api.post("/v1/entities/properties-history", json=history, headers=headers)
        assert past.status_code == answer.status_code, past.text
        if answer.status_code == 200:
            found["one"].append(name)
        else:
            refused(answer, 404, "not_found", name)
    count: Json = {"func": "count", "calculationBy": "entities"}
    answer = await api.post("/v1/entities/aggregate", json={**count, "query": rule}, headers=headers)
    assert granted(answer, "aggregation") == len(found["list"])
    return found


def everywhere(*names: str) -> dict[str, list[str]]:
    return {way: list(names) for way in ("list", "search", "all", "page", "datasource", "one")}


async def test_everybody_reads_until_somebody_is_named(catalog: Product) -> None:
    member = await catalog.person("m@x.io")
    assert await seen(catalog, member) == everywhere("ours", "theirs")
    await give(catalog, **NOBODY)
    assert await seen(catalog, member) == everywhere()
    assert await seen(catalog, None) == everywhere("ours", "theirs"), "the organization's credentials"
    assert await seen(catalog, await catalog.person("a@x.io", "Admin")) == everywhere("ours", "theirs")
    assert (await seen(catalog, member, "heir"))["list"] == ["our-heir", "their-heir"], "others are as before"
    reads: list[Json] = [{"users": ["m@x.io"]}, {"users": [], "roles": ["member"]}]
    for read in reads:
        await give(catalog, **read)
        assert await seen(catalog, member) == everywhere("ours", "theirs")


async def test_teams_read_what_they_own_also_what_is_inherited(catalog: Product) -> None:
    member, other = await catalog.person("m@x.io", teams=("sre",)), await catalog.person("o@x.io")
    await give(catalog, **OWNERS)
    await give(catalog, "heir", **OWNERS)
    assert await seen(catalog, member) == everywhere("ours")
    assert await seen(catalog, member, "heir") == everywhere("our-heir")
    assert await seen(catalog, other) == everywhere()


async def test_what_is_read_with_others_rules_stays_restricted(catalog: Product) -> None:
    member = await catalog.person("m@x.io", teams=("sre",))
    await give(catalog, **OWNERS)
    anything = {"combinator": "or", "rules": [{"property": "n", "operator": ">", "value": 0}]}
    answer = await catalog.api.post("/v1/entities/search", json=anything, headers=member)
    assert names_in(answer, "secret") == ["ours"]
    page: Json = {"query": anything, "limit": 1}
    answer = await catalog.api.post(f"{SECRETS}/search", json=page, headers=member)
    assert "next" not in answer.json(), "nobody learns how many there are"
    body: Json = {"datasource_prefix": "python", "before": "2999-01-01T00:00:00Z"}
    answer = await catalog.api.post("/v1/blueprints/entities/datasource-entities", json=body, headers=member)
    assert names_in(answer, "secret") == ["ours"]
    assert names_in(answer, "public") == ["page"]
    shown = granted(await catalog.api.get("/v1/blueprints/public/entities/page", headers=member), "entity")
    assert shown["relations"] == {"knows": "theirs"}, "relations still name what they lead to"


async def test_a_policy_decides_alone(catalog: Product) -> None:
    member = await catalog.person("m@x.io", teams=("sre",))
    other = await catalog.person("o@x.io", teams=("sre",))
    await give(catalog, **CREW, ownedByTeam=True)
    assert await seen(catalog, member) == everywhere("ours", "theirs")
    assert await seen(catalog, other) == everywhere()
    policy: Json = {**CREW["policy"], "conditions": ["1", "error", '"true"']}
    await give(catalog, policy=policy)
    assert await seen(catalog, member) == everywhere(), "only exactly true lets anybody through"
    broken: Json = {"queries": {"q": {"combinator": "and", "rules": [
        {"property": "$title", "operator": ">", "value": '{{ error("x") }}'}]}}}  # fmt: skip
    await give(catalog, policy={**broken, "conditions": [".results.q == null"]})
    assert await seen(catalog, member) == everywhere("ours", "theirs"), "what cannot be asked is left out"
    await give(catalog, policy=None, users=["o@x.io"])
    assert await seen(catalog, member) == everywhere("ours"), "the lists count again"


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"queries": {}, "conditions": ["true"]}, "entities.read.policy.queries"),
        ({"queries": CREW["policy"]["queries"], "conditions": [""]}, "entities.read.policy.conditions[0]"),
        (
            {"queries": {"q": {"combinator": "and", "rules": [{"operator": "="}]}}, "conditions": ["true"]},
            "entities.read.policy.queries.q.rules[0].property: is required",
        ),
        ({"queries": {"q": {}}, "conditions": ["true"]}, "entities.read.policy.queries.q.combinator"),
    ],
)
async def test_a_policy_that_cannot_be_asked_is_refused_with_the_path(
    catalog: Product, policy: Json, word: str
) -> None:
    body = {"entities": {"read": {"policy": policy}}}
    refused(await catalog.api.patch("/v1/blueprints/secret/permissions", json=body), 422, "invalid_request", word)
