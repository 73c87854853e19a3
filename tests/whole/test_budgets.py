"""SIGKILL to the worker while runs wait for each other: never two at once, in their order, and every one ends."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from tests.support.backend import Call
from tests.support.outcome import ANSWERED, Json, Observer, observing
from tests.support.processes import Parts, eventually

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]

RUNS, KILLS = 20, 3


class Shop:
    """A backend that can serve one at a time, and knows when it had two."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.together: list[set[str]] = []
        self.order: list[str] = []

    async def __call__(self, call: Call) -> Response:
        """Take a moment."""
        run_id = call.headers["idempotency-key"]
        self.inside[run_id] += 1
        if run_id not in self.order:
            self.order.append(run_id)
        if len(+self.inside) > 1:
            self.together.append(set(+self.inside))
        await asyncio.sleep(0.2)
        self.inside[run_id] -= 1
        return JSONResponse({"done": True})


async def _prepare(observer: Observer) -> None:
    """A cart, and two actions on carts: of `buy` there is one run per cart at a time, of `look` any number."""
    blueprint = {"identifier": "cart", "title": "Cart", "schema": {"properties": {}}}
    await _make(observer, "/v1/blueprints", blueprint)
    await _make(observer, "/v1/blueprints/cart/entities", {"identifier": "mine"})
    for identifier, budgets in (("look", []), ("buy", [{"per": "ENTITY", "concurrent": 1}])):
        inputs: Json = {"userInputs": {"properties": {}, "required": []}}
        await _make(
            observer,
            "/v1/actions",
            {
                "identifier": identifier,
                "trigger": {"type": "self-service", "operation": "DAY-2", "blueprintIdentifier": "cart", **inputs},
                "invocationMethod": {
                    "type": "WEBHOOK",
                    "url": f"{observer.backend.url}/{identifier}",
                    "synchronized": True,
                    "body": {"run": "{{ .run.id }}"},
                },
                "interlock": {"backend": {"budgets": budgets}},
            },
        )


async def _make(observer: Observer, path: str, body: Json) -> None:
    made = await observer.call("POST", path, json=body)
    assert made.is_success, made.text


async def _start(observer: Observer, action: str) -> str:
    answer = await observer.call("POST", f"/v1/actions/{action}/runs", json={"entity": "mine", "properties": {}})
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["run"]["id"]
    observer.promised[run_id] = ANSWERED
    return run_id


async def test_runs_of_one_entity_never_overlap_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - a test
    async with Parts(tmp_path, webhook_timeout="2") as stack, observing(stack) as observer:
        await _prepare(observer)
        observer.backend.answer = shop = Shop()
        looking = [await _start(observer, "look") for _ in range(5)]
        await observer.ended()
        assert shop.together, "it can see two at once"
        observer.backend.answer = shop = Shop()
        buying = [await _start(observer, "buy") for _ in range(RUNS)]
        for number in range(KILLS):
            wanted = (number + 1) * RUNS // (KILLS + 2)

            async def served(wanted: int = wanted) -> bool | None:
                return len(shop.order) >= wanted or None

            await eventually(f"{wanted} runs had their turn", served)
            await asyncio.sleep(chance.random() / 5)  # in the call, or between two
            await stack.kill("worker")
            await stack.start("worker")
        await observer.all_is_well(deaths=Counter(dict.fromkeys(observer.promised, KILLS)), within=150)
        assert shop.together == [], "two runs were served at once"
        assert sorted(shop.order) == sorted(buying)
        repeated = len(observer.backend.calls) - len(buying) - len(looking)
        assert repeated <= KILLS
