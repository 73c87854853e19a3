"""The timeline of a run: what it shows, to whom, and what never."""

import base64
import json
from typing import Any

import pytest
from sqlmodel import select
from starlette.responses import JSONResponse, Response

from api.app import document
from store.tables import RunAttemptRow
from tests.api.answers import granted, refused
from tests.support.backend import Call
from tests.support.product import Product

Json = dict[str, Any]
MASK = "********"


async def timeline(product: Product, run: Json, query: str = "", **how: Any) -> list[Json]:
    path = f"/v1/actions/runs/{run['id']}/timeline{query}"
    told: list[Json] = granted(await product.api.get(path, **how), "timeline")
    return told


async def attempt(product: Product, **method: Any) -> Json:
    """The one attempt of a run of a new action."""
    await product.action(invocationMethod=product.webhook(**method))
    run = await product.until((await product.start())["id"])
    told = await timeline(product, run)
    assert [entry["kind"] for entry in told] == ["RECORDED", "ATTEMPT", "ENDED"]
    made: Json = told[1]["attempt"]
    return made


async def test_a_run_is_told_from_its_beginning_to_its_end(product: Product) -> None:
    person = await product.person("ada@example.com")
    await product.action(invocationMethod=product.webhook(synchronized=False, body={"n": 1}))
    run = await product.start(headers=person)
    await product.backend.called()
    path = f"/v1/actions/runs/{run['id']}"
    granted(await product.api.patch(path, json={"statusLabel": "half", "link": "https://a"}), "run")
    line = {"message": "done", "terminationStatus": "SUCCESS"}
    granted(await product.api.post(f"{path}/logs", json=line), "runLog", status=201)
    told = await timeline(product, run)
    kinds = {entry["kind"] for entry in told}
    assert kinds == {"RECORDED", "ATTEMPT", "REPORTED", "LOGGED", "ENDED"}
    assert [entry["at"] for entry in told] == sorted(entry["at"] for entry in told)
    machine = product.organization.client_id
    assert (told[0]["kind"], told[0]["by"]) == ("RECORDED", run["createdBy"])
    assert (told[-1]["kind"], told[-1]["status"], told[-1]["by"]) == ("ENDED", "SUCCESS", machine)
    (reported,) = (entry for entry in told if entry["kind"] == "REPORTED")
    assert (reported["statusLabel"], reported["link"], reported["by"]) == ("half", ["https://a"], machine)
    assert await timeline(product, run, "?limit=2&offset=1") == told[1:3]


async def test_an_attempt_shows_what_was_sent_and_answered(product: Product) -> None:
    made = await attempt(product, url=f"{product.backend.url}/hook?page=2", body={"n": 1}, headers={"X-Note": "hi"})
    (exchange,) = made["exchanges"]
    request, answer = exchange["request"], exchange["answer"]
    assert (made["kind"], made["outcome"], "said" in made) == ("INVOKE", "ACCEPTED", False)
    assert (request["method"], request["url"]) == ("POST", f"{product.backend.url}/hook?page=2")
    assert (request["body"], request["size"], request["headers"]["X-Note"]) == ('{"n":1}', 7, "hi")
    assert (answer["status"], answer["body"], answer["cut"]) == (200, '{"done":true}', False)
    assert answer["headers"]["content-type"] == "application/json"
    assert exchange["milliseconds"] >= 0


async def test_credentials_are_masked_also_those_that_are_no_secrets_of_ours(product: Product) -> None:
    async def echo(call: Call) -> Response:
        sent = {**call.headers, "q": call.query}
        said = {"Location": "https://x:canary-l@there/?token=canary-t", "Set-Cookie": "canary-c"}
        return JSONResponse({"sent": sent, "access_token": "canary-n", "ok": True}, headers=said)

    product.backend.answer = echo
    headers = {"Authorization": "Bearer canary-a", "Private-Token": "canary-p", "X-Api-Key": "canary-k"}
    url = product.backend.url.replace("//", "//ada:canary-u@") + "/hook?token=canary-q&page=2"
    made = await attempt(product, url=url, headers=headers, body={"password": "canary-b", "n": 1})
    (exchange,) = made["exchanges"]
    assert exchange["request"]["headers"]["X-Port-Signature"] == MASK
    assert exchange["request"]["url"].endswith(f"/hook?token={MASK}&page=2")
    assert json.loads(exchange["request"]["body"]) == {"password": MASK, "n": 1}
    assert json.loads(exchange["answer"]["body"])["access_token"] == MASK
    text = json.dumps(made)
    assert "canary" not in text
    assert base64.b64encode(b"ada:canary-u").decode() not in text
    assert product.backend.calls[0].headers["x-port-signature"] not in text


SECRET = "canary-Zebra.53471"
MADE = {
    "half": "{{ .secrets.KEY[:11] }}",
    "short": "{{ .secrets.KEY[7:10] }}",
    "bare": '{{ .secrets.KEY | ltrimstr("canary-") }}',
    "backwards": "{{ .secrets.KEY | explode | reverse | implode }}",
    "numbers": "{{ .secrets.KEY | explode }}",
    "spelled": '{{ .secrets.KEY | explode | map(tostring) | join(" ") }}',
    "number": "{{ .secrets.KEY[-5:] | tonumber }}",
    "length": "{{ .secrets.KEY | length }}",
    "within": "a-{{ .secrets.KEY[7:12] }}-b",
    "nested": '{{ {"Zebra": [.secrets.KEY[7:12], {"k": .secrets.KEY[12:]}]} }}',
    "word": '{{ if .secrets.KEY then "prod" else "test" end }}',
    "plain": "{{ .action.identifier }}",
}
TOLD = ["canary", "Zeb", "zeb", "53471", "arbeZ", "17435", "99 97", "99,97", "90,101"]
"""Parts of the secret, however it was made."""


async def of_secrets(product: Product, **method: Any) -> Json:
    """The only exchange of a run whose programs make something of a secret."""
    await product.api.post("/v1/organization/secrets", json={"secretName": "KEY", "secretValue": SECRET})
    return (await attempt(product, **method))["exchanges"][0]  # type: ignore[no-any-return]


async def test_what_programs_make_of_secrets_is_masked_as_in_the_payload(product: Product) -> None:
    url = product.backend.url + "/{{ .secrets.KEY[:11] }}?q={{ .secrets.KEY | @uri }}&half={{ .secrets.KEY[7:12] }}"
    headers = {"X-Half": MADE["half"], "X-Back": MADE["backwards"], "X-Word": "{{ .action.identifier }}"}
    exchange = await of_secrets(product, url=url, headers=headers, body=MADE)

    sent = json.loads(product.backend.calls[0].body)
    assert (sent["half"], sent["short"], sent["number"], sent["length"]) == ("canary-Zebr", "Zeb", 53471, 18)
    assert json.loads(exchange["request"]["body"]) == {
        **dict.fromkeys(MADE, MASK),
        "within": f"a-{MASK}-b",
        "numbers": [MASK] * len(SECRET),
        "nested": {MASK: [MASK, {MASK: MASK}]},
        "plain": "deploy",
    }
    assert exchange["request"]["headers"]["X-Word"] == "deploy"
    assert not [part for part in TOLD if part in json.dumps(exchange["request"])]
    async with product.database.read() as session:
        kept = (await session.exec(select(RunAttemptRow.document))).all()
    assert kept
    assert not [part for part in TOLD if part in json.dumps(kept)]


async def test_an_answer_is_for_programs_and_what_is_shown_of_it_for_people(product: Product) -> None:
    async def echo(call: Call) -> Response:
        return JSONResponse({"env": "prod", "half": json.loads(call.body)["half"], "all": SECRET})

    product.backend.answer = echo
    exchange = await of_secrets(product, body=MADE)
    (run,) = granted(await product.api.get("/v1/actions/runs"), "runs")

    assert json.loads(exchange["answer"]["body"]) == {"env": MASK, "half": MASK, "all": MASK}
    assert (run["response"]["env"], run["response"]["all"]) == ("prod", MASK)


async def test_a_failure_does_not_tell_what_was_made_of_a_secret(product: Product) -> None:
    async def echo(call: Call) -> Response:
        return Response(f"no {json.loads(call.body)['half']} here", status_code=400)

    product.backend.answer = echo
    await of_secrets(product, body=MADE)
    (run,) = granted(await product.api.get("/v1/actions/runs"), "runs")

    assert (run["status"], MASK in run["summary"]) == ("FAILURE", True)
    assert "canary" not in run["summary"]
    assert "canary" not in json.dumps(await timeline(product, run))
    assert "canary" not in json.dumps(granted(await product.api.get(f"/v1/actions/runs/{run['id']}/logs"), "runLogs"))


@pytest.mark.parametrize("program", ["[range(2000) as $n | .secrets.KEY + ($n | tostring)]", ".secrets.KEY * 500"])
async def test_where_much_is_made_of_a_secret_nothing_is_shown(product: Product, program: str) -> None:
    exchange = await of_secrets(product, url=f"{product.backend.url}/hook?n=1", body={"much": f"{{{{ {program} }}}}"})

    assert (exchange["request"]["body"], exchange["request"]["url"]) == (MASK, MASK)
    assert "Zebra" not in json.dumps(exchange)


async def test_long_bodies_are_cut(product: Product) -> None:
    async def long(call: Call) -> Response:
        return Response(b"y" * 100_000)

    product.backend.answer = long
    made = await attempt(product, body={"x": "x" * 100_000})
    (exchange,) = made["exchanges"]
    assert (len(exchange["request"]["body"]), exchange["request"]["size"]) == (64 * 1024, 100_008)
    assert (len(exchange["answer"]["body"]), exchange["answer"]["cut"]) == (16 * 1024, True)


async def test_the_entity_of_the_message_for_older_receivers_is_not_shown(product: Product) -> None:
    await product.entity("cart", title="canary of the catalog")
    trigger = {
        "type": "self-service",
        "operation": "DAY-2",
        "blueprintIdentifier": "service",
        "userInputs": {"properties": {}, "required": []},
    }
    method = {key: value for key, value in product.webhook().items() if key != "body"}
    await product.action(trigger=trigger, invocationMethod=method)
    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {}, "entity": "cart"})
    run = await product.until(granted(answer, "run", status=202)["id"])
    assert b"canary of the catalog" in product.backend.calls[0].body
    told = await timeline(product, run)
    assert "canary" not in json.dumps(told)
    (made,) = (entry["attempt"] for entry in told if entry["kind"] == "ATTEMPT")
    body = json.loads(made["exchanges"][0]["request"]["body"])
    assert (body["payload"]["entity"], body["context"]["runId"]) == (MASK, run["id"])


@pytest.mark.parametrize(
    "method", [{"url": "{{ .secrets.KEY }}"}, {"body": {"{{ .secrets.KEY | length }}": 1}}], ids=["no URL", "no key"]
)
async def test_what_cannot_be_rendered_is_an_attempt_that_called_nobody(product: Product, method: Json) -> None:
    await product.api.post("/v1/organization/secrets", json={"secretName": "KEY", "secretValue": "no/url"})
    await product.action(invocationMethod=product.webhook(**method))
    run = await product.until((await product.start())["id"])
    (made,) = (entry["attempt"] for entry in await timeline(product, run) if entry["kind"] == "ATTEMPT")
    assert (made["outcome"], made["exchanges"], made["said"]) == ("REFUSED", [], run["summary"])
    logged = granted(await product.api.get(f"/v1/actions/runs/{run['id']}/logs"), "runLogs")
    assert [line["message"] for line in logged] == [run["summary"]]


@pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?offset=-1", "?limit=x"])
async def test_pages_have_sizes(product: Product, query: str) -> None:
    refused(await product.api.get(f"/v1/actions/runs/r_1/timeline{query}"), 422, "invalid_request")


async def test_a_run_that_is_not_there_has_none(product: Product) -> None:
    refused(await product.api.get("/v1/actions/runs/r_1/timeline"), 404, "not_found", "r_1")


def test_entries_are_told_apart_by_their_kind_in_the_openapi_document() -> None:
    schemas = json.loads(document())["components"]["schemas"]
    items = schemas["RunTimeline"]["properties"]["timeline"]["items"]
    assert {"RECORDED", "ATTEMPT", "ATTEMPT_LOST", "ENDED"} <= items["discriminator"]["mapping"].keys()
