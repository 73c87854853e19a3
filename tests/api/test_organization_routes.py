"""The organization over HTTP: its name and settings."""

from typing import Any

from tests.api.answers import Json, granted, refused
from tests.support.product import Product

ORGANIZATION = "/v1/organization"


async def organization(product: Product) -> Json:
    found: Json = granted(await product.api.get(ORGANIZATION), "organization")
    return found


async def records(product: Product) -> list[Json]:
    found: list[Json] = granted(await product.api.get("/v1/audit-log?resources=organization&status=SUCCESS"), "audits")
    return found


async def test_clients_find_what_they_read(product: Product) -> None:
    found = await organization(product)
    assert found == {
        "id": product.organization.id,
        "name": "Interlock",
        "featureFlags": [],
        "isBlocked": False,
        "settings": {},
    }
    member = await product.person("m@example.com")
    assert granted(await product.api.get(ORGANIZATION, headers=member), "organization") == found


async def test_the_agent_says_how_runs_come_to_it(product: Product) -> None:
    for streamer in ("KAFKA", "POLLING"):
        answer = await product.api.patch(ORGANIZATION, json={"settings": {"portAgentStreamerName": streamer}})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
        assert (await organization(product))["settings"] == {"portAgentStreamerName": streamer}

    newest, _ = await records(product)
    assert (newest["action"], newest["trigger"]["by"]["userId"]) == ("UPDATE", product.organization.client_id)
    assert newest["diff"] == {
        "before": {"name": "Interlock", "settings": {"portAgentStreamerName": "KAFKA"}},
        "after": {"name": "Interlock", "settings": {"portAgentStreamerName": "POLLING"}},
    }


async def test_a_patch_keeps_what_it_does_not_name_and_a_put_replaces_the_settings(product: Product) -> None:
    for body in ({"settings": {"a": {"b": 1}, "portAgentStreamerName": "KAFKA"}}, {"settings": {"c": [2]}}):
        assert (await product.api.patch(ORGANIZATION, json=body)).status_code == 200
    assert (await organization(product))["settings"] == {"a": {"b": 1}, "portAgentStreamerName": "KAFKA", "c": [2]}

    assert (await product.api.patch(ORGANIZATION, json={"name": "Acme", "settings": {"a": None}})).status_code == 200
    now = await organization(product)
    assert (now["name"], now["settings"]) == ("Acme", {"portAgentStreamerName": "KAFKA", "c": [2]})

    put = granted(await product.api.put(ORGANIZATION, json={"name": "Acme Ltd"}), "organization")
    assert (put["name"], put["settings"]) == ("Acme Ltd", now["settings"])
    put = granted(await product.api.put(ORGANIZATION, json={"settings": {"d": 1}}), "organization")
    assert put == await organization(product)
    assert (put["name"], put["settings"]) == ("Acme Ltd", {"d": 1})


async def test_what_changes_nothing_is_not_recorded(product: Product) -> None:
    body = {"name": "Acme", "settings": {"portAgentStreamerName": "POLLING"}}
    for _ in range(2):
        assert (await product.api.patch(ORGANIZATION, json=body)).status_code == 200
    assert (await product.api.patch(ORGANIZATION, json={})).status_code == 200
    assert len(await records(product)) == 1


WRONG: list[tuple[Any, str]] = [
    ({"settings": {"portAgentStreamerName": "HTTP"}}, "settings.portAgentStreamerName"),
    ({"settings": {"portAgentStreamerName": 1}}, "settings.portAgentStreamerName"),
    ({"settings": []}, "settings"),
    ({"settings": None}, "settings"),
    ({"name": ""}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": 1}, "name"),
    ({"name": None}, "name"),
    ({"nam": "x"}, "nam"),
    ([], "the body"),
]


async def test_what_is_wrong_is_named_and_nothing_is_written(product: Product) -> None:
    for body, path in WRONG:
        for method in ("PUT", "PATCH"):
            refused(await product.api.request(method, ORGANIZATION, json=body), 422, "invalid_request", path)
    assert await records(product) == []
    assert (await organization(product))["settings"] == {}


async def test_only_admins_and_machines_change_it(product: Product) -> None:
    member, admin = await product.person("m@example.com"), await product.person("a@example.com", "Admin")
    for method in ("PUT", "PATCH"):
        answer = await product.api.request(method, ORGANIZATION, json={"name": "Mine"}, headers=member)
        refused(answer, 403, "missing_permissions", "m@example.com")
    assert (await organization(product))["name"] == "Interlock"
    assert (await product.api.patch(ORGANIZATION, json={"name": "Ours"}, headers=admin)).status_code == 200
    assert (await organization(product))["name"] == "Ours"
