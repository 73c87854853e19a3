"""Requests that no route can use: every answer has the one shape, and none is our fault."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.answers import granted, refused
from tests.support.product import Product

JSON = {"Content-Type": "application/json"}
LIMIT = 1024 * 1024
ACTION = b'{"identifier":"deploy","invocationMethod":{"type":"KAFKA"},"trigger":{"type":"self-service",' + (
    b'"operation":"CREATE","userInputs":{"properties":{}}},"title":%s}'
)


async def test_what_is_not_there_is_said_in_the_one_shape(product: Product) -> None:
    for method, path in (
        ("GET", "/v1/nothing"),
        ("POST", "/v1"),
        ("GET", "/v2/actions"),
        ("GET", "/v1/actions/deploy/nothing"),
        ("GET", "/v1/actions/ä"),
        ("GET", "/v1/actions/%00"),
        ("GET", "/v1/actions/" + "a" * 5000),
        ("GET", "/v1/actions/%F0%9F%9A%80"),
        ("GET", "/v1/actions/%ED%A0%80"),
        ("GET", "/v1/actions/runs/%00"),
        ("GET", "/v1/organization/secrets/%00"),
        ("GET", "/.env"),
        ("GET", "/v1/actions/deploy"),
        ("DELETE", "/v1/actions/deploy"),
        ("GET", "/v1/actions/deploy/permissions"),
        ("GET", "/v1/actions/runs/r_0000000000000000"),
        ("GET", "/v1/organization/secrets/nothing"),
        ("DELETE", "/v1/organization/secrets/nothing"),
    ):
        answer = await product.api.request(method, path)
        assert answer.status_code == 404, f"{method} {path[:40]}: {answer.status_code} {answer.text[:200]}"
        refused(answer, 404, "not_found")


async def test_a_method_a_route_does_not_have_is_405(product: Product) -> None:
    for method, path in (
        ("DELETE", "/v1/actions"),
        ("PATCH", "/v1/actions"),
        ("POST", "/v1/actions/deploy/permissions"),
        ("PUT", "/v1/actions/runs/r_0000000000000000"),
        ("DELETE", "/v1/actions/runs/r_0000000000000000"),
        ("GET", "/v1/auth/access_token"),
        ("POST", "/v1/actions/runs/r_0000000000000000/approval"),
        ("PUT", "/v1/organization/secrets"),
    ):
        refused(await product.api.request(method, path, json={}), 405, None)


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "half an object": ACTION[:30],
    "a trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "two values": b"{} {}",
    "a comment": b"{/* */}",
    "NaN": ACTION % b"NaN",
    "Infinity": ACTION % b"-Infinity",
    "a number that is infinite": ACTION % b"1e999",
    "a NUL in a text": ACTION % b'"a\\u0000b"',
    "a NUL in a key": b'{"a\\u0000":1}',
    "a raw NUL": ACTION % b'"a\x00b"',
    "a lone surrogate": ACTION % b'"\\ud83d"',
    "a lone low surrogate in a key": b'{"\\ude80":1}',
    "a raw newline in a text": ACTION % b'"a\nb"',
    "bytes that are no UTF-8": ACTION % b'"\xff\xfe"',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "deep and open": b"[" * 500_000,
    "no object": b"[]",
    "a text": b'"deploy"',
    "null": b"null",
}


async def test_a_body_that_cannot_be_read_is_refused_by_every_route(product: Product) -> None:
    await product.action("there")
    run = (await product.start("there"))["id"]
    await product.until(run)
    routes = (
        ("POST", "/v1/actions"),
        ("PUT", "/v1/actions/there"),
        ("PATCH", "/v1/actions/there/permissions"),
        ("POST", "/v1/actions/there/runs"),
        ("PATCH", f"/v1/actions/runs/{run}"),
        ("POST", f"/v1/actions/runs/{run}/logs"),
        ("PATCH", f"/v1/actions/runs/{run}/response"),
        ("PATCH", f"/v1/actions/runs/{run}/approval"),
        ("POST", "/v1/organization/secrets"),
        ("PATCH", "/v1/organization/secrets/x"),
        ("POST", "/v1/auth/access_token"),
    )
    for case, body in BODIES.items():
        for method, path in routes:
            answer = await product.api.request(method, path, content=body, headers=JSON)
            assert answer.status_code == 422, f"{case}, {method} {path}: {answer.status_code} {answer.text[:300]}"
            message = refused(answer, 422, "invalid_request")
            assert len(message) < 2000, f"{case}: the message repeats what was sent"
    assert len(granted(await product.api.get("/v1/actions"), "actions")) == 1


async def test_deep_or_odd_values_inside_a_good_request_are_refused_or_kept_faithfully(product: Product) -> None:
    await product.action(invocationMethod=product.webhook(body="{{ .inputs }}"))
    huge = b"1" + b"0" * 400
    for case, value in {
        "an integer beyond doubles": b"123456789012345678901234567890",
        "an integer of 400 digits": huge,
        "an integer of 5000 digits": b"9" * 5000,
        "an exponent": b"1e300",
        "a tiny number": b"1e-400",
        "fifty levels": b"[" * 50 + b"]" * 50,
        "the highest character": b'"\xf4\x8f\xbf\xbf"',
        "a pair of surrogates": b'"\\ud83d\\ude80"',
        "a repeated key": b'{"a":1,"a":2}',
        "an empty key": b'{"":1}',
        "a key of Python": b'{"__proto__":{"x":1},"__class__":1}',
        "a long text": b'"' + b"x" * 500_000 + b'"',
    }.items():
        body = b'{"properties":{"v":' + value + b"}}"
        answer = await product.api.post("/v1/actions/deploy/runs", content=body, headers=JSON)
        assert answer.status_code in (202, 422), f"{case}: {answer.status_code} {answer.text[:300]}"
        if answer.status_code == 202:
            ended = await product.until(granted(answer, "run", status=202)["id"])
            assert ended["status"] == "SUCCESS", f"{case}: {ended['summary']}"
        else:
            refused(answer, 422, None)


async def test_the_same_request_with_another_content_type_is_refused_or_understood(product: Product) -> None:
    document = (ACTION % b'"T"').decode()
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/xml",
        "x",
    ):
        headers = {"Content-Type": content_type}
        refused(await product.api.post("/v1/actions", content=document, headers=headers), 422, "invalid_request")
    refused(await product.api.post("/v1/actions", data={"identifier": "deploy"}), 422, "invalid_request")
    for content_type in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"):
        headers = {"Content-Type": content_type}
        answer = await product.api.post("/v1/actions", content=document, headers=headers)
        granted(answer, "action", status=200)
        assert (await product.api.delete("/v1/actions/deploy")).status_code == 200


def _padded(size: int) -> bytes:
    return ACTION % (b'"' + b"x" * (size - len(ACTION % b'""')) + b'"')


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_over_one_mebibyte_is_413_and_one_of_exactly_that_is_taken(
    product: Product, declared: bool
) -> None:
    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    async def send(body: bytes) -> httpx.Response:
        content: Any = body if declared else chunks(body)
        return await product.api.post("/v1/actions", content=content, headers=JSON)

    assert len(_padded(LIMIT)) == LIMIT
    for size in (LIMIT + 1, 3 * LIMIT):
        refused(await send(_padded(size)), 413, None, str(LIMIT))
    assert granted(await product.api.get("/v1/actions"), "actions") == []
    granted(await send(_padded(LIMIT)), "action")


async def test_a_large_body_is_refused_by_every_route_that_reads_one(product: Product) -> None:
    body = b'{"a":"' + b"x" * LIMIT + b'"}'
    run = "/v1/actions/runs/r_0000000000000000"
    for method, path in (
        ("PUT", "/v1/actions/x"),
        ("PATCH", "/v1/actions/x/permissions"),
        ("POST", "/v1/actions/x/runs"),
        ("PATCH", run),
        ("POST", f"{run}/logs"),
        ("PATCH", f"{run}/response"),
        ("PATCH", f"{run}/approval"),
        ("POST", "/v1/organization/secrets"),
        ("POST", "/v1/auth/access_token"),
    ):
        refused(await product.api.request(method, path, content=body, headers=JSON), 413, None)


async def test_every_answer_names_itself(product: Product) -> None:
    for path in ("/v1/actions", "/v1/nothing", "/v1/actions/nothing"):
        assert (await product.api.get(path)).headers["x-trace-id"]
    echoed = await product.api.get("/v1/actions", headers={"x-trace-id": "mine"})
    assert echoed.headers["x-trace-id"] == "mine"


async def test_odd_queries_are_tolerated_or_refused_in_the_one_shape(product: Product) -> None:
    for query in (
        "a=%00",
        "a=%ff",
        "%ff=1",
        "=",
        "&&&",
        "a",
        "limit=1&limit=2",
        "a[b]=c",
        "a=" + "x" * 5000,
    ):
        granted(await product.api.get(f"/v1/actions/runs?{query}"), "runs")
    for query in ("entity=%00", "external_run_id=%00", "user_email=%00", "action=%ff", "blueprint=%ED%A0%80"):
        answer = await product.api.get(f"/v1/actions/runs?{query}")
        assert answer.status_code in (200, 422), f"{query}: {answer.text}"
    for limit in ("1e3", "0x10", "9" * 5000, "-0", "1.5", "NaN", "%00"):
        answer = await product.api.get(f"/v1/actions/runs?limit={limit}")
        assert answer.status_code == 422, f"{limit[:9]}: {answer.status_code} {answer.text[:200]}"
        refused(answer, 422, "invalid_request", "limit")
