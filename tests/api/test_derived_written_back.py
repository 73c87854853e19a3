"""Who writes back what they have read: what is derived in it is not kept, and changes nothing."""

from tests.api.answers import granted
from tests.support.product import Json, Product

AT = "/v1/blueprints/service/entities"


async def service(product: Product) -> Json:
    """An entity with a mirror, a calculation and an aggregation, as it is read."""
    domain = {"identifier": "domain", "title": "Domain", "schema": {"properties": {"tier": {"type": "string"}}}}
    granted(await product.api.post("/v1/blueprints", json=domain), "blueprint", status=201)
    kind = {
        "identifier": "service",
        "title": "Service",
        "schema": {"properties": {"cost": {"type": "number"}}},
        "relations": {"domain": {"target": "domain"}, "uses": {"target": "service"}},
        "mirrorProperties": {"tier": {"path": "domain.tier"}},
        "calculationProperties": {"twice": {"type": "number", "calculation": ".properties.cost * 2"}},
        "aggregationProperties": {
            "users": {
                "title": "Users",
                "target": "service",
                "calculationSpec": {"calculationBy": "entities", "func": "count"},
                "pathFilter": [{"path": ["uses"], "fromBlueprint": "service"}],
            }
        },
    }
    granted(await product.api.post("/v1/blueprints", json=kind), "blueprint", status=201)
    shop = {"identifier": "shop", "properties": {"tier": "1"}}
    granted(await product.api.post("/v1/blueprints/domain/entities", json=shop), "entity", status=201)
    cart = {"identifier": "cart", "properties": {"cost": 5}, "relations": {"domain": "shop"}}
    read: Json = granted(await product.api.post(AT, json=cart), "entity", status=201)
    assert read["properties"] == {"cost": 5, "tier": "1", "twice": 10, "users": 0}, "all of it is shown"
    return read


async def snapshots(product: Product) -> list[Json]:
    """The properties of the entity after each of its changes, the last first."""
    audits = granted(await product.api.get("/v1/audit-log?resources=entity&blueprint=service"), "audits")
    return [one["diff"]["after"]["properties"] for one in audits]


async def test_writing_back_what_was_read_changes_nothing(product: Product) -> None:
    read = await service(product)
    for query in ("?upsert=true&merge=true", "?upsert=true"):
        granted(await product.api.post(AT + query, json=read), "entity")
    granted(await product.api.put(f"{AT}/cart", json=read), "entity")
    part = {"properties": read["properties"]}
    granted(await product.api.patch(f"{AT}/cart", json=part), "entity")
    assert await snapshots(product) == [{"cost": 5}]


async def test_derived_values_that_are_sent_are_not_kept(product: Product) -> None:
    read = await service(product)
    copy = {**read, "identifier": "copy", "properties": {**read["properties"], "tier": "mine", "more": 1}}
    made = granted(await product.api.post(AT, json=copy), "entity", status=201)
    assert made["properties"] == {"cost": 5, "more": 1, "tier": "1", "twice": 10, "users": 0}
    assert await snapshots(product) == [{"cost": 5, "more": 1}, {"cost": 5}]

    kind = granted(await product.api.get("/v1/blueprints/service"), "blueprint")
    kind["mirrorProperties"] = {}
    granted(await product.api.put("/v1/blueprints/service", json=kind), "blueprint")
    entity = granted(await product.api.get(f"{AT}/copy"), "entity")
    assert "tier" not in entity["properties"], "nothing of it comes to light once the mirror has gone"
