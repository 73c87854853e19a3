"""Access tokens: who gets one, what it says, and which ones are refused."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from runtime.tokens import Claims, Tokens
from tests.api.answers import granted, refused
from tests.support.databases import SqliteTemplate
from tests.support.product import Product, running

SIGNED = {
    "/v1/chat/slack/commands",
    "/v1/chat/slack/interactive",
    "/v1/chat/teams",
    "/v1/integrations/azure-devops/webhook",
    "/v1/integrations/github/webhook",
    "/v1/integrations/gitlab/webhook",
}
SAYS_ITSELF = {"/v1/auth/access_token", "/healthz", "/readyz", *SIGNED}
"""Routes that need no token, but credentials or a signature."""


async def _token(product: Product, body: Any) -> httpx.Response:
    return await product.api.post("/v1/auth/access_token", json=body)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_organization_gets_a_machine_token_and_a_person_gets_a_personal_one(product: Product) -> None:
    credentials = {"clientId": product.organization.client_id, "clientSecret": product.organization.client_secret}
    answer = await _token(product, credentials)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"ok", "accessToken", "expiresIn", "tokenType"}
    assert body["ok"] is True
    assert body["tokenType"] == "Bearer"
    assert type(body["expiresIn"]) is int

    claims = jwt.decode(body["accessToken"], options={"verify_signature": False})
    assert claims["isMachine"] is True
    assert claims["personalToken"] is False
    assert claims["orgId"].startswith("org_")
    assert abs(claims["exp"] - time.time() - body["expiresIn"]) < 5
    authorization = {"Authorization": f"{body['tokenType']} {body['accessToken']}"}
    granted(await product.api.get("/v1/actions", headers=authorization), "actions")

    person = await product.person("ada@example.com")
    claims = jwt.decode(person["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["isMachine"] is False
    assert claims["personalToken"] is True
    granted(await product.api.get("/v1/actions", headers=person), "actions")


async def test_tokens_are_given_for_right_credentials_only(product: Product) -> None:
    client_id, client_secret = product.organization.client_id, product.organization.client_secret
    without = httpx.Headers({"Authorization": ""})
    known = {"clientId": client_id, "clientSecret": client_secret}
    assert (await product.api.post("/v1/auth/access_token", json=known, headers=without)).status_code == 200

    for wrong in (
        {"clientId": client_id, "clientSecret": "wrong"},
        {"clientId": client_id, "clientSecret": ""},
        {"clientId": client_id, "clientSecret": client_secret + " "},
        {"clientId": client_id, "clientSecret": "pässwörd"},
        {"clientId": client_id.swapcase(), "clientSecret": client_secret},
        {"clientId": "nobody", "clientSecret": client_secret},
        {"clientId": "", "clientSecret": ""},
    ):
        message = refused(await _token(product, wrong), 401, "unauthorized")
        assert client_secret not in message

    for malformed in (
        {},
        {"clientId": client_id},
        {"clientSecret": client_secret},
        {"clientId": client_id, "clientSecret": None},
        {"clientId": 1, "clientSecret": client_secret},
        {"clientId": [client_id], "clientSecret": client_secret},
        {**known, "grant": "client_credentials"},
        [known],
        "clientId",
        None,
    ):
        assert client_secret not in refused(await _token(product, malformed), 422, "invalid_request")


async def test_every_route_asks_for_a_token_before_it_looks_at_anything_else(product: Product) -> None:
    product.api.headers.pop("Authorization")
    paths = (await product.api.get("/openapi.json")).json()["paths"]
    asked = 0
    for template, operations in paths.items():
        if template.startswith("/v1/ingest/"):  # the key in the path is the credential
            continue
        if template in SAYS_ITSELF or not template.startswith("/v1/"):
            continue
        path = template.replace("{run_id}", "r_0000000000000000").replace("{action_id}", "deploy")
        for method in operations.keys() & {"get", "post", "put", "patch", "delete"}:
            with_body: dict[str, Any] = {"json": {"nonsense": 1}} if method in ("post", "put", "patch") else {}
            refused(await product.api.request(method, path.replace("{name}", "x"), **with_body), 401, "unauthorized")
            asked += 1
    assert asked >= 15


async def test_a_body_that_is_no_json_is_not_read_without_a_token(product: Product) -> None:
    broken = {"content": b"{", "headers": {"Content-Type": "application/json", "Authorization": ""}}
    refused(await product.api.post("/v1/actions", **broken), 401, "unauthorized")  # type: ignore[arg-type]


async def test_tokens_that_are_not_ours_are_refused(product: Product) -> None:
    ours = product.api.headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(ours, options={"verify_signature": False})
    granted(await product.api.get("/v1/actions", headers=_bearer(ours)), "actions")

    header, body, signature = ours.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    person = (await product.person("eve@example.com"))["Authorization"].removeprefix("Bearer ")
    promoted = jwt.decode(person, options={"verify_signature": False}) | {"isMachine": True, "personalToken": False}
    promoted_body = base64.urlsafe_b64encode(json.dumps(promoted).encode()).decode().rstrip("=")
    own_secret = product.organization.client_secret
    for name, token in {
        "signed with another key": jwt.encode(claims, "k" * 64, algorithm="HS256"),
        "signed with the client secret": jwt.encode(claims, own_secret, algorithm="HS256"),
        "signed with the master key": jwt.encode(claims, "a master key for tests, long enough", algorithm="HS256"),
        "alg none, no signature": f"{none}.{body}.",
        "alg none, old signature": f"{none}.{body}.{signature}",
        "alg none by the library": jwt.encode(claims, "", algorithm="none"),
        "no signature": f"{header}.{body}.",
        "changed body": f"{person.split('.')[0]}.{promoted_body}.{person.split('.')[2]}",
        "cut": ours[:-5],
        "two parts": f"{header}.{body}",
        "empty parts": "..",
        "garbage": "garbage",
        "not base64": "ä.ö.ü".encode().decode("latin-1"),
        "very long": "a" * 20_000,
        "null claims": jwt.encode({**claims, "sub": "nobody"}, "x" * 64, algorithm="HS512"),
    }.items():
        headers = [(b"authorization", f"Bearer {token}".encode("latin-1"))]
        answer = await product.api.get("/v1/actions", headers=headers)
        assert answer.status_code == 401, name
        message = refused(answer, 401, "unauthorized")
        assert token not in message or len(token) < 5, name


async def test_a_header_that_holds_no_bearer_token_is_refused(product: Product) -> None:
    token = product.api.headers["Authorization"].removeprefix("Bearer ")
    for value in ("", "Bearer", "Bearer ", token, f"Basic {token}", f"Token {token}", f"Bearer {token} {token}"):
        refused(await product.api.get("/v1/actions", headers={"Authorization": value}), 401, "unauthorized")


async def test_an_expired_token_is_refused_and_a_new_one_works(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str
) -> None:
    async with running(clock, evaluate, sqlite_url, worker=False, access_token_lifetime="1") as product:
        await asyncio.sleep(2.1)
        refused(await product.api.get("/v1/actions"), 401, "unauthorized", "expired")

        fresh = await product.token(product.organization.client_id, product.organization.client_secret)
        granted(await product.api.get("/v1/actions", headers=_bearer(fresh)), "actions")


async def test_a_token_of_another_organization_is_refused(
    product: Product,
    clock: WorkflowEnvironment,
    evaluate: Evaluator,
    sqlite_template: SqliteTemplate,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = sqlite_template.copy(tmp_path_factory.mktemp("elsewhere"))
    async with running(clock, evaluate, elsewhere, worker=False) as other:
        granted(await other.api.get("/v1/actions"), "actions")
        foreign = {"Authorization": other.api.headers["Authorization"]}
        refused(await product.api.get("/v1/actions", headers=foreign), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_needs_no_token(product: Product, path: str) -> None:
    product.api.headers.pop("Authorization")
    assert (await product.api.get(path)).json()["ok"] is True


async def test_a_token_given_to_a_backend_starts_runs_and_administers_nothing(product: Product) -> None:
    await product.action()
    tokens = Tokens(product.settings.keys.token_keys, timedelta(minutes=1))
    organization = product.organization
    claims = Claims(organization.client_id, organization.id, machine=True, run_id="r_0123456789abcdef", depth=3)
    headers = {"Authorization": f"Bearer {tokens.issue(claims, at=datetime.now(UTC))}"}
    secret = {"secretName": "X", "secretValue": "y"}
    for method, path, body in (
        ("POST", "/v1/organization/secrets", secret),
        ("DELETE", "/v1/actions/deploy", None),
        ("PATCH", "/v1/actions/deploy/permissions", {"execute": {"roles": []}}),
    ):
        answer = await product.api.request(method, path, json=body, headers=headers)
        assert answer.status_code == 403, path
        assert "r_0123456789abcdef" in answer.json()["message"]
    started = await product.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=headers)
    assert started.status_code == 202
    assert started.json()["run"]["interlock"]["depth"] == 4


async def test_a_run_knows_the_chain_of_runs_that_led_to_it_and_a_chain_ends(product: Product) -> None:
    await product.action("first")
    await product.action("second")
    tokens = Tokens(product.settings.keys.token_keys, timedelta(minutes=1))
    organization = product.organization

    def on_behalf_of(run_id: str, depth: int) -> dict[str, str]:
        claims = Claims(organization.client_id, organization.id, machine=True, run_id=run_id, depth=depth)
        return _bearer(tokens.issue(claims, at=datetime.now(UTC)))

    one = await product.start("first")
    two = await product.start("second", headers=on_behalf_of(one["id"], 0))
    three = await product.start("first", headers=on_behalf_of(two["id"], 1))

    links = [{"run": one["id"], "action": "first"}, {"run": two["id"], "action": "second"}]
    chains = [(run["interlock"]["depth"], run["interlock"]["causes"]) for run in (one, two, three)]
    assert chains == [(0, []), (1, links[:1]), (2, links)]

    refusal = await product.api.post(
        "/v1/actions/second/runs", json={"properties": {}}, headers=on_behalf_of(three["id"], 20)
    )
    chain = f"first ({one['id']}) -> second ({two['id']}) -> first ({three['id']}) -> second"
    assert refused(refusal, 403, "missing_permissions").endswith(
        f"number 21 in a chain of runs that cause each other: {chain}"
    )
