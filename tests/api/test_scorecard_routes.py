"""Scorecards over HTTP: kept as they are written, evaluated at once, refused with the path."""

from typing import Any

import pytest

from store import scorecards
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

SERVICE: Json = {
    "identifier": "service",
    "title": "Service",
    "schema": {"properties": {"tier": {"type": "number"}, "lang": {"type": "string"}}},
    "calculationProperties": {"shout": {"type": "string", "calculation": ".properties.lang | ascii_upcase"}},
}
RULE: Json = {
    "identifier": "written",
    "title": "Written in Rust",
    "level": "Gold",
    "query": {"combinator": "and", "conditions": [{"value": "rust", "operator": "=", "property": "lang"}]},
}
READINESS: Json = {
    "title": "Readiness",
    "identifier": "readiness",
    "rules": [RULE],
    "filter": {"combinator": "and", "conditions": [{"property": "tier", "operator": ">=", "value": 1.0}]},
}
PATH = "/v1/blueprints/service/scorecards"


@pytest.fixture(autouse=True)
async def blueprint(product: Product) -> None:
    """A blueprint with two entities."""
    granted(await product.api.post("/v1/blueprints", json=SERVICE), "blueprint", status=201)
    for name, lang in (("cart", "rust"), ("mail", "go")):
        entity = {"identifier": name, "properties": {"tier": 1, "lang": lang}}
        granted(await product.api.post("/v1/blueprints/service/entities", json=entity), "entity", status=201)


async def made(product: Product, **more: Any) -> Json:
    answer = await product.api.post(PATH, json={**READINESS, **more})
    return granted(answer, "scorecard", status=201)  # type: ignore[no-any-return]


async def levels(product: Product) -> dict[str, dict[str, str]]:
    """The levels of the entities, by scorecard."""
    async with product.database.read() as session:
        found: Any = await scorecards.of(session, "service", ["cart", "mail"])
    return {name: {card: result["level"] for card, result in one.items()} for name, one in found.items()}


async def test_a_scorecard_comes_back_as_it_was_written_and_has_spoken(product: Product) -> None:
    scorecard = await made(product, createdAt="then", blueprint="service")
    assert list(scorecard) == [*READINESS, "id", "blueprint", "createdAt", "createdBy", "updatedAt", "updatedBy"]
    assert {key: scorecard[key] for key in READINESS} == READINESS
    assert scorecard["blueprint"] == "service"
    assert INSTANT.fullmatch(scorecard["createdAt"])
    assert granted(await product.api.get(f"{PATH}/readiness"), "scorecard") == scorecard
    assert granted(await product.api.get(PATH), "scorecards") == [scorecard]
    for path in ("/v1/scorecards", "/v1/scorecards?page=service"):
        assert granted(await product.api.get(path), "scorecards") == [scorecard]
    assert await levels(product) == {"cart": {"readiness": "Gold"}, "mail": {"readiness": "Basic"}}


async def test_put_replaces_and_evaluates_anew_and_renames(product: Product) -> None:
    before = await made(product)
    again = granted(await product.api.put(f"{PATH}/readiness", json=before), "scorecard")
    assert again == before, "what clients read they may write back, and it changes nothing"
    go = {**RULE, "query": {"combinator": "and", "conditions": [{"property": "shout", "operator": "=", "value": "GO"}]}}
    after = granted(await product.api.put(f"{PATH}/readiness", json={**READINESS, "rules": [go]}), "scorecard")
    assert (after["id"], after["createdAt"]) == (before["id"], before["createdAt"])
    assert await levels(product) == {"cart": {"readiness": "Basic"}, "mail": {"readiness": "Gold"}}, "also by jq"
    other = {**READINESS, "identifier": "a/b"}
    assert granted(await product.api.put(f"{PATH}/readiness", json=other), "scorecard")["id"] == before["id"]
    assert granted(await product.api.get(f"{PATH}/a/b"), "scorecard")["identifier"] == "a/b"
    refused(await product.api.get(f"{PATH}/readiness"), 404, "not_found", "readiness")
    assert await levels(product) == {"cart": {"a/b": "Gold"}, "mail": {"a/b": "Basic"}}
    audits = granted(await product.api.get("/v1/audit-log?resources=scorecard&status=SUCCESS"), "audits")
    assert [one["action"] for one in audits] == ["UPDATE", "UPDATE", "CREATE"]
    assert audits[2]["context"] == {"blueprint": "service", "scorecard": "readiness"}


@pytest.mark.parametrize("wrapped", [False, True])
async def test_put_on_all_replaces_all(product: Product, wrapped: bool) -> None:
    kept = await made(product)
    await made(product, identifier="old")
    sent: Any = [{**READINESS, "identifier": "new"}, kept]
    answer = await product.api.put(PATH, json={"scorecards": sent} if wrapped else sent)
    found = granted(answer, "scorecards")
    assert [one["identifier"] for one in found] == ["new", "readiness"]
    assert found[1] == kept
    assert granted(await product.api.get(PATH), "scorecards") == found
    assert (await levels(product))["cart"] == {"new": "Gold", "readiness": "Gold"}
    assert granted(await product.api.put(PATH, json=[]), "scorecards") == []
    assert await levels(product) == {}


async def test_delete_takes_back_what_it_said(product: Product) -> None:
    await made(product)
    assert (await product.api.delete(f"{PATH}/readiness")).json() == {"ok": True}
    refused(await product.api.delete(f"{PATH}/readiness"), 404, "not_found", "readiness")
    assert await levels(product) == {}


async def test_identifiers_are_unique_and_missing_ones_are_not_found(product: Product) -> None:
    await made(product)
    await made(product, identifier="other")
    refused(await product.api.post(PATH, json=READINESS), 409, "identifier_taken", "readiness")
    refused(await product.api.put(f"{PATH}/other", json=READINESS), 409, "identifier_taken", "readiness")
    refused(await product.api.put(f"{PATH}/none", json=READINESS), 404, "not_found", "none")
    for method, path, body in (
        ("GET", "", None), ("POST", "", READINESS), ("PUT", "", [READINESS]),
        ("GET", "/readiness", None), ("PUT", "/readiness", READINESS), ("DELETE", "/readiness", None),
    ):  # fmt: skip
        answer = await product.api.request(method, f"/v1/blueprints/none/scorecards{path}", json=body)
        refused(answer, 404, "not_found", "none")


async def test_what_is_no_scorecard_is_refused_with_the_path_and_nothing_is_written(product: Product) -> None:
    related = {"operator": "relatedTo", "blueprint": "service", "value": "x"}
    for wrong, path in (
        ({"identifier": ".."}, "identifier"),
        ({"rules": [{**RULE, "level": "Platinum"}]}, "rules[0].level"),
        ({"rules": [RULE, RULE]}, "rules[1].identifier"),
        ({"rules": [{**RULE, "query": {"combinator": "and", "conditions": [related]}}]}, "conditions[0].operator"),
        ({"levels": [{"title": "A", "color": "mauve"}]}, "levels[0].color"),
        ({"blueprint": "other"}, "blueprint"),
    ):
        refused(await product.api.post(PATH, json={**READINESS, **wrong}), 422, "invalid_request", path)
        answer = await product.api.put(PATH, json=[READINESS, {**READINESS, "identifier": "other", **wrong}])
        refused(answer, 422, "invalid_request", "[1]", path)
    refused(await product.api.put(PATH, json=[READINESS, READINESS]), 422, "invalid_request", "[1].identifier")
    refused(await product.api.put(PATH, json="x"), 422, "invalid_request")
    assert granted(await product.api.get("/v1/scorecards"), "scorecards") == []


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("PUT", ""), ("PUT", "/readiness"), ("DELETE", "/readiness")]
)
async def test_members_read_scorecards_and_change_none(product: Product, method: str, path: str) -> None:
    scorecard = await made(product)
    member = await product.person("m@x.io", "Member")
    body: Any = {} if method == "DELETE" else {"json": READINESS if path or method == "POST" else []}
    answer = await product.api.request(method, f"{PATH}{path}", headers=member, **body)
    refused(answer, 403, "missing_permissions", "m@x.io")
    assert granted(await product.api.get(PATH, headers=member), "scorecards") == [scorecard]


@pytest.mark.parametrize(
    ("blueprint", "why"),
    [
        ("_rule_result", "shows what scorecards say"),
        ("_user", "people and teams are not evaluated"),
        ("_team", "people and teams are not evaluated"),
    ],
)
async def test_blueprints_that_have_no_scorecards_say_why(product: Product, blueprint: str, why: str) -> None:
    answer = await product.api.post(f"/v1/blueprints/{blueprint}/scorecards", json=READINESS)
    refused(answer, 422, "invalid_request", why)
