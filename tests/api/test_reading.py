"""How entities are shown over HTTP: what is derived, and the options that clients have."""

from typing import Any

import pytest

from tests.api.answers import Json, granted
from tests.support.product import Product

AT = "/v1/blueprints/service/entities"


@pytest.fixture
async def catalog(product: Product) -> Product:
    """A service of a group that uses another, and an entity of a blueprint that derives nothing."""
    blueprints: list[Json] = [
        {"identifier": "group", "title": "Group", "schema": {"properties": {"tier": {"type": "number"}}}},
        {
            "identifier": "service",
            "title": "Service",
            "schema": {"properties": {"lang": {"type": "string"}}},
            "relations": {"group": {"target": "group"}, "uses": {"target": "service", "many": True}},
            "mirrorProperties": {
                "tier": {"path": "group.tier"}, "group_title": {"path": "group.$title"},
                "used": {"path": "uses.$title"}, "nothing": {"path": "group.nothing"},
            },
            "calculationProperties": {"url": {"calculation": "'https://' + .identifier", "type": "string"}},
            "aggregationProperties": {
                "groups": {"target": "group", "calculationSpec": {"calculationBy": "entities", "func": "count"}}
            },
        },
        {"identifier": "plain", "title": "Plain", "schema": {"properties": {}}},
    ]  # fmt: skip
    for blueprint in blueprints:
        granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    entities: list[tuple[str, Json]] = [
        ("group", {"identifier": "shop", "title": "The Shop", "properties": {"tier": 1}}),
        ("service", {"identifier": "db", "title": "Database"}),
        (
            "service",
            {
                "identifier": "cart", "title": "Cart", "properties": {"lang": "go"},
                "relations": {"group": "shop", "uses": ["db"]},
            },
        ),
        ("plain", {"identifier": "p", "properties": {"x": [1]}}),
    ]  # fmt: skip
    for of, entity in entities:
        answer = await product.api.post(f"/v1/blueprints/{of}/entities", json=entity)
        assert answer.status_code == 201, answer.text
    return product


async def read(product: Product, identifier: str = "cart", of: str = "service", **query: Any) -> Json:
    answer = await product.api.get(f"/v1/blueprints/{of}/entities/{identifier}", params=query)
    return granted(answer, "entity")  # type: ignore[no-any-return]


async def test_derived_values_are_among_the_properties(catalog: Product) -> None:
    entity = await read(catalog)
    assert entity["properties"] == {
        "lang": "go", "tier": 1, "group_title": "The Shop", "used": ["Database"], "nothing": None,
        "url": "https://cart", "groups": 1,
    }  # fmt: skip
    assert entity["relations"] == {"group": "shop", "uses": ["db"]}
    assert granted(await catalog.api.get(AT), "entities") == [entity, await read(catalog, "db")]


async def test_an_entity_that_derives_nothing_is_exactly_what_was_written(catalog: Product) -> None:
    entity = await read(catalog, "p", "plain")
    assert set(entity) == {
        "identifier", "title", "icon", "blueprint", "team", "properties", "relations", "createdAt", "createdBy",
        "updatedAt", "updatedBy",
    }  # fmt: skip
    assert (entity["properties"], entity["relations"]) == ({"x": [1]}, {})


async def test_calculated_properties_can_be_left_out(catalog: Product) -> None:
    assert (await read(catalog, exclude_calculated_properties=True))["properties"] == {"lang": "go"}
    assert (await read(catalog, exclude_calculated_properties=""))["properties"]["tier"] == 1, "it says nothing"


@pytest.mark.parametrize(
    ("query", "properties"),
    [
        ({"include": ["identifier"]}, set()),
        ({"include": "url,$title"}, {"url"}),
        ({"include[]": ["properties.tier", "lang"]}, {"tier", "lang"}),
        ({"exclude": ["url", "properties.groups"]}, {"lang", "tier", "group_title", "used", "nothing"}),
        ({"compact": "true"}, {"lang", "tier", "group_title", "used", "url", "groups"}),
        ({"compact": ""}, {"lang", "tier", "group_title", "used", "url", "groups", "nothing"}),
    ],
)
async def test_what_is_asked_for_is_shown(catalog: Product, query: Json, properties: set[str]) -> None:
    entity = await read(catalog, **query)
    assert set(entity["properties"]) == properties
    assert (entity["identifier"], entity["title"], entity["blueprint"]) == ("cart", "Cart", "service")


async def test_titles_and_identifiers_can_be_attached(catalog: Product) -> None:
    titled = await read(catalog, attach_title_to_relation=True)
    assert titled["relations"] == {
        "group": {"identifier": "shop", "title": "The Shop"},
        "uses": [{"identifier": "db", "title": "Database"}],
    }
    named = await read(catalog, attach_identifier_to_title_mirror_properties=True)
    assert named["properties"] == (await read(catalog))["properties"] | {
        "group_title": {"identifier": "shop", "title": "The Shop"},
        "used": [{"identifier": "db", "title": "Database"}],
    }
    bare = await read(catalog, "db", attach_title_to_relation=True, attach_identifier_to_title_mirror_properties=True)
    assert (bare["relations"], bare["properties"]["group_title"], bare["properties"]["used"]) == ({}, None, [])


async def test_a_list_is_shown_with_the_same_options(catalog: Product) -> None:
    listed = granted(
        await catalog.api.get(AT, params={"include": "tier,uses", "attach_title_to_relation": True}), "entities"
    )
    assert [(one["identifier"], one["properties"], one["relations"]) for one in listed] == [
        ("cart", {"tier": 1}, {"uses": [{"identifier": "db", "title": "Database"}]}),
        ("db", {"tier": None}, {}),
    ]


async def test_scorecards_are_there_only_where_the_blueprint_has_some(catalog: Product) -> None:
    assert "scorecards" not in await read(catalog)
    scorecard: Json = {
        "identifier": "ready", "title": "Ready",
        "rules": [
            {
                "identifier": "named", "title": "Named", "level": "Bronze",
                "query": {"combinator": "and", "conditions": [{"property": "lang", "operator": "isNotEmpty"}]},
            }
        ],
    }  # fmt: skip
    answer = await catalog.api.post("/v1/blueprints/service/scorecards", json=scorecard)
    assert answer.status_code in (200, 201), answer.text
    shown = (await read(catalog))["scorecards"]["ready"]
    assert [rule["identifier"] for rule in shown["rules"]] == ["named"]
    assert "scorecards" not in await read(catalog, exclude="scorecards")
    assert "scorecards" not in await read(catalog, "p", "plain")
