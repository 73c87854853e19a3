"""Entities of what scorecards say, over HTTP: they come, change and go with scorecards alone; others extend them."""

from typing import Any

import pytest

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

BLUEPRINTS = "/v1/blueprints"
RESULT, RULE, CARD = "service:ready:owned:cart", "service:ready:owned", "service:ready"
OF = {"_rule_result": RESULT, "_rule": RULE, "_scorecard": CARD}
PASSES: Json = {"combinator": "and", "conditions": [{"property": "tier", "operator": ">=", "value": 1}]}


def at(blueprint: str, entity: str = "") -> str:
    """The path of the entity, or of all of the blueprint."""
    return f"{BLUEPRINTS}/{blueprint}/entities" + (f"/{entity}" if entity else "")


async def one(product: Product, blueprint: str) -> Json:
    """What the scorecard has made of the blueprint."""
    return granted(await product.api.get(at(blueprint, OF[blueprint])), "entity")  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
async def judged(product: Product) -> None:
    """A service with a scorecard of one rule, which it passes; each of the three blueprints has been extended."""
    service = {"identifier": "service", "schema": {"properties": {"tier": {"type": "number"}}}}
    granted(await product.api.post(BLUEPRINTS, json=service), "blueprint", status=201)
    scorecard = {
        "identifier": "ready",
        "title": "Ready",
        "rules": [{"identifier": "owned", "title": "Owned", "level": "Gold", "query": PASSES}],
    }
    granted(await product.api.post(f"{BLUEPRINTS}/service/scorecards", json=scorecard), "scorecard", status=201)
    cart = {"identifier": "cart", "properties": {"tier": 1}}
    granted(await product.api.post(at("service"), json=cart), "entity", status=201)
    for name in OF:
        more = {"schema": {"properties": {"note": {"type": "string"}}}, "relations": {"about": {"target": "service"}}}
        granted(await product.api.patch(f"{BLUEPRINTS}/{name}", json=more), "blueprint")


@pytest.mark.parametrize("blueprint", OF)
async def test_nobody_makes_one(product: Product, blueprint: str) -> None:
    entity = {"identifier": "mine", "properties": {"note": "x"}}
    for query in ("", "?upsert=true", "?validation_only=true"):
        refused(await product.api.post(at(blueprint) + query, json=entity), 403, "missing_permissions", blueprint)
    bulk = (await product.api.post(f"{at(blueprint)}/bulk?upsert=true", json={"entities": [entity]})).json()
    assert [(row["statusCode"], row["identifier"]) for row in bulk["errors"]] == [(403, "mine")]
    refused(await product.api.get(at(blueprint, "mine")), 404, "not_found")


async def test_nobody_makes_one_by_relating_to_it(product: Product) -> None:
    box = {"identifier": "box", "schema": {"properties": {}}, "relations": {"of": {"target": "_rule_result"}}}
    granted(await product.api.post(BLUEPRINTS, json=box), "blueprint", status=201)
    path = f"{at('box')}?create_missing_related_entities=true"
    entity = {"identifier": "b", "relations": {"of": "mine"}}
    refused(await product.api.post(path, json=entity), 403, "missing_permissions", "_rule_result")
    granted(await product.api.post(path, json={**entity, "relations": {"of": RESULT}}), "entity", status=201)


@pytest.mark.parametrize(
    ("blueprint", "said", "place"),
    [
        ("_rule_result", {"properties": {"result": "Not passed"}}, "properties.result: "),
        ("_rule_result", {"properties": {"note": "x", "status": "FAILURE"}}, "properties.status: "),
        ("_rule_result", {"properties": {"rule": "other"}}, "properties.rule: "),
        ("_rule_result", {"relations": {"rule": None}}, "relations.rule: "),
        ("_rule_result", {"title": "Other"}, "title: "),
        ("_rule_result", {"team": ["sre"]}, "team: "),
        ("_rule", {"identifier": "renamed"}, "identifier: "),
        ("_rule", {"relations": {"scorecard": None}}, "relations.scorecard: "),
        ("_scorecard", {"title": "Other"}, "title: "),
    ],
)
async def test_what_scorecards_say_changes_with_them_alone(
    product: Product, blueprint: str, said: Json, place: str
) -> None:
    before, path = await one(product, blueprint), at(blueprint, OF[blueprint])
    refused(await product.api.patch(path, json=said), 403, "missing_permissions", place)
    refused(await product.api.put(path, json=said), 403, "missing_permissions", place)
    if "identifier" not in said:
        named = {"identifier": OF[blueprint], **said}
        for query in ("?upsert=true", "?upsert=true&merge=true", "?upsert=true&merge=true&validation_only=true"):
            refused(await product.api.post(at(blueprint) + query, json=named), 403, "missing_permissions", place)
    assert await one(product, blueprint) == before


@pytest.mark.parametrize("blueprint", OF)
async def test_nobody_deletes_one(product: Product, blueprint: str) -> None:
    for path in (at(blueprint, OF[blueprint]), f"{at(blueprint, OF[blueprint])}?delete_dependents=true"):
        refused(await product.api.delete(path), 403, "missing_permissions", OF[blueprint])
    names = {"entities": [OF[blueprint]]}
    refused(await product.api.post(f"{BLUEPRINTS}/{blueprint}/bulk/entities/delete", json=names), 403, None)
    refused(await product.api.delete(f"{BLUEPRINTS}/{blueprint}/all-entities"), 403, None, blueprint)
    for name in OF:
        assert (await product.api.get(at(name, OF[name]))).status_code == 200


@pytest.mark.parametrize("blueprint", OF)
async def test_what_was_added_is_written_and_outlives_evaluations(product: Product, blueprint: str) -> None:
    path, read = at(blueprint, OF[blueprint]), await one(product, blueprint)
    again: Any = granted(await product.api.put(path, json=read), "entity")
    assert again == read, "what was read may be written back"
    said: Json = {"properties": {"note": "seen"}, "relations": {"about": "cart"}}
    patched = granted(await product.api.patch(path, json=said), "entity")
    assert patched["properties"] == {**read["properties"], "note": "seen"}
    for query in ("?upsert=true", "?upsert=true&merge=true"):
        named = {"identifier": OF[blueprint], **said}
        stored = granted(await product.api.post(at(blueprint) + query, json=named), "entity")
        assert stored["properties"] == patched["properties"], "what scorecards say stays, also when it is not sent"
        assert stored["relations"] == patched["relations"]

    worse = {"properties": {"tier": 0}}
    granted(await product.api.patch(at("service", "cart"), json=worse), "entity")
    result = granted(await product.api.get(at("_rule_result", RESULT)), "entity")
    assert result["properties"]["result"] == "Not passed"
    after = await one(product, blueprint)
    assert (after["properties"]["note"], after["relations"]["about"]) == ("seen", "cart")


async def test_results_go_with_what_they_are_about(product: Product) -> None:
    granted(await product.api.patch(at("_rule", RULE), json={"relations": {"about": "cart"}}), "entity")
    deleted = await product.api.delete(f"{at('service', 'cart')}?delete_dependents=true")
    assert deleted.status_code == 200, deleted.text
    refused(await product.api.get(at("_rule_result", RESULT)), 404, "not_found")
    rule = await one(product, "_rule")
    assert rule["relations"]["about"] is None, "a rule does not go with what relates to it"
    assert (await product.api.delete(f"{BLUEPRINTS}/service/scorecards/ready")).status_code == 200
    for name in OF:
        refused(await product.api.get(at(name, OF[name])), 404, "not_found")
