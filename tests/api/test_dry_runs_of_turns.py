"""Dry runs tell whether a run would wait for its turn, for whom and how long, and how its backend would be called."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from starlette.responses import Response

from domain.budgets import Circuit, circuit_of
from runtime.clock import now
from store import circuits
from store.turn_tables import CircuitRow, TurnKeyRow, TurnRow
from tests.api.answers import Json, granted
from tests.api.test_dry_runs import dry
from tests.support.product import Product

LIMITS = {"concurrent": None, "starts": None, "within": None}
NO_OBSTACLE = {"waitsFor": None, "until": None}


def rules(**section: Any) -> Json:
    """Our own section of an action."""
    return {"backend": section}


async def limited(product: Product, *budgets: Json, **more: Any) -> None:
    """The action with these budgets."""
    await product.action(interlock=rules(budgets=list(budgets)), **more)


async def waiting(product: Product, run_id: str) -> Json:
    """The queue of a run, once it waits."""
    async with asyncio.timeout(10):
        while True:
            found: Json = granted(await product.api.get(f"/v1/actions/runs/{run_id}/queue"), "queue")
            if found["waiting"]:
                return found
            await asyncio.sleep(0.02)


async def rows(product: Product) -> list[Any]:
    """All that is known in SQL of turns, lines and circuits."""
    async with product.database.read() as session:
        return [
            sorted(row.model_dump_json() for row in (await session.exec(select(table))).all())
            for table in (TurnRow, TurnKeyRow, CircuitRow)
        ]


async def test_an_action_without_rules_waits_for_nobody_and_is_called_as_the_deployment_says(product: Product) -> None:
    await product.action()
    found = await dry(product)
    assert found["queue"] == {"waiting": False, "since": None, "keys": [], "circuit": None, **NO_OBSTACLE}
    assert found["backend"] == {
        "timeLimit": "PT30S",
        "runTimeLimit": None,
        "retry": {"attempts": 3, "wait": "PT1S", "longestWait": "PT1M", "statuses": []},
        "circuitBreaker": None,
        "cancelAfterTimeLimit": False,
    }


async def test_the_rules_of_the_action_are_told_with_what_they_leave_open(product: Product) -> None:
    section = rules(
        retry={"wait": "PT5S", "statuses": [503]}, circuitBreaker={"failures": 2}, cancelAfterTimeLimit=True
    )
    await product.action(interlock={**section, "run": {"timeLimit": "PT1H"}})
    assert (await dry(product))["backend"] == {
        "timeLimit": "PT30S",
        "runTimeLimit": "PT1H",
        "retry": {"attempts": 3, "wait": "PT5S", "longestWait": "PT1M", "statuses": [503]},
        "circuitBreaker": {"failures": 2, "open": "PT30S"},
        "cancelAfterTimeLimit": True,
    }


@pytest.mark.usefixtures("held")
async def test_it_tells_the_place_in_the_line_and_who_has_the_turn_and_the_run_finds_it_so(product: Product) -> None:
    await limited(product, {"per": "ACTION", "concurrent": 1})
    key = {**LIMITS, "per": "ACTION", "key": "deploy", "concurrent": 1}
    free = await dry(product)
    assert free["queue"]["waiting"] is False
    assert free["queue"]["keys"] == [{**key, "position": None, "ahead": None, "holders": []}]
    first = await product.start()
    await product.backend.called()
    await waiting(product, (await product.start())["id"])
    before = await rows(product)
    found = (await dry(product))["queue"]
    assert await rows(product) == before, "nobody stands in a line for it"
    assert found == {
        "waiting": True,
        "since": None,
        "keys": [{**key, "position": 2, "ahead": 1, "holders": [first["id"]]}],
        "circuit": None,
        "waitsFor": "Waits for its turn: 2nd for action deploy",
        "until": None,
    }
    third = await product.start()
    real = await waiting(product, third["id"])
    assert real["keys"] == found["keys"]
    assert (await product.get(third["id"]))["statusLabel"] == found["waitsFor"]


@pytest.mark.usefixtures("held")
async def test_of_starts_within_a_time_it_tells_when_the_next_one_may_be(product: Product) -> None:
    await limited(product, {"per": "ACTION", "starts": 1, "within": "PT1H"})
    assert (await dry(product))["queue"]["waiting"] is False
    before = now()
    await product.start()
    await product.backend.called()
    found = (await dry(product))["queue"]
    assert (found["waiting"], found["keys"][0]["position"]) == (True, 1)
    until = found["until"]
    assert until >= (before + timedelta(hours=1)).isoformat()[:19]
    assert until <= (now() + timedelta(hours=1)).isoformat()[:23] + "Z"


@pytest.mark.usefixtures("held")
async def test_whoever_may_not_see_a_holder_is_not_told_of_it(product: Product) -> None:
    await product.action(
        "hidden", interlock=rules(budgets=[{"per": "BACKEND", "concurrent": 1}]), allowAnyoneToViewRuns=False
    )
    await limited(product, {"per": "BACKEND", "concurrent": 1})
    ada = await product.person("ada@x.io")
    holder = await product.start("hidden")
    await product.backend.called()
    [seen] = (await dry(product))["queue"]["keys"]
    assert (seen["key"], seen["holders"]) == (product.backend.url, [holder["id"]])
    found = (await dry(product, headers=ada))["queue"]
    assert found["waiting"]
    assert found["keys"] == [{**seen, "holders": []}]


@pytest.mark.usefixtures("held")
async def test_where_a_secret_says_what_is_called_nobody_knows_who_waits_there(product: Product) -> None:
    secret = {"secretName": "WHERE", "secretValue": product.backend.url}
    granted(await product.api.post("/v1/organization/secrets", json=secret), "secret")
    await product.action(
        invocationMethod=product.webhook(url="{{ .secrets.WHERE }}/hook"),
        interlock=rules(budgets=[{"per": "BACKEND", "concurrent": 1}, {"per": "ACTION", "concurrent": 1}]),
    )
    await product.start()
    await product.backend.called()
    found = (await dry(product))["queue"]
    assert [(key["per"], key["key"], key["position"]) for key in found["keys"]] == [
        ("ACTION", "deploy", 1),
        ("BACKEND", None, None),
    ]
    assert product.backend.url not in str(found)


async def test_what_waits_for_approval_is_told_as_if_it_was_approved_now(product: Product) -> None:
    await limited(product, {"per": "BACKEND", "concurrent": 3}, requiredApproval=True)
    found = await dry(product)
    assert found["run"]["status"] == "WAITING_FOR_APPROVAL"
    assert found["queue"]["waiting"] is False
    assert found["queue"]["keys"][0]["key"] == product.backend.url


async def test_an_open_circuit_is_told_with_its_end_and_a_dry_run_is_not_who_tries_it(product: Product) -> None:
    await product.action(interlock=rules(circuitBreaker={"failures": 1, "open": "PT1H"}, retry={"attempts": 1}))

    async def broken(_: Any) -> Response:
        return Response(status_code=503)

    product.backend.answer = broken
    await product.until((await product.start())["id"], "FAILURE")
    found = (await dry(product))["queue"]
    assert found["waiting"]
    assert found["waitsFor"] == f"Waits until {product.backend.url} answers again"
    assert found["circuit"]["failures"] == 1
    assert found["until"] == found["circuit"]["openUntil"] > now().isoformat()[:23]

    name = circuit_of(product.backend.url)
    over = Circuit(failures=1, open_until=now() - timedelta(seconds=1))
    async with product.database.write() as session:
        await circuits.keep(session, name, over)
    before = await rows(product)
    found = (await dry(product))["queue"]
    assert (found["waiting"], found["circuit"]["failures"]) == (False, 1), "it would be the one that tries"
    assert await rows(product) == before

    async with product.database.write() as session:
        await circuits.keep(session, name, over.tried("r_of_somebody_else"))
    found = (await dry(product))["queue"]
    assert (found["waiting"], found["until"]) == (True, None), "until somebody else has tried it"


async def test_a_refused_request_waits_for_nothing(product: Product) -> None:
    await limited(product, {"per": "ACTION", "concurrent": 1}, inputs={"size": {"type": "number"}})
    found = await dry(product, {"size": "large"})
    assert found["refusal"]["statusCode"] == 422
    assert (found["queue"], found["backend"]) == (None, None)


async def test_an_input_that_is_secret_is_not_told_as_the_place(product: Product) -> None:
    await product.action(
        inputs={"host": {"type": "string", "encryption": "aes256-gcm"}},
        invocationMethod={"type": "GITHUB", "org": "port", "repo": "{{ .inputs.host }}", "workflow": "x.yml"},
        interlock=rules(budgets=[{"per": "BACKEND", "concurrent": 1}]),
    )
    found = await dry(product, {"host": "hush-hush"})
    assert found["queue"]["keys"][0]["key"] == "GITHUB port/********"
