"""Statistics over HTTP: numbers over what is found, by intervals, and what an entity was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.times import iso
from tests.api.answers import Json, refused
from tests.support.product import Product

AGGREGATE, OVER_TIME = "/v1/entities/aggregate", "/v1/entities/aggregate-over-time"
HISTORY = "/v1/entities/properties-history"
SERVICES: Json = {"combinator": "and", "rules": [{"property": "$blueprint", "operator": "=", "value": "service"}]}
NOW = datetime.now(UTC)


def ago(**how: float) -> str:
    """A time as entities hold it."""
    return iso(NOW - timedelta(**how))


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Services with costs, dates, languages, a relation, a mirror, a calculation and a scorecard."""
    domain = {"identifier": "domain", "title": "Domain", "schema": {"properties": {"tier": {"type": "number"}}}}
    properties = {
        "lang": {"type": "string"},
        "cost": {"type": "number"},
        "since": {"type": "string", "format": "date-time"},
        "date": {"type": "number"},
    }
    service = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": properties},
        "relations": {"domain": {"target": "domain"}, "uses": {"target": "service", "many": True}},
        "mirrorProperties": {"tier": {"path": "domain.tier"}},
        "calculationProperties": {"price": {"type": "number", "calculation": ".properties.cost * 2"}},
    }
    for blueprint in (domain, service):
        assert (await product.api.post("/v1/blueprints", json=blueprint)).status_code == 201
    cheap = {
        "identifier": "cheap",
        "title": "Cheap",
        "level": "Gold",
        "query": {"combinator": "and", "conditions": [{"property": "cost", "operator": "<", "value": 3}]},
    }
    scorecard = {"identifier": "money", "title": "Money", "rules": [cheap]}
    answer = await product.api.post("/v1/blueprints/service/scorecards", json=scorecard)
    assert answer.status_code == 201, answer.text
    await product.entity("d0", "domain", properties={"tier": 5})
    for number, more in enumerate(
        (
            {"lang": "go", "cost": 1, "since": ago(hours=1), "date": 7},
            {"lang": "go", "cost": 2, "since": ago(hours=2)},
            {"lang": "c", "cost": 6.5, "since": ago(days=3)},
            {"since": ago(days=40)},
        )
    ):
        relations = {"domain": "d0" if number < 3 else None, "uses": [f"s{one}" for one in range(number)]}
        await product.entity(f"s{number}", properties=more, relations=relations)
    return product


async def asked(product: Product, path: str, **body: Any) -> Any:
    """The answer, without its `ok`."""
    answer = await product.api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told.pop("ok") is True
    [result] = told.values()
    return result


NUMBERS: list[tuple[Json, Any]] = [
    ({"func": "count"}, 4),
    ({"func": "sum", "property": "cost"}, 9.5),
    ({"func": "average", "property": "properties.cost", "calculationBy": "property"}, 9.5 / 3),
    ({"func": "min", "property": "cost"}, 1),
    ({"func": "max", "property": "price"}, 13),
    ({"func": "median", "property": "tier"}, 5),
    ({"func": "median", "property": "nothing"}, None),
    ({"func": "sum", "property": "lang"}, 0),
    ({"func": "average", "averageOf": "hour"}, 4),
    ({"func": "countValues", "property": "lang"}, {"go": 2, "c": 1, "null": 1}),
    ({"func": "countValues", "property": "price"}, {"13": 1, "2": 1, "4": 1, "null": 1}),
    ({"func": "countValues", "relation": "domain"}, {"d0": 3, "null": 1}),
    ({"func": "countValues", "relation": "uses"}, {"s0": 3, "s1": 2, "null": 1, "s2": 1}),
    ({"func": "countValues", "scorecard": "money"}, {"Basic": 2, "Gold": 2}),
    ({"func": "countValues", "scorecard": "money", "rule": "cheap"}, {"FAILURE": 2, "SUCCESS": 2}),
    ({"func": "countValues", "scorecard": "other"}, {"null": 4}),
]


async def test_what_a_query_finds_makes_a_number(catalog: Product) -> None:
    for of, number in NUMBERS:
        found = await asked(catalog, AGGREGATE, query=SERVICES, **of)
        assert found == (pytest.approx(number) if isinstance(number, float) else number), of


async def test_an_average_by_time_counts_from_the_earliest_measured_time(catalog: Product) -> None:
    daily = await asked(catalog, AGGREGATE, query=SERVICES, func="average", averageOf="day", measureTimeBy="since")
    assert daily == pytest.approx(4 / 40, rel=0.05)


async def test_without_rules_everything_counts_and_options_of_the_search_are_taken(catalog: Product) -> None:
    params = {"exclude_calculated_properties": "true"}
    answer = await catalog.api.post(AGGREGATE, json={"func": "count", "query": {}}, params=params)
    everything = (await catalog.api.post("/v1/entities/search", json={})).json()["entities"]
    assert answer.json() == {"ok": True, "aggregation": len(everything)}
    assert len(everything) >= 5


def over(**more: Any) -> Json:
    """A body: services of the last week by day, unless it is told otherwise."""
    return {
        "blueprint": "service",
        "timeRange": {"preset": "lastWeek"},
        "timeInterval": "day",
        "query": SERVICES,
        "measureTimeBy": "since",
        "aggregationType": "countEntities",
        "func": "count",
    } | more


async def test_entities_are_counted_in_the_interval_of_their_time(catalog: Product) -> None:
    result = await asked(catalog, OVER_TIME, **over())
    assert timedelta(milliseconds=result["maxDate"] - result["minDate"]) == timedelta(days=7)
    dates = [row["date"] for row in result["data"]]
    assert len(dates) == 8
    assert dates[0] <= result["minDate"] < dates[1]
    assert all(date % 86_400_000 == 0 for date in dates)
    assert sum(row["count"] for row in result["data"]) == 3
    assert all(row.keys() == {"date", "count"} for row in result["data"])
    [three] = [
        row["count"]
        for row, end in zip(result["data"], [*dates[1:], result["maxDate"] + 1], strict=True)
        if row["date"] <= (NOW - timedelta(days=3)).timestamp() * 1000 < end
    ]
    assert three == 1
    weekly = await asked(catalog, OVER_TIME, **over(func="average", timeInterval="isoWeek", measureTimeBy="createdAt"))
    assert weekly["data"][-1]["average"] == pytest.approx(4 / 7)
    assert weekly["data"][0]["average"] == 0


async def test_counts_are_broken_down_by_the_values_of_a_property(catalog: Product) -> None:
    more = {"measureTimeBy": "$createdAt", "timeRange": {"preset": "lastMonth", "timeZone": "Asia/Jerusalem"}}
    result = await asked(catalog, OVER_TIME, **over(breakdownProperty="lang", **more))
    assert result["data"][-1] == {"date": result["data"][-1]["date"], "go": 2, "c": 1, "null": 1}
    assert result["data"][0].keys() == {"date"}
    result = await asked(catalog, OVER_TIME, **over(breakdownProperty="tier", **more))
    assert result["data"][-1] == {"date": result["data"][-1]["date"], "5": 3, "null": 1}


async def test_properties_are_aggregated_in_each_interval(catalog: Product) -> None:
    costs = {"sum": 9.5, "min": 1, "max": 6.5, "median": 2, "average": 9.5 / 3, "last": 6.5}
    kind = {"aggregationType": "aggregatePropertiesValues", "timeRange": {"preset": "lastDay"}}
    for func, cost in costs.items():
        of_all = {"measureTimeBy": "$createdAt", "properties": ["properties.cost", "date"], "query": {}}
        row = (await asked(catalog, OVER_TIME, **over(func=func, timeInterval="quarter", **of_all, **kind)))["data"][-1]
        assert row == {"date": row["date"], "properties.cost": pytest.approx(cost), '"date"': 7}, func
    by_time = over(func="last", properties=["cost"], timeInterval="hour", **kind)
    rows = (await asked(catalog, OVER_TIME, **by_time))["data"]
    assert [row["cost"] for row in rows if "cost" in row] == [2, 1]


async def test_the_past_of_an_entity_is_told_by_intervals(catalog: Product) -> None:
    entity = "/v1/blueprints/service/entities/s0"
    assert (await catalog.api.patch(entity, json={"properties": {"cost": 10}})).status_code == 200
    body: Json = {"blueprintIdentifier": "service", "entityIdentifier": "s0", "propertyNames": ["cost", "no", "$title"]}
    for more in ({}, {"timeRange": {"preset": "last12Months", "timeZone": "Asia/Tokyo"}, "timeInterval": "isoWeek"}):
        result = await asked(catalog, HISTORY, **body, **more)
        assert result.keys() == {"minDate", "maxDate", "data"}
        assert result["minDate"] < result["data"][-1]["date"] <= result["maxDate"]
        assert result["data"][-1] == {"date": result["data"][-1]["date"], "cost": 10, "no": None, "$title": "s0"}
    assert (await asked(catalog, HISTORY, **body, timeRange={"preset": "yesterday"}))["data"] == []


FAULTS: list[tuple[str, Json, str]] = [
    (AGGREGATE, {"func": "count"}, "query: is required"),
    (AGGREGATE, {"func": "mode", "query": {}}, "func: "),
    (AGGREGATE, {"func": "count", "query": {}, "groupBy": "x"}, "groupBy: unknown key"),
    (AGGREGATE, {"func": "sum", "query": {}}, "property: is required where func is sum"),
    (AGGREGATE, {"func": "count", "query": {"rules": []}}, "query.combinator: "),
    (OVER_TIME, over(timeInterval="week"), "timeInterval: "),
    (OVER_TIME, over(timeRange={"preset": "tomorrow"}), "timeRange.preset: "),
    (OVER_TIME, over(timeRange={"preset": "today", "timeZone": "Mars"}), "timeRange.timeZone: "),
    (OVER_TIME, over(measureTimeBy="until"), "measureTimeBy: service has no property 'until'"),
    (OVER_TIME, over(breakdownProperty="until"), "breakdownProperty: service has no property"),
    (OVER_TIME, over(func="sum"), "func: must be one of count, average"),
    (OVER_TIME, over(properties=["cost"]), "properties: cannot be there"),
    (OVER_TIME, over(aggregationType="aggregatePropertiesValues"), "properties: is required"),
    (
        OVER_TIME,
        over(aggregationType="aggregatePropertiesValues", func="sum", properties=["cost", "$title"]),
        "properties[1]: service has no property '$title'",
    ),
    (
        HISTORY,
        {"blueprintIdentifier": "service", "entityIdentifier": "s0", "propertyNames": ["cost", "tier"]},
        "propertyNames[1]: ",
    ),
    (
        HISTORY,
        {"blueprintIdentifier": "service", "entityIdentifier": "s0", "propertyNames": []},
        "propertyNames: ",
    ),
    *(
        (
            HISTORY,
            {"blueprintIdentifier": "service", "entityIdentifier": "s0", "propertyNames": ["cost", name]},
            "propertyNames[1]: must be",
        )
        for name in ("", "$nope")
    ),
    *((AGGREGATE, {"func": "sum", "query": {}, "property": name}, "property: must be") for name in ("", "$nope")),
    (AGGREGATE, {"func": "countValues", "query": {}, "relation": ""}, "relation: must be text"),
    (AGGREGATE, {"func": "average", "query": {}, "averageOf": "day", "measureTimeBy": "$x"}, "measureTimeBy: must be"),
]


async def test_a_malformed_request_is_refused_by_name(catalog: Product) -> None:
    for path, body, fault in FAULTS:
        message = refused(await catalog.api.post(path, json=body), 422, "invalid_request")
        assert message.startswith(fault), (body, message)


async def test_what_is_not_there_has_no_statistics(catalog: Product) -> None:
    refused(await catalog.api.post(OVER_TIME, json=over(blueprint="nothing")), 404, "not_found")
    for blueprint, entity in (("nothing", "s0"), ("service", "nobody")):
        body = {"blueprintIdentifier": blueprint, "entityIdentifier": entity, "propertyNames": ["cost"]}
        refused(await catalog.api.post(HISTORY, json=body), 404, "not_found")
    assert (await catalog.api.post(AGGREGATE, json={}, headers={"Authorization": ""})).status_code == 401
