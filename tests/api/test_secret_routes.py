"""Secrets: kept, used and never told again, wherever one looks."""

import asyncio
import base64
import json
import logging
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.responses import JSONResponse, Response
from temporalio.testing import WorkflowEnvironment

from tests.api.answers import Json, granted, refused
from tests.api.conftest import Answering
from tests.support.backend import Call
from tests.support.product import Product

SECRETS = "/v1/organization/secrets"
SECRET_INPUTS: dict[str, Json] = {
    "pw": {"type": "string", "encryption": "aes256-gcm", "minLength": 4, "pattern": "^[^!]+$"},
    "login": {"type": "object", "encryption": "aes256-gcm"},
}


async def _keep(product: Product, name: str, value: str, **more: Any) -> Json:
    body = {"secretName": name, "secretValue": value, **more}
    secret: Json = granted(await product.api.post(SECRETS, json=body), "secret")
    return secret


def _decrypted(product: Product, wire: str) -> str:
    """As receivers do it: base64 of IV[16], ciphertext, tag[16]; the key is the head of the client secret."""
    raw = base64.b64decode(wire, validate=True)
    key = product.organization.client_secret.encode()[:32]
    return AESGCM(key).decrypt(raw[:16], raw[16:], None).decode()


def _spellings(canary: str) -> set[str]:
    """The value as bodies, URLs, JSON and base64 write it, at each of the three places base64 can start."""
    encoded = {base64.b64encode(b"x" * pad + canary.encode()).decode()[4 * bool(pad) : -4] for pad in range(3)}
    return {canary, quote(canary, safe=""), quote_plus(canary), json.dumps(canary)[1:-1], *encoded}


async def test_a_secret_is_described_and_its_value_never_told(product: Product, answers: list[httpx.Response]) -> None:
    value = "v3ry-s3cret-value"
    created = await _keep(product, "TOKEN-1_a", value, description="for the cluster")
    assert (created["secretName"], created["description"]) == ("TOKEN-1_a", "for the cluster")
    await _keep(product, "OTHER", value)
    assert granted(await product.api.get(f"{SECRETS}/TOKEN-1_a"), "secret")["description"] == "for the cluster"
    listed = granted(await product.api.get(SECRETS), "secrets")
    assert {one["secretName"] for one in listed} == {"TOKEN-1_a", "OTHER"}

    patched = granted(await product.api.patch(f"{SECRETS}/TOKEN-1_a", json={"description": "new"}), "secret")
    assert patched["description"] == "new"
    granted(await product.api.patch(f"{SECRETS}/TOKEN-1_a", json={"secretValue": value + "2"}), "secret")
    assert granted(await product.api.get(f"{SECRETS}/TOKEN-1_a"), "secret")["description"] == "new"
    refused(
        await product.api.post(SECRETS, json={"secretName": "OTHER", "secretValue": value}), 409, "identifier_taken"
    )
    refused(await product.api.patch(f"{SECRETS}/NOTHING", json={"description": "x"}), 404, "not_found", "NOTHING")

    answer = await product.api.delete(f"{SECRETS}/OTHER")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    refused(await product.api.get(f"{SECRETS}/OTHER"), 404, "not_found", "OTHER")
    refused(await product.api.delete(f"{SECRETS}/OTHER"), 404, "not_found")
    assert any("TOKEN-1_a" in answer.text for answer in answers)
    assert not any(value in answer.text for answer in answers)


async def test_secrets_of_the_wrong_shape_are_refused_without_repeating_them(product: Product) -> None:
    value = "v3ry-s3cret-value"
    good = {"secretName": "A", "secretValue": value}
    for body in (
        {},
        {"secretName": "A"},
        {"secretValue": value},
        good | {"secretName": ""},
        good | {"secretName": "a" * 51},
        good | {"secretName": "a b"},
        good | {"secretName": "a.b"},
        good | {"secretName": "ä"},
        good | {"secretName": "a\n"},
        good | {"secretName": 1},
        good | {"secretValue": [value]},
        good | {"secretValue": None},
        good | {"secretName": value + "!"} | {"secretValue": {"v": value}},
        good | {"description": "d" * 201},
        good | {"description": 1},
        good | {"value": value},
        [good],
    ):
        answer = await product.api.post(SECRETS, json=body)
        assert answer.status_code == 422, f"{body}: {answer.text}"
        assert value not in refused(answer, 422, "invalid_request")
    assert granted(await product.api.get(SECRETS), "secrets") == []
    await _keep(product, "a" * 50, value, description="d" * 200)
    patches: list[Any] = [{"secretName": "B"}, {"secretValue": 1}, {"description": "d" * 201}, {"more": 1}, []]
    for body in patches:
        refused(await product.api.patch(f"{SECRETS}/{'a' * 50}", json=body), 422, "invalid_request")


async def test_only_admins_and_machines_keep_secrets(product: Product) -> None:
    member, admin = await product.person("m@example.com"), await product.person("a@example.com", "Admin")
    body = {"secretName": "A", "secretValue": "value"}
    refused(await product.api.post(SECRETS, json=body, headers=member), 403, "missing_permissions")
    granted(await product.api.post(SECRETS, json=body, headers=admin), "secret")
    refused(
        await product.api.patch(f"{SECRETS}/A", json={"secretValue": "x"}, headers=member), 403, "missing_permissions"
    )
    refused(await product.api.delete(f"{SECRETS}/A", headers=member), 403, "missing_permissions")


async def test_a_secret_reaches_the_backend_and_nobody_else(product: Product) -> None:
    value = "s3cr3t/v@lue?&=é"

    async def echo(call: Call) -> Response:
        seen = {"path": call.path, "query": call.query, "auth": call.headers["x-auth"], "body": call.body.decode()}
        return JSONResponse(
            {"seen": seen, "list": [value, {value: 1}], "b64": base64.b64encode(value.encode()).decode()}
        )

    product.backend.answer = echo
    await _keep(product, "TOKEN", value)
    await _keep(product, "PLAIN", "plain-s3cret")
    await product.action(
        invocationMethod=product.webhook(
            url=product.backend.url + "/hook/{{ .secrets.PLAIN }}?t={{ .secrets.PLAIN }}",
            headers={"X-Auth": "Bearer {{ .secrets.PLAIN }}"},
            body={"token": "{{ .secrets.TOKEN }}", "mixed": "a {{ .secrets.TOKEN }} b", "public": "{{ .run.id }}"},
        )
    )
    run = await product.start()
    ended = await product.until(run["id"])
    assert ended["status"] == "SUCCESS"
    call = product.backend.calls[0]
    assert call.path == "/hook/plain-s3cret"
    assert call.query == "t=plain-s3cret"
    assert call.headers["x-auth"] == "Bearer plain-s3cret"
    assert call.json == {"token": value, "mixed": f"a {value} b", "public": run["id"]}

    assert ended["payload"]["body"]["public"] == run["id"]
    assert ended["response"]["seen"]["path"].startswith("/hook/")
    text = json.dumps([run, ended], ensure_ascii=False)
    for secret in (value, "plain-s3cret"):
        for spelling in _spellings(secret):
            assert spelling not in text, f"{spelling} is in the run"


async def test_an_expression_cannot_reach_secrets_it_does_not_name(product: Product) -> None:
    await _keep(product, "TOKEN", "s3cret-value")
    await product.action(
        invocationMethod=product.webhook(
            body={"all": "{{ . }}", "keys": '{{ .["sec" + "rets"] }}', "missing": "{{ .secrets.NOTHING }}"}
        )
    )
    run = await product.start()
    ended = await product.until(run["id"])
    body = product.backend.calls[0].json
    assert body["all"]["run"]["id"] == run["id"]
    assert "secrets" not in body["all"]
    assert body["keys"] is None
    assert body["missing"] is None
    assert "s3cret-value" not in json.dumps(ended)


async def test_a_backend_that_fails_with_a_secret_in_its_answer_does_not_bring_it_back(
    product: Product, answering: Answering
) -> None:
    await _keep(product, "TOKEN", "s3cret-value")
    await product.action(invocationMethod=product.webhook(body={"t": "{{ .secrets.TOKEN }}"}))
    answering(500, {"error": "token s3cret-value is wrong", "as": ["s3cret-value"]})
    ended = await product.until((await product.start())["id"])
    assert ended["status"] == "FAILURE"
    assert "500" in ended["summary"]
    assert "is wrong" in json.dumps(ended["response"])
    assert "s3cret-value" not in json.dumps([ended, await product.logs(ended["id"])])


async def test_secret_inputs_are_ciphertext_everywhere_and_the_receiver_can_read_them(product: Product) -> None:
    await product.action(
        inputs={**SECRET_INPUTS, "name": {"type": "string"}},
        invocationMethod=product.webhook(body="{{ .inputs }}"),
    )
    login = {"user": "bob", "pw": "xyzzy-s3cret"}
    run = await product.start(properties={"name": "cart", "pw": "hunter2-s3cret", "login": login})
    ended = await product.until(run["id"])
    for shown in (run["properties"], ended["properties"], ended["payload"]["body"], product.backend.calls[0].json):
        assert shown["name"] == "cart"
        assert _decrypted(product, shown["pw"]) == "hunter2-s3cret"
        assert json.loads(_decrypted(product, shown["login"])) == login
    text = json.dumps([run, ended]) + product.backend.calls[0].body.decode()
    assert "hunter2" not in text
    assert "xyzzy" not in text
    again = await product.start(properties={"pw": "hunter2-s3cret"})
    assert again["properties"]["pw"] != run["properties"]["pw"], "each has an IV of its own"


async def test_a_secret_input_is_checked_before_it_is_encrypted_and_not_repeated(product: Product) -> None:
    await product.action(inputs=SECRET_INPUTS)
    for properties, name in (
        ({"pw": "s3!"}, "pw"),
        ({"pw": "hunter2-s3cret!"}, "pw"),
        ({"pw": {"deep": "hunter2-s3cret"}}, "pw"),
        ({"login": "hunter2-s3cret"}, "login"),
    ):
        answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": properties})
        message = refused(answer, 422, "user_inputs_schema_invalid", name)
        assert "hunter2" not in message
        assert "s3!" not in message
    assert granted(await product.api.get("/v1/actions/runs"), "runs") == []


async def test_a_secret_encrypted_by_the_client_is_passed_on_as_it_is(product: Product) -> None:
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    key = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    inputs = {"pw": {"type": "string", "encryption": {"algorithm": "client-side", "key": key}}}
    await product.action(inputs=inputs, invocationMethod=product.webhook(body="{{ .inputs }}"))
    sealed = base64.b64encode(bytes(range(256)) + b"x" * 60).decode()
    run = await product.start(properties={"pw": sealed})
    await product.until(run["id"])
    assert product.backend.calls[0].json == {"pw": sealed}
    for plain in ("hunter2", base64.b64encode(b"short").decode(), {"a": 1}):
        answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {"pw": plain}})
        assert "hunter2" not in refused(answer, 422, "user_inputs_schema_invalid", "pw")


CANARIES = {
    "organization secret": "canary/ORG+s3cret=ä-0123456789",
    "secret of a url": "canary-URL-s3cret-0123456789",
    "secret input": "canary/INPUT+s3cret=ö-0123456789",
    "secret object": "canary-OBJECT-s3cret-0123456789",
}
LANDMARK = "landmark-that-is-no-secret"


async def _everything_kept(
    product: Product, runs: list[str], caplog: pytest.LogCaptureFixture, answers: list[httpx.Response]
) -> dict[str, bytes]:
    """Every place where something could have been left, as bytes."""
    places: dict[str, bytes] = {}
    for run in runs:
        history = await product.temporal.get_workflow_handle(run).fetch_history()
        places[f"history of {run}"] = b"\n".join(event.SerializeToString() for event in history.events)
        places[f"history of {run} as JSON"] = history.to_json().encode()
    file = product.settings.database_url.split("///", 1)[1]

    def dumped() -> str:
        connection = sqlite3.connect(file)
        try:
            return "\n".join(connection.iterdump())
        finally:
            connection.close()

    dump = await asyncio.to_thread(dumped)
    places["SQL"] = dump.encode()
    places["SQL, escapes undone"] = dump.encode().decode("unicode_escape", errors="replace").encode("utf-8", "replace")
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn", "asyncio", "aiosqlite"))]
    formatter = logging.Formatter()
    places["logs"] = "\n".join(f"{formatter.format(record)} {vars(record)}" for record in ours).encode()
    places["answers"] = "\n".join(f"{one.headers} {one.text}" for one in answers).encode()
    return places


def _found(places: dict[str, bytes], wanted: str) -> Iterator[str]:
    for place, content in places.items():
        for spelling in _spellings(wanted):
            if spelling.encode() in content:
                yield f"{spelling} in {place}"


async def test_no_secret_is_left_anywhere(
    product: Product, clock: WorkflowEnvironment, caplog: pytest.LogCaptureFixture, answers: list[httpx.Response]
) -> None:
    caplog.set_level(logging.DEBUG)
    org, url, plain, inner = CANARIES.values()
    await _keep(product, "ORG", org)
    await _keep(product, "URL", url)

    async def echo(call: Call) -> Response:
        body = {"echo": call.body.decode(), "path": call.path, "secret": org, "note": LANDMARK, "got": call.headers}
        status = 500 if "fails" in call.path else 200
        if "garbles" in call.path:
            return Response(f"<html>{org} {url}</html>", status_code=502, media_type="text/html")
        return JSONResponse(body, status_code=status)

    product.backend.answer = echo
    method = product.webhook(
        headers={"X-Url": "{{ .secrets.URL }}", "X-Landmark": LANDMARK},
        body={"o": "{{ .secrets.ORG }}", "i": "{{ .inputs }}", "l": LANDMARK, "u": ["{{ .secrets.URL }}"]},
    )
    at = product.backend.url
    again = {"attempts": 2, "wait": "PT0.1S", "statuses": [500, 502]}
    limits = {"run": {"timeLimit": "PT1H"}, "approval": {"timeLimit": "PT1H"}, "backend": {"retry": again}}
    ways: dict[str, Json] = {
        "works": {"url": f"{at}/works/{{{{ .secrets.URL }}}}"},
        "fails": {"url": f"{at}/fails/{{{{ .secrets.URL }}}}"},
        "garbles": {"url": f"{at}/garbles/{{{{ .secrets.URL }}}}"},
        "nobody": {"url": "http://127.0.0.1:1/{{ .secrets.URL }}"},
        "nowhere": {"url": "http://{{ .secrets.URL }}.invalid/"},
        "no url": {"url": "{{ .secrets.ORG }}"},
        "no method": {"method": "{{ .secrets.URL }}"},
        "bad header": {"headers": {"X-Url": "a\n{{ .secrets.ORG }}"}},
        "bad switch": {"synchronized": "{{ .secrets.ORG }}"},
        "bad jq": {"body": {"x": "{{ .secrets.ORG | error }}", "y": "{{ .secrets.ORG | tonumber }}", "l": LANDMARK}},
        "bad key": {"body": {"{{ [.secrets.ORG] }}": "x"}},
        "bad spread": {"body": {"{{ spreadValue() }}": "{{ .secrets.ORG }}"}},
        "silent": {"synchronized": False},
    }
    form = {name: {"type": one["type"], "encryption": one["encryption"]} for name, one in SECRET_INPUTS.items()}
    runs: list[str] = []
    properties = {"pw": plain, "login": {"pw": inner}, "landmark": LANDMARK}
    for number, (name, how) in enumerate(ways.items()):
        await product.action(f"a{number}", form, title=name, interlock=limits, invocationMethod={**method, **how})
        answer = await product.api.post(f"/v1/actions/a{number}/runs", json={"properties": properties})
        if answer.status_code == 202:
            runs.append(answer.json()["run"]["id"])
        else:
            refused(answer, 422, None)
    await product.action("asks", requiredApproval=True, interlock=limits, invocationMethod=method)
    waits = (await product.start("asks", {"pw": LANDMARK}))["id"]
    silent = runs[-1]
    statuses = {(await product.until(run))["status"] for run in runs[:-1]}
    assert statuses == {"SUCCESS", "FAILURE"}
    async with asyncio.timeout(10):
        while not any(call.path == "/hook" for call in product.backend.calls):
            await asyncio.sleep(0.01)
    await clock.sleep(2 * 3600)
    assert (await product.until(silent))["status"] == "FAILURE"
    assert (await product.until(waits))["status"] == "DECLINED"
    runs.append(waits)
    outcomes = set()
    for run in runs:
        await product.logs(run)
        told = granted(await product.api.get(f"/v1/actions/runs/{run}/timeline"), "timeline")
        outcomes |= {(one["attempt"]["outcome"], "againAt" in one["attempt"]) for one in told if "attempt" in one}
    assert {("ACCEPTED", False), ("REFUSED", True), ("REFUSED", False), ("UNREACHABLE", True)} <= outcomes
    granted(await product.api.get("/v1/actions/runs"), "runs")
    granted(await product.api.get("/v1/actions"), "actions")
    logging.getLogger(__name__).warning("a line with a landmark", extra={"landmark": LANDMARK})
    delivered = b"".join(call.body for call in product.backend.calls).decode()
    assert org in json.loads(product.backend.calls[0].body)["o"]
    assert LANDMARK in delivered

    places = await _everything_kept(product, runs, caplog, answers)
    for place in ("SQL", "answers"):
        assert list(_found({place: places[place]}, LANDMARK)), f"the search does not work for {place}"
    for place, content in places.items():
        if place.startswith("history"):
            identifier = place.split()[2]
            assert list(_found({place: content}, identifier)), f"the search does not work for {place}"
    assert list(_found({"logs": places["logs"]}, LANDMARK)), "the search does not work for logs"
    for kind, canary in {**CANARIES, "client secret": product.organization.client_secret}.items():
        assert list(_found(places, canary)) == [], kind


async def test_a_template_that_fails_is_told_once_also_beside_a_secret(product: Product) -> None:
    await product.api.post("/v1/organization/secrets", json={"secretName": "KEY", "secretValue": "k3y-of-ours"})
    body = {"bad": "{{ .inputs.name + 1 | nonsense }}", "key": "{{ .secrets.KEY }}"}
    await product.action(invocationMethod=product.webhook(body=body))
    run = await product.until((await product.start())["id"])
    assert product.backend.calls[0].json == {"bad": None, "key": "k3y-of-ours"}
    [line] = await product.logs(run["id"])
    assert "nonsense" in line
