"""`Idempotency-Key`: the same request sent again is the same run."""

import asyncio
from typing import Any

import httpx

from tests.api.answers import Json, granted, refused
from tests.support.product import Product


async def _ask(
    product: Product, key: str | None, properties: Json | None = None, action: str = "deploy", **how: Any
) -> httpx.Response:
    headers = httpx.Headers(how.pop("headers", None))
    if key is not None:
        headers["Idempotency-Key"] = key
    body = {"properties": properties or {}}
    return await product.api.post(f"/v1/actions/{action}/runs", json=body, headers=headers, **how)


async def test_the_same_key_and_request_is_the_same_run(product: Product) -> None:
    await product.action()
    first = granted(await _ask(product, "k1", {"a": 1, "b": 2}), "run", status=202)
    await product.until(first["id"])
    repeated = granted(await _ask(product, "k1", {"a": 1, "b": 2}), "run", status=202)
    assert repeated["id"] == first["id"]
    assert repeated["status"] == "SUCCESS", "it is told as it stands now"

    for key in ("k2", None, None):
        other = granted(await _ask(product, key, {"a": 1, "b": 2}), "run", status=202)
        assert other["id"] != first["id"]
        await product.until(other["id"])
    assert len(product.backend.calls) == 4


async def test_a_key_that_was_used_for_something_else_is_refused(product: Product) -> None:
    await product.action()
    await product.action("other")
    bound = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": {}},
    }
    await product.action("bound", trigger=bound)
    await product.entity("cart")
    await product.entity("shop")
    first = granted(await _ask(product, "k", {"a": 1}), "run", status=202)
    for properties, action in (
        ({"a": 2}, "deploy"),
        ({}, "deploy"),
        ({"a": 1, "b": None}, "deploy"),
        ({"a": 1}, "other"),
    ):
        refused(await _ask(product, "k", properties, action), 422, "idempotency_key_reused", first["id"])

    path, key = "/v1/actions/bound/runs", {"Idempotency-Key": "b"}
    for entity, status in (("cart", 202), ("cart", 202), ("shop", 422)):
        answer = await product.api.post(path, json={"properties": {}, "entity": entity}, headers=key)
        assert answer.status_code == status
    assert len(granted(await product.api.get("/v1/actions/runs"), "runs")) == 2


async def test_twenty_at_once_with_one_key_are_one_run(product: Product) -> None:
    await product.action()
    answers = await asyncio.gather(*(_ask(product, "k") for _ in range(20)))
    ids = {granted(answer, "run", status=202)["id"] for answer in answers}
    assert len(ids) == 1
    await product.until(ids.pop())
    assert len(granted(await product.api.get("/v1/actions/runs"), "runs")) == 1
    assert len(product.backend.calls) == 1


async def test_keys_belong_to_who_sent_them(product: Product) -> None:
    await product.action(allowAnyoneToViewRuns=False)
    ada, eve = await product.person("ada@example.com"), await product.person("eve@example.com")
    runs = [
        granted(await _ask(product, "k", headers=ada), "run", status=202),
        granted(await _ask(product, "k", headers=eve), "run", status=202),
        granted(await _ask(product, "k"), "run", status=202),
        granted(await _ask(product, "k", params={"run_as": "ada@example.com"}), "run", status=202),
    ]
    assert len({run["id"] for run in runs}) == 4
    assert granted(await _ask(product, "k", headers=ada), "run", status=202)["id"] == runs[0]["id"]


async def test_a_request_that_was_refused_does_not_use_up_its_key(product: Product) -> None:
    await product.action(inputs={"size": {"type": "number"}})
    refused(await _ask(product, "k", {"size": "big"}), 422, "user_inputs_schema_invalid")
    refused(await _ask(product, "k", action="nothing"), 404, "not_found")
    first = granted(await _ask(product, "k", {"size": 1}), "run", status=202)
    assert granted(await _ask(product, "k", {"size": 1}), "run", status=202)["id"] == first["id"]


async def test_a_key_holds_after_the_action_has_changed_or_gone(product: Product) -> None:
    await product.action()
    first = granted(await _ask(product, "k"), "run", status=202)
    await product.until(first["id"])
    assert (await product.api.delete("/v1/actions/deploy")).status_code == 200
    repeated = granted(await _ask(product, "k"), "run", status=202)
    assert repeated["id"] == first["id"]
    assert repeated["action"]["deleted"] is True
    refused(await _ask(product, "new"), 404, "not_found")


async def test_a_key_that_is_no_key_is_refused(product: Product) -> None:
    await product.action()
    for key in ("", "x" * 256):
        refused(await _ask(product, key), 422, "invalid_request", "dempotency")
    for key in ("x" * 255, "with space", "ä".encode().decode("latin-1")):
        headers = [(b"idempotency-key", key.encode("latin-1"))]
        answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=headers)
        granted(answer, "run", status=202)
