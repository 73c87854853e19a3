"""Programs that loop, fork, pry or print without end: in policies and forms, while others are served."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from runtime.jq_pool import JqPool, Limits
from tests.api.answers import granted, refused
from tests.support.product import Json, Product, running

ENDLESS = "[limit(1e9; repeat(1))] | length"
HUGE = '"x" * 1e9 | length'
PRINTS = "[range(5e5)]"
DEEP = "reduce range(1e5) as $n (0; [.])"
RECURSES = "def f: [f]; f"
PRIES = "[env, $ENV] | map(length) | add > 0 or (env.PATH != null) or ($ENV.HOME != null)"
OUTSIDE = ["input", "inputs", "halt", 'include "x"; 1', 'import "os" as os; 1', "input_filename", "$__prog_args"]
SECRET = "do not tell"


@pytest.fixture
async def product(
    clock: WorkflowEnvironment, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Product]:
    """With a pool of its own that is soon out of patience, in an environment with a secret."""
    monkeypatch.setenv("INTERLOCK_TEST_SECRET", SECRET)
    async with (
        JqPool(2, Limits(seconds=0.5, memory=2**28)) as evaluate,
        running(clock, evaluate, sqlite_url, worker=False) as made,
    ):
        yield made


def judged_by(condition: str) -> Json:
    rule = {"property": "$identifier", "operator": "=", "value": "none"}
    return {
        "execute": {"policy": {"queries": {"q": {"combinator": "and", "rules": [rule]}}, "conditions": [condition]}}
    }


@pytest.mark.parametrize("program", [ENDLESS, HUGE, PRINTS, DEEP, RECURSES, PRIES, *OUTSIDE])
async def test_a_policy_refuses_and_others_are_served_meanwhile(product: Product, program: str) -> None:
    await product.action()
    await product.action("other", inputs={"name": {"type": "string", "default": {"jqQuery": '"a" | ascii_upcase'}}})
    granted(await product.api.patch("/v1/actions/deploy/permissions", json=judged_by(program)), "permissions")
    ada = await product.person("ada@x.io")
    began = time.perf_counter()
    hostile = asyncio.create_task(product.api.post("/v1/actions/deploy/runs", json={"properties": {}}, headers=ada))
    longest = 0.0
    while True:
        tick = time.perf_counter()
        run = await product.start("other")
        assert run["properties"] == {"name": "A"}
        longest = max(longest, time.perf_counter() - tick)
        if hostile.done():
            break
    answer = await hostile
    message = refused(answer, 403, "missing_permissions", "condition", program[:20])
    assert SECRET not in message
    assert time.perf_counter() - began < 20
    assert longest < 10, "nobody waited for all of it"


@pytest.mark.parametrize("program", [ENDLESS, HUGE, DEEP, PRINTS])
@pytest.mark.parametrize("part", ["default", "enum", "visible"])
async def test_a_form_is_refused_where_a_limit_is_reached(product: Product, part: str, program: str) -> None:
    inputs: Json = {"name": {"type": "string", part: {"jqQuery": program}}, "fine": {"type": "string", "default": "x"}}
    await product.action(inputs=inputs)
    answer = await product.api.post("/v1/actions/deploy/runs", json={"properties": {"fine": "y"}})
    refused(answer, 422, "user_inputs_schema_invalid", f"properties.name.{part} could not be computed")
    form: Any = granted(await product.api.post("/v1/actions/deploy/form", json={"properties": {}}), "form")
    assert "could not be computed" in str(form)


async def test_what_pries_finds_nothing(product: Product) -> None:
    program = "[env, $ENV, (try input catch .), input_filename, get_search_list] | tojson"
    await product.action(inputs={"name": {"type": "string", "default": {"jqQuery": program}}})
    run = await product.start()
    assert run["properties"] == {"name": '[{},{},"there is no other input",null,[]]'}
