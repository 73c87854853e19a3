"""What somebody may not see is, wherever they ask about it, told as if it was not there."""

from typing import Any

import httpx

from domain.jq import Evaluator
from tests.api.answers import Json, granted
from tests.support.chat import FakeSlack, signed, slash, without_temporal
from tests.support.product import Product

HIDDEN, NOWHERE = "hidden", "nowhere"
ADA = "U0ADA"


async def hide(product: Product) -> None:
    """An entity that Admins alone read, and an action that everybody may execute on it."""
    await product.entity(HIDDEN, title="The hidden one")
    read: Json = {"entities": {"read": {"roles": ["Admin"]}}}
    granted(await product.api.patch("/v1/blueprints/service/permissions", json=read), "permissions")
    form: Json = {"properties": {"x": {"type": "string", "format": "entity", "blueprint": "service"}}}
    trigger = {"type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "service", "userInputs": form}
    await product.action(trigger=trigger)
    await product.action("pick", inputs=form["properties"])


def told(answer: httpx.Response, name: str) -> tuple[int, Any]:
    """An answer without what differs between any two."""
    return answer.status_code, answer.text.replace(name, "…")


async def test_an_entity_that_may_not_be_read_is_one_that_is_not_there(product: Product) -> None:
    await hide(product)
    ada = await product.person("ada@example.com")

    async def asked(name: str) -> list[tuple[int, Any]]:
        api, on = product.api, {"entity": name}
        answers = [
            await api.get("/v1/actions", params={**on, "blueprint_identifier": "service"}, headers=ada),
            await api.post("/v1/actions/deploy/form", json=on, headers=ada),
            await api.post("/v1/actions/pick/form", json={"properties": {"x": name}}, headers=ada),
            await api.post("/v1/actions/deploy/runs", json={**on, "properties": {}}, headers=ada),
            await api.post("/v1/actions/deploy/runs?dry_run=true", json={**on, "properties": {}}, headers=ada),
            await api.post("/v1/actions/pick/runs", json={"properties": {"x": name}}, headers=ada),
            await api.post("/v1/actions/pick/runs?dry_run=true", json={"properties": {"x": name}}, headers=ada),
        ]
        return [told(answer, name) for answer in answers]

    hidden = await asked(HIDDEN)
    assert hidden == await asked(NOWHERE)
    assert [status for status, _ in hidden] == [404, 404, 200, 404, 200, 422, 200]
    assert "The hidden one" not in str(hidden)
    assert granted(await product.api.get("/v1/actions/runs"), "runs") == []


async def test_a_chat_tells_no_more_than_the_api(evaluate: Evaluator, sqlite_url: str) -> None:
    async with FakeSlack() as slack, without_temporal(evaluate, sqlite_url, **slack.settings) as product:
        slack.knows(ADA, "ada@example.com")
        await product.person("ada@example.com")
        await hide(product)
        await product.action("secret", title="The hidden action", requiredApproval=True, allowAnyoneToViewRuns=False)
        permit: Json = {"execute": {"roles": ["Admin"]}, "approve": {"roles": ["Admin"]}}
        granted(await product.api.patch("/v1/actions/secret/permissions", json=permit), "permissions")
        run = str((await product.start("secret"))["id"])

        async def hear(text: str) -> str:
            before, body = len(slack.told), slash(text, ADA, slack.response_url, trigger=text)
            headers = {"Authorization": ""} | signed(body)
            await product.api.post("/v1/chat/slack/commands", content=body, headers=headers)
            return str((await slack.heard(before + 1))["blocks"][0]["text"]["text"])

        pairs = {f"request deploy on {one}": one for one in (HIDDEN, NOWHERE)}
        assert len({(await hear(text)).replace(one, "…") for text, one in pairs.items()}) == 1
        nobody = "r_0000000000000000"
        for word in ("status", "approve", "decline"):
            assert (await hear(f"{word} {run}")).replace(run, "…") == (await hear(f"{word} {nobody}")).replace(
                nobody, "…"
            )
