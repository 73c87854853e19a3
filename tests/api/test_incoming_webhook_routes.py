"""Incoming webhooks over HTTP: their definitions, and what senders are answered."""

import hmac
import json
from typing import Any

import httpx
import pytest
from sqlmodel import select

from store.integration_tables import IncomingWebhookRow
from store.tables import ChangeRow
from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

AT = "/v1/webhooks"
SECRET = "hush hush hush"
SECURITY: Json = {
    "secret": SECRET,
    "signatureHeaderName": "X-Hub-Signature-256",
    "signatureAlgorithm": "sha256",
    "signaturePrefix": "sha256=",
    "requestIdentifierPath": '.headers."X-GitHub-Delivery"',
}
TOLD = {key: value for key, value in SECURITY.items() if key != "secret"}
HOOK: Json = {
    "mappings": [
        {
            "blueprint": "service",
            "filter": ".body.action == 'push'",
            "entity": {
                "identifier": ".body.id",
                "title": ".body.title",
                "properties": {"tier": ".body.tier", "lang": ".body.lang | ascii_downcase"},
                "relations": {"group": ".body.group"},
            },
        },
        {
            "blueprint": "service",
            "filter": ".body.action == 'gone'",
            "operation": {"type": "delete", "deleteDependents": False},
            "entity": {"identifier": ".body.id"},
        },
        {
            "blueprint": "group",
            "filter": ".body.groups != null",
            "itemsToParse": ".body.groups",
            "entity": {"identifier": ".item.name"},
        },
    ],
    "identifier": "github",
    "title": "GitHub",
    "icon": "Github",
    "enabled": True,
}


@pytest.fixture
async def catalog(product: Product) -> Product:
    """Groups have services."""
    blueprints: list[Json] = [
        {"identifier": "group", "title": "Group", "schema": {"properties": {}}},
        {
            "identifier": "service",
            "title": "Service",
            "schema": {"properties": {"tier": {"type": "number"}, "lang": {"type": "string"}}},
            "relations": {"group": {"target": "group"}},
        },
    ]
    for blueprint in blueprints:
        granted(await product.api.post("/v1/blueprints", json=blueprint), "blueprint", status=201)
    return product


async def made(product: Product, **more: Any) -> Json:
    """A new webhook."""
    return granted(await product.api.post(AT, json={**HOOK, **more}), "integration", status=201)  # type: ignore[no-any-return]


async def sent(product: Product, webhook: Json, body: Any, headers: Json | None = None) -> httpx.Response:
    """The answer to an event that comes without an access token."""
    assert webhook["url"].startswith("http://interlock.test/v1/ingest/webhooks/")
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": "", "Content-Type": "application/json", **(headers or {})}
    return await product.api.post(webhook["url"], content=content, headers=given)


def taken(answer: httpx.Response, **counts: int) -> str:
    """The id of an event that was accepted; exactly these counts are not zero."""
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told.pop("ok") is True
    event_id: str = told.pop("eventId")
    assert {name: number for name, number in told.items() if number} == counts
    return event_id


def signed(body: bytes) -> Json:
    return {"X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()}


async def audited(product: Product, **query: Any) -> list[Json]:
    return granted(await product.api.get("/v1/audit-log", params=query), "audits")  # type: ignore[no-any-return]


async def entities(product: Product, blueprint: str = "service") -> dict[str, Json]:
    found = granted(await product.api.get(f"/v1/blueprints/{blueprint}/entities"), "entities")
    return {one["identifier"]: one for one in found}


# Definitions


async def test_a_definition_is_echoed_as_received_with_its_address(product: Product) -> None:
    document = {**HOOK, "security": SECURITY}
    webhook = await made(product, security=SECURITY)
    assert {key: webhook[key] for key in document} == {**document, "security": TOLD}
    assert list(webhook["mappings"][0]) == list(HOOK["mappings"][0])
    assert webhook["url"] == f"http://interlock.test/v1/ingest/webhooks/{webhook['webhookKey']}"
    assert INSTANT.fullmatch(webhook["createdAt"])
    assert webhook["createdBy"] == webhook["updatedBy"] == product.organization.client_id
    assert granted(await product.api.get(f"{AT}/github"), "integration") == webhook
    assert granted(await product.api.get(AT), "integrations") == [webhook]
    refused(await product.api.post(AT, json=document), 409, "identifier_taken", "github")


async def test_a_webhook_without_a_name_gets_one_and_always_tells_its_security(product: Product) -> None:
    webhook = granted(await product.api.post(AT, json={"title": "Hook"}), "integration", status=201)
    assert webhook["identifier"].startswith("webhook_")
    assert webhook["security"] == {}
    assert granted(await product.api.get(f"{AT}/{webhook['identifier']}"), "integration") == webhook


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"title": "x" * 31}, "title"),
        ({"extra": 1}, "extra: unknown key"),
        ({"security": {"secret": SECRET}}, "security.signatureHeaderName"),
        ({"mappings": [{**HOOK["mappings"][0], "filter": ".body &&"}]}, "mappings[0].filter: the program does not"),
        ({"mappings": [{"blueprint": "a b", "entity": {"identifier": "."}}]}, "mappings[0].blueprint"),
    ],
)
async def test_what_is_no_webhook_is_refused_and_changes_nothing(product: Product, wrong: Json, words: str) -> None:
    message = refused(await product.api.post(AT, json={**HOOK, **wrong}), 422, "invalid_request", words)
    assert SECRET not in message
    webhook = await made(product)
    refused(await product.api.put(f"{AT}/github", json={**HOOK, **wrong}), 422, "invalid_request", words)
    refused(await product.api.patch(f"{AT}/github", json=wrong), 422, "invalid_request", words)
    assert granted(await product.api.get(AT), "integrations") == [webhook]


async def test_put_replaces_and_renames_and_patch_changes_keys(product: Product) -> None:
    webhook = await made(product)
    put = granted(await product.api.put(f"{AT}/github", json={"identifier": "gh", "title": "New"}), "integration")
    assert put["webhookKey"] == webhook["webhookKey"]
    assert "mappings" not in put
    refused(await product.api.get(f"{AT}/github"), 404, "not_found")
    same = granted(await product.api.put(f"{AT}/gh", json=put), "integration")
    assert same == put
    patched = granted(await product.api.patch(f"{AT}/gh", json={"enabled": False, "icon": "X"}), "integration")
    assert (patched["enabled"], patched["icon"], patched["title"]) == (False, "X", "New")
    assert "icon" not in granted(await product.api.patch(f"{AT}/gh", json={"icon": None}), "integration")
    await made(product)
    refused(await product.api.patch(f"{AT}/gh", json={"identifier": "github"}), 409, "identifier_taken")
    assert (await product.api.delete(f"{AT}/gh")).json() == {"ok": True}
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        refused(await product.api.request(method, f"{AT}/gh", json={"title": "x"}), 404, "not_found")
    actions = [one["action"] for one in await audited(product, webhookId="gh", status="SUCCESS")]
    assert actions == ["DELETE", "UPDATE", "UPDATE", "UPDATE"]


async def test_only_admins_write_and_know_addresses(product: Product) -> None:
    webhook = await made(product)
    member = await product.person("member@example.com")
    for method, path in (("POST", AT), ("PUT", f"{AT}/github"), ("PATCH", f"{AT}/github"), ("DELETE", f"{AT}/github")):
        answer = await product.api.request(method, path, json={"title": "x"}, headers=member)
        refused(answer, 403, "missing_permissions")
    for path, key in ((AT, "integrations"), (f"{AT}/github", "integration")):
        shown = await product.api.get(path, headers=member)
        granted(shown, key)
        assert webhook["webhookKey"] not in shown.text
        refused(await product.api.get(path, headers={"Authorization": ""}), 401, "unauthorized")


async def test_a_secret_is_nowhere_to_be_read(product: Product, answers: list[httpx.Response]) -> None:
    await made(product, security=SECURITY)
    await product.api.patch(f"{AT}/github", json={"security": {**SECURITY, "secret": SECRET + "!"}})
    await product.api.get(AT)
    await product.api.get("/v1/audit-log")
    assert all(SECRET not in answer.text for answer in answers)
    async with product.database.read() as session:
        [row] = (await session.exec(select(IncomingWebhookRow))).all()
        changes = (await session.exec(select(ChangeRow.document))).all()
    assert SECRET not in str(row.model_dump()) + str(changes)
    assert row.secret
    assert len([one for one in changes if one["resourceType"] == "webhook"]) == 2


async def test_a_secret_stays_for_who_writes_back_what_they_read(catalog: Product) -> None:
    webhook = await made(catalog, security=SECURITY)
    body = b'{"action": "push", "id": "a"}'
    granted(await catalog.api.put(f"{AT}/github", json={**webhook, "title": "New"}), "integration")
    granted(await catalog.api.patch(f"{AT}/github", json={"security": TOLD}), "integration")
    refused(await sent(catalog, webhook, body), 401, "unauthorized", "X-Hub-Signature-256")
    granted(await catalog.api.patch(f"{AT}/github", json={"security": SECURITY}), "integration")
    assert len(await audited(catalog, resources="webhook", status="SUCCESS")) == 2
    granted(await catalog.api.patch(f"{AT}/github", json={"security": {**TOLD, "secret": None}}), "integration")
    taken(await sent(catalog, webhook, body), created=1)


# Events


async def test_an_event_creates_updates_and_deletes_and_is_in_the_audit_log(catalog: Product) -> None:
    webhook = await made(catalog, security=SECURITY)
    body = b'{"action": "push", "id": "cart", "title": "Cart", "tier": 1, "lang": "GO", "group": "shop"}'
    headers = {**signed(body), "X-GitHub-Delivery": "delivery-1"}
    assert taken(await sent(catalog, webhook, body, headers), created=1) == "delivery-1"
    cart = (await entities(catalog))["cart"]
    assert (cart["title"], cart["properties"], cart["relations"], cart["createdBy"]) == (
        "Cart", {"tier": 1, "lang": "go"}, {"group": "shop"}, "github",
    )  # fmt: skip
    assert set(await entities(catalog, "group")) == {"shop"}
    records = await audited(catalog, webhookEventId="delivery-1")
    assert [(one["action"], one["trigger"]["origin"], one["context"]["webhookId"]) for one in records] == [
        ("CREATE", "github", "github"),
        ("CREATE", "github", "github"),
    ]
    taken(await sent(catalog, webhook, body, headers), unchanged=1)

    body = b'{"action": "push", "id": "cart", "tier": 2, "lang": 7, "groups": [{"name": "x"}, {"name": "y"}, {}]}'
    event = taken(await sent(catalog, webhook, body, signed(body)), updated=1, created=2, refused=1)
    cart = (await entities(catalog))["cart"]
    assert (cart["title"], cart["properties"]) == ("Cart", {"tier": 2, "lang": None})
    [record] = await audited(catalog, webhookEventId=event, status="FAILURE")
    assert record["message"] == "item 2: mappings[2].entity.identifier: gave no identifier, but null"

    body = b'{"action": "gone", "id": "cart"}'
    taken(await sent(catalog, webhook, body, signed(body)), deleted=1)
    taken(await sent(catalog, webhook, body, signed(body)))
    assert await entities(catalog) == {}


async def test_an_event_with_no_or_a_wrong_signature_changes_nothing_and_is_on_record(catalog: Product) -> None:
    webhook = await made(catalog, security=SECURITY)
    body = b'{"action": "push", "id": "cart"}'
    refused(await sent(catalog, webhook, body), 401, "unauthorized", "no header X-Hub-Signature-256")
    refused(await sent(catalog, webhook, body, signed(body + b" ")), 401, "unauthorized", "not signed with the secret")
    refused(await sent(catalog, webhook, b"no json", signed(body)), 401, "unauthorized")
    assert await entities(catalog) == {}
    records = await audited(catalog, webhookId="github", status="FAILURE")
    assert [(one["resourceType"], one["trigger"]["origin"]) for one in records] == [("webhook", "github")] * 3


async def test_a_disabled_webhook_drops_events_and_says_so(catalog: Product) -> None:
    webhook = await made(catalog, enabled=False, security=SECURITY)
    answer = await sent(catalog, webhook, {"action": "push", "id": "cart"})
    assert (answer.status_code, answer.json()) == (202, {"ok": True, "dropped": "the webhook is disabled"})
    assert await entities(catalog) == {}


async def test_nobody_is_at_an_address_that_is_no_webhooks(product: Product) -> None:
    webhook = await made(product)
    for key in ("nothing", "github", "x" * 3000, "%00"):
        refused(await product.api.post(f"/v1/ingest/webhooks/{key}", json={}), 404, "not_found")
    refused(await product.api.get(webhook["url"]), 405, None)
    await product.api.delete(f"{AT}/github")
    refused(await sent(product, webhook, {}), 404, "not_found")


async def test_a_blueprint_that_is_not_there_is_a_refusal_of_its_entities_alone(catalog: Product) -> None:
    lost = {"blueprint": "lost", "entity": {"identifier": ".body.id"}}
    webhook = await made(catalog, mappings=[lost, HOOK["mappings"][0]])
    event = taken(await sent(catalog, webhook, {"action": "push", "id": "a"}), created=1, refused=1)
    [record] = await audited(catalog, webhookEventId=event, status="FAILURE")
    assert (record["resourceType"], record["context"]["blueprint"], record["context"]["entity"]) == (
        "entity", "lost", "a",
    )  # fmt: skip
    assert "'lost' was not found" in record["message"]


@pytest.mark.parametrize("body", [b"", b"no json", b'{"a":', b"NaN", b'{"a":"\\u0000"}', b"\xff", b"[" * 200])
async def test_a_body_that_is_no_json_is_refused(product: Product, body: bytes) -> None:
    refused(await sent(product, await made(product), body), 422, "invalid_request")


async def test_forms_carry_json_in_their_payload(catalog: Product) -> None:
    webhook = await made(catalog)
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = httpx.Request("POST", "http://x", data={"payload": '{"action": "push", "id": "a+b", "title": "é"}'}).content
    taken(await sent(catalog, webhook, body, form), created=1)
    assert (await entities(catalog))["a+b"]["title"] == "é"
    for wrong in (b"other=1", b"payload=", b"payload=x", b"payload=%ff", b"\xff", b"&".join([b"a=1"] * 1000)):
        refused(await sent(catalog, webhook, wrong, form), 422, "invalid_request")


async def test_a_large_event_is_taken_and_a_larger_one_refused(catalog: Product) -> None:
    webhook = await made(catalog)
    limit = catalog.settings.max_body_bytes
    body = b'{"action": "push", "id": "big", "rest": "%s"}'
    body %= b"x" * (limit - len(body) + 2)
    assert len(body) == limit
    taken(await sent(catalog, webhook, body), created=1)
    refused(await sent(catalog, webhook, body + b" "), 413, None, str(limit))


async def test_query_parameters_are_there_for_programs(catalog: Product) -> None:
    mapping = {"blueprint": "group", "entity": {"identifier": ".queryParams.name", "title": ".queryParams.more[1]"}}
    webhook = await made(catalog, mappings=[mapping])
    webhook["url"] += "?name=x&more=1&more=two&empty="
    taken(await sent(catalog, webhook, [1]), created=1)
    assert (await entities(catalog, "group"))["x"]["title"] == "two"
