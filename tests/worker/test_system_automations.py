"""Automations that listen to what the product writes by itself: people, teams, and what scorecards say."""

from typing import Any

from tests.api.answers import granted
from tests.support.product import Json, Product
from tests.worker.test_automations import automation, of

USERS = "/v1/users/invite"


def listening(kind: str, blueprint: str) -> Json:
    return {"type": kind, "blueprintIdentifier": blueprint}


async def invited(product: Product, email: str, *teams: str) -> None:
    body = {"invitee": {"email": email, "teams": list(teams)}}
    answer = await product.api.post(USERS, json=body)
    assert answer.status_code == 200, answer.text


async def diffs(product: Product, identifier: str) -> list[tuple[Any, Any]]:
    """What the runs of the automation were told of: the entity before and after."""
    events = [run["payload"]["body"]["event"] for run in await of(product, identifier)]
    return [(event["diff"]["before"], event["diff"]["after"]) for event in events]


async def test_a_person_who_is_invited_is_a_new_entity_once(product: Product) -> None:
    await invited(product, "before@x.io")
    await automation(product, event=listening("ENTITY_CREATED", "_user"))
    await automation(product, "changed", event=listening("ENTITY_UPDATED", "_user"))
    await automation(product, "grouped", event=listening("ENTITY_CREATED", "_team"))
    await invited(product, "ada@x.io")
    [(before, after)] = await diffs(product, "told")
    assert before is None
    assert (after["identifier"], after["blueprint"]) == ("ada@x.io", "_user")
    assert after["properties"]["port_email"] == "ada@x.io"
    assert await diffs(product, "changed") == await diffs(product, "grouped") == []

    team = {"name": "sre", "users": ["ada@x.io"]}
    granted(await product.api.post("/v1/teams", json=team), "team")
    [(before, after)] = await diffs(product, "grouped")
    assert (before, after["identifier"]) == (None, "sre")
    [(before, after)] = await diffs(product, "changed")
    assert (before["relations"]["teams"], after["relations"]["teams"]) == ([], ["sre"])
    assert len(await diffs(product, "told")) == 1, "who joins a team is no new person"


async def test_a_person_made_as_an_entity_is_a_new_entity_once_too(product: Product) -> None:
    await automation(product, event=listening("ENTITY_CREATED", "_user"))
    await product.entity("ada@x.io", "_user")
    [(before, after)] = await diffs(product, "told")
    assert (before, after["identifier"]) == (None, "ada@x.io")
    answer = await product.api.get("/v1/users/ada@x.io")
    assert answer.status_code == 200, answer.text


async def test_a_result_of_a_rule_that_changes_is_an_updated_entity_once(product: Product) -> None:
    blueprint: Json = {"identifier": "service", "schema": {"properties": {"tier": {"type": "number"}}}}
    granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    for name in ("cart", "mail"):
        await product.entity(name, properties={"tier": 1})
    conditions = [
        {"identifier": name, "title": name, "level": "Gold", "query": {"combinator": "and", "conditions": [condition]}}
        for name, condition in (
            ("first", {"property": "tier", "operator": "=", "value": 1}),
            ("named", {"property": "$title", "operator": "isNotEmpty"}),
        )
    ]
    scorecard: Json = {"identifier": "ready", "title": "Ready", "rules": conditions}
    answer = await product.api.post("/v1/blueprints/service/scorecards", json=scorecard)
    granted(answer, "scorecard", status=201)
    await automation(product, event=listening("ENTITY_UPDATED", "_rule_result"))
    await automation(product, "made", event=listening("ENTITY_CREATED", "_rule_result"))

    async def patched(tier: int) -> None:
        path = "/v1/blueprints/service/entities/cart"
        granted(await product.api.patch(path, json={"properties": {"tier": tier}}), "entity")

    await patched(2)
    [(before, after)] = await diffs(product, "told")
    assert before["identifier"] == after["identifier"]
    assert (before["properties"]["result"], after["properties"]["result"]) == ("Passed", "Not passed")
    assert (after["properties"]["entity"], after["properties"]["scorecard"]) == ("cart", "ready")
    await patched(3)
    assert len(await diffs(product, "told")) == 1, "the result is what it was"
    await patched(1)
    assert [told["properties"]["result"] for _, told in await diffs(product, "told")] == ["Not passed", "Passed"]
    assert await diffs(product, "made") == []
    await product.entity("third", properties={"tier": 5})
    assert sorted(told["properties"]["rule"] for _, told in await diffs(product, "made")) == ["first", "named"]
    assert len(await diffs(product, "told")) == 2
