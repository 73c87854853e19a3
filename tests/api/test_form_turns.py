"""Showing forms takes turns, and runs do not wait for those who type."""

import asyncio
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from api import form_options, forms
from domain.jq import Evaluator
from tests.api.answers import granted, refused
from tests.support.product import running

FORM = "/v1/actions/deploy/form"


async def test_who_types_waits_for_others_and_who_runs_does_not(
    clock: WorkflowEnvironment, evaluate: Evaluator, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def waits(*_: Any, **__: Any) -> None:
        begun.set()
        await released.wait()

    monkeypatch.setattr(form_options, "PATIENCE", 0.05)
    async with running(clock, evaluate, sqlite_url, worker=False) as product:
        await product.action(inputs={"size": {"type": "number", "default": {"jqQuery": "3"}}})
        monkeypatch.setattr(forms, "target_of", waits)
        first = asyncio.create_task(product.api.post(FORM, json={}))
        await begun.wait()
        refused(await product.api.post(FORM, json={}), 503, "service_unavailable", "many people are filling in forms")
        assert (await product.start())["properties"] == {"size": 3}
        released.set()
        for answer in (await first, await product.api.post(FORM, json={})):
            assert granted(answer, "form")["inputs"][0]["value"] == 3


@pytest.mark.parametrize(("jq_processes", "several"), [(1, 1), (2, 1), (8, 7)])
async def test_one_jq_process_is_left_to_others(jq_processes: int, several: int) -> None:
    turns = form_options.form_turns(jq_processes)
    begun = 0

    async def work() -> None:
        nonlocal begun
        async with turns.one():
            begun += 1
            await asyncio.Event().wait()

    working = [asyncio.create_task(work()) for _ in range(9)]
    await asyncio.sleep(0.01)
    assert begun == several
    for one in working:
        one.cancel()
    await asyncio.gather(*working, return_exceptions=True)
