"""Search over HTTP: what is found, page by page, and what is refused."""

import asyncio
from typing import Any

import pytest

from tests.api.answers import Json, refused
from tests.support.product import Product

SEARCH, OF_SERVICE = "/v1/entities/search", "/v1/blueprints/service/entities/search"
BY_DATASOURCE = "/v1/blueprints/entities/datasource-entities"


def group(*rules: Json, combinator: str = "and") -> Json:
    """A group of the rules."""
    return {"combinator": combinator, "rules": list(rules)}


def rule(name: str, operator: str, value: Any = ...) -> Json:
    """A rule about a property."""
    return {"property": name, "operator": operator, **({} if value is ... else {"value": value})}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Five services of two domains; the domain's tier is mirrored, and the price is calculated."""
    domain = {"identifier": "domain", "title": "Domain", "schema": {"properties": {"tier": {"type": "number"}}}}
    service = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"lang": {"type": "string"}, "cost": {"type": "number"}}},
        "relations": {"domain": {"target": "domain"}, "uses": {"target": "service", "many": True}},
        "mirrorProperties": {"tier": {"path": "domain.tier"}},
        "calculationProperties": {"price": {"type": "number", "calculation": ".properties.cost * 2"}},
    }
    for blueprint in (domain, service):
        assert (await product.api.post("/v1/blueprints", json=blueprint)).status_code == 201
    agent = {"User-Agent": "port-ocean/shop/1.0/main/exporter"}
    for number in range(2):
        entity = {"identifier": f"d{number}", "properties": {"tier": number}}
        assert (await product.api.post("/v1/blueprints/domain/entities", json=entity)).status_code == 201
    for number in range(5):
        entity = {
            "identifier": f"s{number}",
            "title": f"Service {number}",
            "properties": {"lang": "go" if number % 2 else "python", "cost": number},
            "relations": {"domain": f"d{number % 2}", "uses": [f"s{number - 1}"] if number else []},
        }
        answer = await product.api.post(
            "/v1/blueprints/service/entities", json=entity, headers=agent if number > 2 else {}
        )
        assert answer.status_code == 201, answer.text
    return product


async def searched(product: Product, query: Json | None, **params: Any) -> Json:
    """The answer of the search of all blueprints."""
    answer = await product.api.post(SEARCH, json=query, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: Json = answer.json()
    assert body["ok"] is True
    assert body.keys() == {"ok", "entities", "matchingBlueprints"}
    assert sorted({one["blueprint"] for one in body["entities"]}) == body["matchingBlueprints"]
    return body


async def names(product: Product, *rules: Json, combinator: str = "and") -> list[str]:
    """The identifiers that the rules find."""
    return [one["identifier"] for one in (await searched(product, group(*rules, combinator=combinator)))["entities"]]


async def test_without_rules_everything_is_found_by_blueprint_and_identifier(catalog: Product) -> None:
    everything = [f"d{number}" for number in range(2)] + [f"s{number}" for number in range(5)]
    for query in (group(), group(combinator="or"), {}, None):
        found = (await searched(catalog, query))["entities"]
        assert [one["identifier"] for one in found if not one["blueprint"].startswith("_")] == everything
    alone = (await catalog.api.get("/v1/blueprints/service/entities/s3")).json()["entity"]
    [found] = (await searched(catalog, group(rule("$identifier", "=", "s3"))))["entities"]
    assert found == {**alone, **{key: value for key, value in found.items() if key not in alone}}
    assert found["properties"]["cost"] == 3


async def test_properties_relations_and_meta_properties_are_found(catalog: Product) -> None:
    service = rule("$blueprint", "=", "service")
    assert await names(catalog, service, rule("lang", "=", "go")) == ["s1", "s3"]
    assert await names(catalog, rule("lang", "contains", "PY")) == []
    assert await names(catalog, service, rule("lang", "!=", "go")) == ["s0", "s2", "s4"]
    assert await names(catalog, rule("cost", ">=", 3)) == ["s3", "s4"]
    assert await names(catalog, service, rule("$title", "endsWith", "2")) == ["s2"]
    assert await names(catalog, rule("$datasource", "contains", "port-ocean/shop")) == ["s3", "s4"]
    related = {"operator": "relatedTo", "blueprint": "service", "value": "s3", "direction": "upstream"}
    assert await names(catalog, related) == ["d0", "d1", "s0", "s1", "s2"]
    path = {"operator": "matchAny", "property": {"path": [{"relation": "uses", "maxHops": 2}]}, "value": "s1"}
    assert await names(catalog, path) == ["s2", "s3"]
    assert len(await names(catalog, service, rule("updatedAt", "between", {"preset": "today"}))) == 5


async def test_what_is_derived_is_found_too(catalog: Product) -> None:
    service = rule("$blueprint", "=", "service")
    assert await names(catalog, service, rule("tier", "=", 1)) == ["s1", "s3"]
    assert await names(catalog, service, rule("tier", "!=", 1), rule("cost", ">", 1)) == ["s2", "s4"]
    assert await names(catalog, rule("price", "in", [2, 8])) == ["s1", "s4"]
    assert await names(catalog, rule("price", "=", 2), rule("lang", "=", "python"), combinator="or") == [
        "s0",
        "s1",
        "s2",
        "s4",
    ]


async def test_only_what_is_asked_for_is_told(catalog: Product) -> None:
    asked = group(rule("$identifier", "=", "s1"))
    [found] = (await searched(catalog, asked, include="properties.lang"))["entities"]
    assert found["properties"] == {"lang": "go"}
    assert found["title"] == "Service 1"
    [found] = (await searched(catalog, asked, attach_title_to_relation="true", allow_partial_results="true"))[
        "entities"
    ]
    assert found["relations"]["domain"] == {"identifier": "d1", "title": "d1"}
    [found] = (await searched(catalog, asked, exclude_calculated_properties="true"))["entities"]
    assert found["properties"] == {"lang": "go", "cost": 1}


async def test_pages_of_one_blueprint(catalog: Product) -> None:
    seen: list[str] = []
    after: Json = {}
    for expected in (2, 2, 1):
        answer = await catalog.api.post(OF_SERVICE, json={"limit": 2, "include": ["$title"], **after})
        body = answer.json()
        assert answer.status_code == 200, answer.text
        assert len(body["entities"]) == expected
        assert all("createdAt" not in one and "Service" in one["title"] for one in body["entities"])
        seen += [one["identifier"] for one in body["entities"]]
        after = {"from": body.get("next")}
    assert body.keys() == {"ok", "entities"}
    assert seen == [f"s{number}" for number in range(5)]

    query = group({"relation": "domain", "operator": "=", "value": "d1"}, rule("tier", "=", 1))
    body = (await catalog.api.post(OF_SERVICE, json={"query": query, "limit": 1})).json()
    assert [one["identifier"] for one in body["entities"]] == ["s1"]
    body = (await catalog.api.post(OF_SERVICE, json={"query": query, "limit": 1, "from": body["next"]})).json()
    assert [one["identifier"] for one in body["entities"]] == ["s3"]
    assert "next" not in body


async def test_what_a_datasource_wrote_page_by_page(catalog: Product) -> None:
    asked: Json = {"datasource_prefix": "port-ocean/shop/", "datasource_suffix": "/exporter", "limit": 1}
    first = (await catalog.api.post(BY_DATASOURCE, json=asked)).json()
    second = (await catalog.api.post(BY_DATASOURCE, json={**asked, "from": first["next"]})).json()
    assert [one["identifier"] for body in (first, second) for one in body["entities"]] == ["s3", "s4"]
    assert first["entities"][0]["blueprint"] == "service"
    assert "next" not in second
    past = {**asked, "before": "2020-01-01T00:00:00Z"}
    assert (await catalog.api.post(BY_DATASOURCE, json=past)).json() == {"ok": True, "entities": []}
    later = {**asked, "before": "2200-01-01T00:00:00Z", "limit": 5000}
    assert len((await catalog.api.post(BY_DATASOURCE, json=later)).json()["entities"]) == 2
    other = {**asked, "datasource_prefix": "port_ocean"}
    assert (await catalog.api.post(BY_DATASOURCE, json=other)).json()["entities"] == []


async def test_what_is_no_search_is_refused(catalog: Product) -> None:
    post = catalog.api.post
    refused(await post(SEARCH, json=group({"property": "x"})), 422, "invalid_request", "rules[0].operator")
    refused(await post(SEARCH, json=[]), 422, "invalid_request")
    refused(await post(OF_SERVICE, json={"query": {"rules": []}}), 422, "invalid_request", "query.combinator")
    refused(await post(OF_SERVICE, json={"limit": 1001}), 422, "invalid_request", "limit")
    refused(await post(OF_SERVICE, json={"page": 1}), 422, "invalid_request", "page")
    refused(await post("/v1/blueprints/none/entities/search", json={}), 404, "not_found", "none")
    refused(await post(BY_DATASOURCE, json={"limit": 5001}), 422, "invalid_request", "limit")
    for wrong in ("2020-01-01T00:00:00", 5, "5", "1577836800.5", "yesterday"):
        refused(await post(BY_DATASOURCE, json={"before": wrong}), 422, "invalid_request", "before")
    limits: list[Any] = ["2", True, 2.5]
    for limit in limits:
        for path in (OF_SERVICE, BY_DATASOURCE):
            refused(await post(path, json={"limit": limit}), 422, "invalid_request", "limit")
    for cursor in (
        "x",
        "W10=",
        "WzEsMl0=",
        "WyJkb21haW4iLCJkMCJd",
        "WyJzZXJ2aWNlIiwiXHVkODAwIl0=",
        "ä",
        "",
        "WyJzZXJ2aWNlIiwiXHUwMDAwIl0=",
    ):
        refused(await post(OF_SERVICE, json={"from": cursor}), 422, "invalid_request", "from: ")


async def test_rules_follow_relations_and_blueprints_there_are(catalog: Product) -> None:
    async def refusal(path: str, key: str, *rules: Json, where: str, **more: Any) -> None:
        body = {key: group(*rules), **more} if key else group(*rules)
        refused(await catalog.api.post(path, json=body), 422, "invalid_request", where)

    kin = {"operator": "relatedTo", "blueprint": "servcie", "value": "s1"}
    chain = {"operator": "matchAny", "value": "s1", "property": {"path": ["uses", {"relation": "use", "maxHops": 2}]}}
    start = {"operator": "matchAny", "value": "s1", "property": {"path": ["uses"], "fromBlueprint": "servcie"}}
    count = {"func": "count"}
    for path, key, more in ((SEARCH, "", {}), (OF_SERVICE, "query", {}), ("/v1/entities/aggregate", "query", count)):
        at = f"{key}.rules" if key else "rules"
        await refusal(path, key, kin, where=f"{at}[0].blueprint: there is no blueprint servcie", **more)
        await refusal(
            path, key, rule("cost", "=", 1), group(kin), where=f"{at}[1].rules[0].blueprint: there is no", **more
        )
        await refusal(path, key, chain, where=f"{at}[0].property.path[1]: there is no relation use of any", **more)
        await refusal(path, key, start, where=f"{at}[0].property.fromBlueprint: there is no blueprint", **more)
    end = {"relation": "use", "operator": "=", "value": "s1"}
    await refusal(OF_SERVICE, "query", end, where="query.rules[0].relation: service has no relation use")
    assert await names(catalog, rule("$blueprint", "=", "servcie")) == [], "who compares finds nothing"


async def test_a_long_answer_is_sent_whole(catalog: Product) -> None:
    for start in range(0, 1_100, 50):
        entities = [{"identifier": f"x{start + number:04}"} for number in range(50)]
        answer = await catalog.api.post("/v1/blueprints/domain/entities/bulk", json={"entities": entities})
        assert answer.status_code == 200
    found, paged = await asyncio.gather(
        searched(catalog, group(rule("$identifier", "beginsWith", "x"))),
        catalog.api.post("/v1/blueprints/domain/entities/search", json={"limit": 1000}),
    )
    assert [one["identifier"] for one in found["entities"]] == [f"x{number:04}" for number in range(1_100)]
    assert len(paged.json()["entities"]) == 1000
    assert paged.json()["next"]
