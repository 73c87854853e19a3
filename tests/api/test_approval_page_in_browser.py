"""The approval page in a real browser: it shows what would be sent, and decides about nothing else."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.async_api import Page, async_playwright, expect

from domain.jq import Evaluator
from tests.api.answers import Json, granted
from tests.support.chat import without_temporal
from tests.support.product import Product

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECRETS = "/v1/organization/secrets"
PATIENCE = 30_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no browser here"),
    pytest.mark.timeout(180),
]


@asynccontextmanager
async def served(product: Product) -> AsyncIterator[str]:
    """The address at which a browser reaches the product."""
    transport = product.api._transport
    assert isinstance(transport, httpx.ASGITransport)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app: Any = transport.app
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", loop="none", ws="none"))
    task = asyncio.create_task(server._serve([listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.force_exit = server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def page_of(address: str, run: str) -> AsyncIterator[Page]:
    """The approval page of the run."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = await browser.new_page()
            page.set_default_timeout(PATIENCE)
            await page.goto(f"{address}/approvals/{run}")
            yield page
        finally:
            await browser.close()


async def test_a_decision_is_about_what_the_page_shows(evaluate: Evaluator, sqlite_url: str) -> None:
    expect.set_options(timeout=PATIENCE)
    async with without_temporal(evaluate, sqlite_url) as product:
        granted(await product.api.post(SECRETS, json={"secretName": "TOKEN", "secretValue": "hush-1"}), "secret")
        method = product.webhook(headers={"X-Token": "{{ .secrets.TOKEN }}"}, body={"to": "{{ .inputs.env }}"})
        await product.action(invocationMethod=method, requiredApproval=True, inputs={"env": {"type": "string"}})
        permit: Json = {"approve": {"roles": ["Approver"]}}
        granted(await product.api.patch("/v1/actions/deploy/permissions", json=permit), "permissions")
        ada = await product.person("ada@example.com", "Approver", "Member")
        run = (await product.start(properties={"env": "<b>prod</b>"}))["id"]
        async with served(product) as address, page_of(address, run) as page:
            await page.fill("#token", ada["Authorization"].removeprefix("Bearer "))
            await page.click("text=Show what would be run")
            await expect(page.locator("#said")).to_have_text("This run waits for a decision.")
            await expect(page.locator("#facts")).to_contain_text('"to": "<b>prod</b>"')
            assert "hush" not in await page.content()
            assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL", "looking decides nothing"

            change = {"secretValue": "hush-2"}
            assert (await product.api.patch(f"{SECRETS}/TOKEN", json=change)).status_code == 200
            await page.fill("#description", "as seen")
            await page.click("button[value=APPROVE]")
            await expect(page.locator("#said")).to_contain_text("Nothing was decided")
            assert (await product.get(run))["status"] == "WAITING_FOR_APPROVAL"

            await page.click("button[value=APPROVE]")
            await expect(page.locator("#said")).to_have_text("This run is now IN_PROGRESS.")
            await expect(page.locator("#facts")).to_contain_text("ada@example.com: APPROVED, as seen")
            await expect(page.locator("#decide")).to_be_hidden()
        assert (await product.get(run))["approval"]["state"] == "APPROVED"
