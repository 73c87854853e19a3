"""Integrations over HTTP: what Ocean and the execution agent call, in their order, and what is refused."""

from typing import Any

import httpx
import jwt

from tests.api.answers import INSTANT, Json, granted, refused
from tests.support.product import Product

INTEGRATION = "/v1/integration"
MINE = f"{INTEGRATION}/my-github"
RESERVED = {"x-port-reserved-usage": "true"}
MAPPING: Json = {
    "resources": [
        {
            "kind": "repository",
            "selector": {"query": "true"},
            "port": {"entity": {"mappings": {"identifier": ".name", "blueprint": '"repository"'}}},
        }
    ],
    "deleteDependentEntities": True,
}
POSTED: Json = {
    "installationId": "my-github",
    "installationAppType": "github-ocean",
    "version": "1.2.3",
    "changelogDestination": {},
    "config": MAPPING,
    "actionsProcessingEnabled": True,
    "createPortResourcesOrigin": "Ocean",
}
ADDRESSES = ("logAttributes", "metricAttributes", "ingestAttributes")


async def install(product: Product, **more: Any) -> Json:
    made: Json = granted(await product.api.post(INTEGRATION, json=POSTED | more), "integration", status=201)
    return made


async def read(product: Product, **how: Any) -> Json:
    found: Json = granted(await product.api.get(MINE, **how), "integration")
    return found


async def records(product: Product) -> list[Json]:
    query = "resources=integration&InstallationId=my-github"
    found: list[Json] = granted(await product.api.get(f"/v1/audit-log?status=SUCCESS&{query}"), "audits")
    return found


async def test_ocean_finds_at_its_start_what_it_asks_for(product: Product) -> None:
    """The calls of its client, in their order: a first start, a resync, and a second start with a newer version."""
    api = product.api
    token = await api.post(
        "/v1/auth/access_token",
        json={"clientId": product.organization.client_id, "clientSecret": product.organization.client_secret},
    )
    claims = jwt.decode(token.json()["accessToken"], options={"verify_signature": False})
    assert claims["isMachine"] is True, "it claims no runs otherwise"

    # What it is allowed to, and whether it brings its own mapping: it does.
    assert granted(await api.get(f"{INTEGRATION}/provision-enabled"), "integrations") == []
    organization = granted(await api.get("/v1/organization"), "organization")
    assert organization["featureFlags"] == []

    # It is not there, so it registers itself.
    absent = await api.get(MINE)
    assert absent.status_code == 404
    assert absent.json().get("integration", {}) == {}
    made = await install(product)
    same = ("changelogDestination", "installationAppType", "version", "actionsProcessingEnabled", "config")
    assert {key: made[key] for key in same} == {key: POSTED[key] for key in same}

    # It looks itself up to know where logs and measurements go.
    mine = await read(product)
    assert mine == made
    logs, metrics, _ = (mine[name]["ingestUrl"] for name in ADDRESSES)
    line = {"message": "Starting", "level": "INFO", "timestamp": "2026-01-02T03:04:05.000000Z", "extra": {"event": {}}}
    assert (await api.post(logs, json={"logs": [line]})).is_success

    # A resync: its state, the measurements, examples of what it reads.
    state = {
        "status": "running",
        "lastResyncEnd": None,
        "lastResyncStart": "2026-01-02T03:04:05+00:00",
        "nextResync": None,
        "intervalInMinuets": 60,
    }
    running = granted(await api.patch(f"{MINE}/resync-state", json=state), "integration")
    assert INSTANT.fullmatch(running["resyncState"]["updatedAt"])
    measured = {"eventId": "e1", "kindIdentifier": "repository-0", "metrics": {"phase": {}}}
    assert (await api.post(f"{metrics}/syncMetrics", json={"syncKindsMetrics": [measured]})).is_success
    one = f"{metrics}/syncMetrics/resync/e1/kind/repository-0"
    assert (await api.put(one, json={"syncKindMetrics": measured})).is_success
    examples = {"examples": [{"name": "cart"}, {"name": "shop"}]}
    assert (await api.post(f"{MINE}/kinds/repository/examples", json=examples)).is_success
    ended = {"status": "completed", "lastResyncEnd": "2026-01-02T03:05:05+00:00"}
    completed = granted(await api.patch(f"{MINE}/resync-state", json=ended), "integration")
    assert completed["resyncState"] == {**state, **ended, "updatedAt": completed["resyncState"]["updatedAt"]}
    assert (await read(product))["updatedAt"] == mine["updatedAt"], "it would resync again and again"
    assert granted(await api.get(f"{MINE}/resync-request"), "request") is None

    # It waits for work. There are no workflows here, which is no error.
    claim = {"installationId": "my-github", "limit": 300, "visibilityTimeoutMs": 60000, "exclude": ["busy"]}
    claimed = await api.post("/v1/workflows/runs/claim-pending", json=claim, headers=RESERVED)
    assert granted(claimed, "nodeRuns") == []

    # A newer version starts again.
    again = await read(product)
    assert again["version"] != "1.3.0"
    newer = {
        "installationAppType": "github-ocean",
        "changelogDestination": {},
        "actionsProcessingEnabled": True,
        "version": "1.3.0",
    }
    patched = granted(await api.patch(MINE, json=newer), "integration")
    assert patched == {**again, "version": "1.3.0", "updatedAt": patched["updatedAt"]}


async def test_what_was_posted_is_echoed_with_its_order_and_what_the_server_adds(product: Product) -> None:
    made = await install(product, spec={"b": 1, "a": 2.0}, somethingElse=[None, {}], title="Mine")
    posted = {**POSTED, "spec": {"b": 1, "a": 2.0}, "somethingElse": [None, {}], "title": "Mine"}
    assert {key: made[key] for key in posted} == posted
    assert list(made["spec"]) == ["b", "a"]
    assert made["identifier"] == "my-github"
    assert made["_id"].startswith("integration_")
    assert made["createdBy"] == made["updatedBy"] == product.organization.client_id
    assert made["createdAt"] == made["updatedAt"]
    assert granted(await product.api.get(f"{MINE}?byField=installationId&unknown="), "integration") == made
    assert granted(await product.api.get(INTEGRATION), "integrations") == [made]

    # Clients post back what they read.
    other = granted(
        await product.api.post(INTEGRATION, json={**made, "installationId": "other"}), "integration", status=201
    )
    assert other["identifier"] == "other"
    assert other["logAttributes"] != made["logAttributes"]
    assert [one["identifier"] for one in granted(await product.api.get(INTEGRATION), "integrations")] == [
        "my-github",
        "other",
    ]


async def test_one_without_a_mapping_has_an_empty_one(product: Product) -> None:
    made = granted(
        await product.api.post(INTEGRATION, json={"installationId": "k8s-exporter"}), "integration", status=201
    )
    assert made["config"] == {}
    assert "resyncState" not in made


async def test_an_installation_id_is_taken_once(product: Product) -> None:
    made = await install(product)
    refused(await product.api.post(INTEGRATION, json=POSTED | {"version": "9"}), 409, "identifier_taken", "my-github")
    assert await read(product) == made


WRONG: list[tuple[Json, str]] = [
    ({"installationId": ...}, "installationId"),
    ({"installationId": ""}, "installationId"),
    ({"installationId": "a/b"}, "installationId"),
    ({"installationId": "provision-enabled"}, "installationId"),
    ({"installationId": "x" * 256}, "installationId"),
    ({"installationId": 1}, "installationId"),
    ({"installationAppType": 1}, "installationAppType"),
    ({"version": 1.2}, "version"),
    ({"title": ["x"]}, "title"),
    ({"config": "mapping"}, "config"),
    ({"config": [1]}, "config"),
    ({"spec": 1}, "spec"),
    ({"actionsProcessingEnabled": "yes"}, "actionsProcessingEnabled"),
    ({"changelogDestination": {"type": "PIGEON"}}, "changelogDestination.type"),
    ({"changelogDestination": {"type": "WEBHOOK"}}, "changelogDestination.url"),
    ({"changelogDestination": {"type": "WEBHOOK", "url": "example.com"}}, "changelogDestination.url"),
    ({"changelogDestination": {"url": "https://example.com"}}, "changelogDestination.type"),
    ({"changelogDestination": []}, "changelogDestination"),
]
"""What is wrong with a definition, and the path that the refusal names; `...` leaves the key out."""


async def test_what_is_wrong_is_named_and_nothing_is_written(product: Product) -> None:
    for body, path in WRONG:
        document = {key: value for key, value in (POSTED | body).items() if value is not ...}
        refused(await product.api.post(INTEGRATION, json=document), 422, "invalid_request", path)
    assert granted(await product.api.get(INTEGRATION), "integrations") == []

    made = await install(product)
    for body, path in WRONG:
        patch = {key: None if value is ... else value for key, value in body.items()}
        refused(await product.api.patch(MINE, json=patch), 422, "invalid_request", path)
    assert await read(product) == made


WRONG_PATCHES: list[tuple[str, Any, str]] = [
    ("", [], "the body"),
    ("", {"installationId": "other"}, "installationId"),
    ("/config", {}, "config"),
    ("/config", {"config": []}, "config"),
    ("/config", {"config": None}, "config"),
    ("/config", {"config": {}, "more": 1}, "more"),
    ("/resync-state", {"status": 1}, "status"),
    ("/resync-state", {"lastResyncStart": 5}, "lastResyncStart"),
    ("/resync-state", {"intervalInMinuets": "60"}, "intervalInMinuets"),
    ("/resync-state", [], "the body"),
]


async def test_wrong_patches_are_named_and_change_nothing(product: Product) -> None:
    made = await install(product)
    for route, body, path in WRONG_PATCHES:
        refused(await product.api.patch(f"{MINE}{route}", json=body), 422, "invalid_request", path)
    assert await read(product) == made
    assert len(await records(product)) == 1


async def test_a_patch_keeps_the_keys_it_does_not_name(product: Product) -> None:
    made = await install(product, title="Mine")
    destination = {"type": "WEBHOOK", "url": "https://ocean.example.com/resync", "agent": False}
    patched = granted(
        await product.api.patch(MINE, json={"changelogDestination": destination, "title": None}), "integration"
    )
    assert "title" not in patched
    kept = {key: value for key, value in made.items() if key != "title"}
    assert patched == {**kept, "changelogDestination": destination, "updatedAt": patched["updatedAt"]}

    config: Json = {"resources": []}
    mapped = granted(await product.api.patch(f"{MINE}/config", json={"config": config}), "integration")
    assert mapped == {**patched, "config": config, "updatedAt": mapped["updatedAt"]}
    assert await read(product) == mapped

    newest, *_, first = await records(product)
    assert (first["action"], newest["action"], newest["context"]) == (
        "CREATE",
        "UPDATE",
        {"installationId": "my-github"},
    )
    assert (newest["diff"]["before"]["config"], newest["diff"]["after"]["config"]) == (MAPPING, config)


async def test_what_changes_nothing_writes_nothing(product: Product) -> None:
    made = await install(product)
    for route, body in (("", {"version": "1.2.3"}), ("", {"_id": "other"}), ("/config", {"config": MAPPING})):
        assert granted(await product.api.patch(f"{MINE}{route}", json=body), "integration") == made
    for _ in range(2):
        granted(await product.api.patch(f"{MINE}/resync-state", json={"status": "completed"}), "integration")
    assert len(await records(product)) == 2


async def test_a_patch_of_nothing_asks_for_a_resync(product: Product) -> None:
    before = await install(product)
    for content in (b"{}", b""):
        how = {"Content-Type": "application/json"}
        asked = granted(await product.api.patch(MINE, content=content, headers=how), "integration")
        assert asked["updatedAt"] > before["updatedAt"], "integrations that look now and then see it by this"
        request = granted(await product.api.get(f"{MINE}/resync-request"), "request")
        assert request == {"requestedAt": asked["updatedAt"], "requestedBy": product.organization.client_id}

        await product.api.patch(f"{MINE}/resync-state", json={"status": "completed"})
        assert granted(await product.api.get(f"{MINE}/resync-request"), "request") == request
        await product.api.patch(f"{MINE}/resync-state", json={"status": "running"})
        assert granted(await product.api.get(f"{MINE}/resync-request"), "request") is None
        before = asked


async def test_a_deleted_integration_is_gone_with_its_addresses(product: Product) -> None:
    mine = await install(product)
    logs = mine["logAttributes"]["ingestUrl"]
    assert (await product.api.post(logs, json={"logs": [{"message": "mine"}]})).status_code == 202
    answer = await product.api.delete(MINE)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    refused(await product.api.post(logs, json={"logs": []}), 404, "not_found")
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("PATCH", "/config", {"config": {}}),
        ("PATCH", "/resync-state", {}),
        ("GET", "/resync-request", None),
        ("GET", "/logs", None),
        ("DELETE", "", None),
    ):
        refused(await product.api.request(method, f"{MINE}{path}", json=body), 404, "not_found", "my-github")
    assert (await records(product))[0]["action"] == "DELETE"

    again = await install(product)
    assert again["logAttributes"]["ingestUrl"] != logs
    assert granted(await product.api.get(f"{MINE}/logs"), "logs") == []


async def test_members_read_and_only_admins_and_machines_write_and_know_the_addresses(product: Product) -> None:
    mine = await install(product)
    member, admin = await product.person("m@example.com"), await product.person("a@example.com", "Admin")
    assert await read(product, headers=admin) == mine
    assert await read(product, headers=member) == {key: value for key, value in mine.items() if key not in ADDRESSES}
    for method, path, body in (
        ("POST", INTEGRATION, POSTED),
        ("PATCH", MINE, {}),
        ("PATCH", f"{MINE}/config", {"config": {}}),
        ("PATCH", f"{MINE}/resync-state", {}),
        ("DELETE", MINE, None),
        ("POST", f"{MINE}/kinds/k/examples", {"examples": []}),
        ("GET", f"{MINE}/kinds/k/examples", None),
        ("GET", f"{MINE}/logs", None),
        ("GET", f"{MINE}/metrics", None),
        ("GET", f"{MINE}/data", None),
    ):
        answer = await product.api.request(method, path, json=body, headers=member)
        refused(answer, 403, "missing_permissions", "m@example.com")
    assert await read(product) == mine
    granted(await product.api.patch(f"{MINE}/config", json={"config": {}}, headers=admin), "integration")


async def test_nobody_reads_an_address_in_the_audit_log(product: Product, answers: list[httpx.Response]) -> None:
    mine = await install(product)
    key = mine["logAttributes"]["ingestUrl"].rpartition("/")[2]
    assert len(key) >= 43, "256 bits"
    granted(await product.api.patch(f"{MINE}/config", json={"config": {}}), "integration")
    assert len(await records(product)) == 2
    assert key in answers[-2].text, "the search can find what is there"
    assert key not in answers[-1].text
