"""What was once wrong at the edges of the catalog: names, people, runs and blueprints that come and go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import Unavailable
from runtime.tokens import Claims, Tokens
from store import blueprint_renames
from tests.api.answers import granted, refused
from tests.support.product import Json, Product

AT = "/v1/blueprints/service/entities"
USERS = "/v1/blueprints/_user/entities"


async def blueprint(product: Product, identifier: str = "service", **more: Any) -> None:
    """A new blueprint."""
    body = {"identifier": identifier, "title": "B", "schema": {"properties": {"tier": {"type": "number"}}}, **more}
    granted(await product.api.post("/v1/blueprints", json=body), "blueprint", status=201)


async def people(product: Product) -> list[str]:
    """The email addresses there are."""
    return [one["email"] for one in granted(await product.api.get("/v1/users"), "users")]


async def test_a_rename_that_is_taken_back_is_not_remembered(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    await blueprint(product)

    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("just now")

    with monkeypatch.context() as patch:
        patch.setattr(blueprint_renames, "_rename_in_entities", fail)
        path = "/v1/blueprints/service/properties/tier/rename"
        answer = await product.api.patch(path, json={"newPropertyIdentifier": "level"})
        assert answer.status_code == 503
    schema = {"properties": {"tier": {"type": "string"}}}
    granted(await product.api.patch("/v1/blueprints/service", json={"schema": schema}), "blueprint")
    assert granted(await product.api.get("/v1/blueprints/service"), "blueprint")["schema"] == schema
    wrong = {"identifier": "cart", "properties": {"tier": 5}}
    refused(await product.api.post(AT, json=wrong), 422, "blueprint_schema_mismatch", "tier")


async def test_events_from_outside_make_neither_people_nor_teams(product: Product) -> None:
    relations = {"author": {"target": "_user"}, "team": {"target": "_team"}}
    await blueprint(product, relations=relations)
    entity = {"identifier": ".body.id", "relations": {"author": ".body.author", "team": ".body.team"}}
    hook = {
        "identifier": "pr",
        "title": "PR",
        "enabled": True,
        "mappings": [{"blueprint": "service", "entity": entity}],
    }
    made = granted(await product.api.post("/v1/webhooks", json=hook), "integration", status=201)
    before = await people(product)
    path = f"/v1/ingest/webhooks/{made['webhookKey']}"
    answer = await product.api.post(path, json={"id": "1", "author": "evil@x.io", "team": "evil"})
    assert (answer.status_code, answer.json()["created"], answer.json()["refused"]) == (202, 0, 1)
    assert await people(product) == before
    assert granted(await product.api.get("/v1/teams"), "teams") == []


async def test_identifiers_fit_the_indexes_of_a_database(product: Product) -> None:
    await blueprint(product)
    refused(await product.api.post(AT, json={"identifier": "語" * 1000}), 422, "invalid_request", "identifier")
    granted(await product.api.post(AT, json={"identifier": "語" * 600}), "entity", status=201)


async def test_a_refused_person_leaves_nobody_behind(product: Product) -> None:
    manager = {"manager": {"target": "_user"}}
    found = granted(await product.api.get("/v1/blueprints/_user"), "blueprint")
    granted(
        await product.api.patch("/v1/blueprints/_user", json={"relations": {**found["relations"], **manager}}),
        "blueprint",
    )
    before = await people(product)
    row = {"identifier": "a@x.io", "relations": {"manager": "A@x.io"}}
    path = f"{USERS}/bulk?upsert=true&create_missing_related_entities=true"
    answer = await product.api.post(path, json={"entities": [row, {"identifier": "b@x.io"}]})
    assert answer.status_code == 207
    assert [one["index"] for one in answer.json()["errors"]] == [0]
    assert await people(product) == [*before, "b@x.io"]


async def test_who_renames_an_entity_may_name_both_names(product: Product) -> None:
    await blueprint(product, relations={"peers": {"target": "service", "many": True}})
    granted(await product.api.post(AT, json={"identifier": "old"}), "entity", status=201)
    granted(await product.api.post(AT, json={"identifier": "other"}), "entity", status=201)
    body = {"identifier": "new", "relations": {"peers": ["old", "other", "new"]}}
    renamed = granted(await product.api.put(f"{AT}/old", json=body), "entity")
    assert renamed["relations"]["peers"] == ["new", "other"]


async def test_scorecards_go_with_their_blueprint(product: Product) -> None:
    rule = {
        "identifier": "tiered",
        "title": "Has a tier",
        "level": "Gold",
        "query": {"combinator": "and", "conditions": [{"property": "tier", "operator": "isNotEmpty"}]},
    }
    scorecard = {"identifier": "ready", "title": "Ready", "rules": [rule]}
    await blueprint(product)
    path = "/v1/blueprints/service/scorecards"
    granted(await product.api.post(path, json=scorecard), "scorecard", status=201)
    assert (await product.api.delete("/v1/blueprints/service")).status_code == 200
    assert granted(await product.api.get("/v1/scorecards"), "scorecards") == []
    await blueprint(product)
    made = granted(await product.api.post(AT, json={"identifier": "cart"}), "entity", status=201)
    assert "scorecards" not in made


async def test_members_write_for_their_own_runs_only(product: Product, held: object) -> None:
    await blueprint(product)
    everybody: Json = {"roles": ["Member"]}
    permissions = {"entities": {"register": everybody}}
    granted(await product.api.patch("/v1/blueprints/service/permissions", json=permissions), "permissions")
    await product.action("open")
    await product.action("hidden", allowAnyoneToViewRuns=False)
    ada, eve = await product.person("ada@x.io"), await product.person("eve@x.io")
    run, secret = await product.start("open", headers=ada), await product.start("hidden", headers=ada)

    def ask(number: int, run_id: str, **how: Any) -> Any:
        return product.api.post(f"{AT}?run_id={run_id}", json={"identifier": f"e{number}"}, **how)

    refused(await ask(1, secret["id"], headers=eve), 404, "not_found")
    refused(await ask(2, run["id"], headers=eve), 403, "missing_permissions")
    granted(await ask(3, run["id"], headers=ada), "entity", status=201)
    granted(await ask(4, run["id"]), "entity", status=201)


async def test_validation_says_what_writing_would_say(product: Product) -> None:
    await blueprint(product, relations={"on": {"target": "service"}})
    rows = [{"identifier": "a"}, {"identifier": "a"}, {"identifier": "b", "relations": {"on": "a"}}]
    path = f"{AT}/bulk?validation_only=true"
    validated = (await product.api.post(path, json={"entities": rows})).json()
    assert granted(await product.api.get(AT), "entities") == []
    written = (await product.api.post(f"{AT}/bulk", json={"entities": rows})).json()
    for answer in (validated, written):
        assert [one["identifier"] for one in answer["entities"]] == ["a", "b"]
        assert [(one["index"], one["error"]) for one in answer["errors"]] == [(1, "identifier_taken")]


async def test_teams_whose_names_are_no_identifiers_are_found_like_others(product: Product) -> None:
    granted(await product.api.post("/v1/teams", json={"name": "Platform SRE", "users": []}), "team")
    ada = await product.person("o'neil@x.io", teams=("Platform SRE",))
    await blueprint(product)
    query = {"combinator": "and", "rules": [{"property": "$title", "operator": "=", "value": "Platform SRE"}]}
    made = granted(await product.api.post(AT, json={"identifier": "cart", "team": query}), "entity", status=201)
    assert made["team"] == ["Platform SRE"]
    owned = {"property": "$owned_by_team", "operator": "=", "value": True}
    mine = {"property": "tier", "operator": "isEmpty"}
    me = {"property": {"context": "user", "property": "$title"}, "operator": "isNotEmpty"}
    body = {"query": {"combinator": "and", "rules": [owned, mine, me]}}
    found = await product.api.post(f"{AT}/search", json=body, headers=ada)
    assert [one["identifier"] for one in granted(found, "entities")] == ["cart"]


async def test_a_token_given_to_a_backend_is_not_told_secret_addresses(product: Product) -> None:
    hook = {"identifier": "pr", "title": "PR", "enabled": True, "mappings": []}
    made = granted(await product.api.post("/v1/webhooks", json=hook), "integration", status=201)
    assert {"webhookKey", "url"} <= made.keys()
    installed = {"installationId": "ocean", "installationAppType": "github", "version": "1", "config": {}}
    granted(await product.api.post("/v1/integration", json=installed), "integration", status=201)

    organization = product.organization
    claims = Claims(organization.client_id, organization.id, machine=True, run_id="r_0123456789abcdef", depth=1)
    token = Tokens(product.settings.keys.token_keys, timedelta(minutes=1)).issue(claims, at=datetime.now(UTC))
    headers = {"Authorization": f"Bearer {token}"}
    told = granted(await product.api.get("/v1/webhooks/pr", headers=headers), "integration")
    assert not {"webhookKey", "url"} & told.keys()
    told = granted(await product.api.get("/v1/integration/ocean", headers=headers), "integration")
    assert "logAttributes" not in told


@pytest.mark.parametrize("encoded", ["%2F", "%2f"])
async def test_a_slash_in_a_name_does_not_end_it(product: Product, encoded: str) -> None:
    at = f"/v1/blueprints/team{encoded}service"
    await blueprint(product, "team/service", relations={"uses": {"target": "team/service"}})
    granted(await product.api.get(at), "blueprint")
    granted(await product.api.patch(at, json={"title": "Ours"}), "blueprint")
    granted(await product.api.get(f"{at}/permissions"), "permissions")
    granted(await product.api.post(f"{at}/entities", json={"identifier": "a/b"}), "entity", status=201)
    granted(await product.api.get(f"{at}/entities/a{encoded}b"), "entity")
    granted(await product.api.get(f"{at}/entities/a/b"), "entity")
    found = await product.api.post(f"{at}/entities/search", json={})
    assert [one["identifier"] for one in found.json()["entities"]] == ["a/b"]
    refused(await product.api.get(f"{at}/entities/c{encoded}d"), 404, "not_found", "'c/d'")
    refused(await product.api.get(f"{at}/nothing"), 404, "not_found", "/v1/blueprints/team/service/nothing")
    audits = granted(await product.api.get("/v1/audit-log?blueprint=team/service&resources=entity"), "audits")
    assert [one["context"]["entity"] for one in audits] == ["a/b"]
    assert (await product.api.delete(f"{at}/entities/a{encoded}b")).status_code == 200
    assert (await product.api.delete(at)).status_code == 200
    refused(await product.api.get(at), 404, "not_found", "team/service")
