"""Hundreds of writers at once: the catalog ends as a simple model says, and the change log tells exactly how."""

import asyncio
import copy
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import WorkflowEnvironment

from domain.jq import Evaluator
from store.tables import ChangeRow
from tests.support.product import Json, Product, running

WRITERS, HUBS = 200, 5
STEPS = int(os.environ.get("INTERLOCK_WORKLOAD_STEPS", "3"))
"""How many writes each of them makes; the more, the more often they meet."""
PATH = "/v1/blueprints/service/entities"

pytestmark = pytest.mark.timeout(180 + 30 * STEPS)


class Model:
    """What the catalog must be: what one writer does is in its hands alone, and what all do to a hub commutes."""

    def __init__(self) -> None:
        self.entities: dict[str, Json] = {}
        self.events = 0

    def put(self, body: Json, *, merge: bool, name: str | None = None) -> None:
        """Create the entity, replace it, or change what is named of it; `name` is what it was called."""
        wanted = body["identifier"]
        before = self.entities.get(name or wanted)
        new = {"title": wanted, "properties": {}, "relations": {}}
        after = copy.deepcopy(before if before and merge else new)
        after["title"] = body.get("title", after["title"])
        for key in ("properties", "relations"):
            after[key] |= body.get(key, {})
        if before != after or name not in (None, wanted):
            self.events += 1
        self.entities.pop(name or wanted, None)
        self.entities[wanted] = after
        if name not in (None, wanted):
            follow(self.entities, str(name), wanted)

    def remove(self, name: str) -> None:
        """Delete the entity."""
        self.events += 1
        del self.entities[name]
        follow(self.entities, name, None)


def follow(entities: dict[str, Json], old: str, new: str | None) -> None:
    """Let relations know that an entity has another name, or is gone. Nothing is recorded of this."""
    for entity in entities.values():
        relations = entity["relations"]
        for key, value in relations.items():
            if isinstance(value, list):
                named = (new if one == old else one for one in value)
                relations[key] = list(dict.fromkeys(one for one in named if one is not None))
            elif value == old:
                relations[key] = new


class Writer:
    """One client with entities of its own."""

    def __init__(self, number: int, product: Product, model: Model) -> None:
        self._dice = random.Random(f"workload/{number}")  # noqa: S311 - it shall be predictable
        self._number, self._product, self._model = number, product, model
        self._mine: list[str] = []
        self._made = 0

    async def work(self) -> None:
        """All of its steps, one after the other."""
        for _ in range(STEPS):
            step = self._dice.choice([self._create, self._change, self._bulk, self._rename, self._delete, self._hub])
            await step()

    def _body(self, name: str) -> Json:
        dice = self._dice
        body: Json = {"identifier": name, "properties": {dice.choice("abc"): dice.choice([1, "x", None, [1, 2]])}}
        if dice.random() < 0.5:
            body["relations"] = {"on": f"hub-{dice.randrange(HUBS)}"}
        others = [other for other in self._mine if other != name]
        if others and dice.random() < 0.6:  # they will be renamed and deleted under it
            several = dice.sample(others, min(len(others), 2))
            body.setdefault("relations", {}).update(dice.choice([{"next": several[0]}, {"near": several}]))
        if dice.random() < 0.3:
            body["title"] = dice.choice(["T", "Ü"])
        return body

    def _name(self) -> str:
        self._made += 1
        self._mine.append(f"w{self._number}-{self._made}")
        return self._mine[-1]

    async def _create(self) -> None:
        body = self._body(self._name())
        self._model.put(body, merge=False)
        await self._call("POST", PATH, body)

    async def _change(self) -> None:
        if not self._mine:
            return await self._create()
        body, merge = self._body(self._dice.choice(self._mine)), self._dice.random() < 0.5
        for _ in range(self._dice.choice([1, 1, 2])):  # the second says nothing new
            self._model.put(body, merge=merge)
            await self._call("POST", f"{PATH}?upsert=true&merge={str(merge).lower()}", body)

    async def _bulk(self) -> None:
        bodies = [self._body(self._name()) for _ in range(3)]
        bodies.append(self._body(bodies[0]["identifier"]))  # the same once more
        for body in bodies:
            self._model.put(body, merge=True)
        await self._call("POST", f"{PATH}/bulk?upsert=true&merge=true", {"entities": bodies})

    async def _rename(self) -> None:
        if not self._mine:
            return await self._create()
        name = self._mine.pop(self._dice.randrange(len(self._mine)))
        body = self._body(self._name())
        self._model.put(body, merge=False, name=name)
        await self._call("PUT", f"{PATH}/{name}", body)

    async def _delete(self) -> None:
        if not self._mine:
            return await self._create()
        name = self._mine.pop(self._dice.randrange(len(self._mine)))
        self._model.remove(name)
        await self._call("DELETE", f"{PATH}/{name}")

    async def _hub(self) -> None:
        body = {"identifier": f"hub-{self._dice.randrange(HUBS)}", "properties": {f"of-{self._number}": self._made}}
        self._model.put(body, merge=True)
        await self._call("PATCH", f"{PATH}/{body['identifier']}", {"properties": body["properties"]})

    async def _call(self, method: str, path: str, body: Any = None) -> None:
        fine = {200, 201}
        for _ in range(10):
            answer = await self._product.api.request(method, path, json=body)
            if answer.status_code != 503:
                break
            # So many wait for a connection that on a busy machine some wait too long. All of it was done, or nothing.
            fine = {200, 201, 404, 409}
        assert answer.status_code in fine, answer.text


async def test_the_catalog_ends_as_the_model_says_and_the_log_tells_how(
    clock: WorkflowEnvironment, evaluate: Evaluator, database_url: str
) -> None:
    async with running(clock, evaluate, database_url, worker=False) as product:
        blueprint = {
            "identifier": "service",
            "title": "Service",
            "schema": {"properties": {}},
            "relations": {
                "on": {"target": "service"},
                "next": {"target": "service"},
                "near": {"target": "service", "many": True},
            },
        }
        assert (await product.api.post("/v1/blueprints", json=blueprint)).status_code == 201
        model = Model()
        for number in range(HUBS):
            body = {"identifier": f"hub-{number}"}
            model.put(body, merge=False)
            assert (await product.api.post(PATH, json=body)).status_code == 201
        await asyncio.gather(*(Writer(number, product, model).work() for number in range(WRITERS)))

        told = {one["identifier"]: one for one in (await product.api.get(PATH)).json()["entities"]}
        assert {name: _said(one) for name, one in told.items()} == model.entities

        async with product.database.read() as session:
            log = (
                await session.exec(
                    select(ChangeRow.document)
                    .where(ChangeRow.resource_type == "entity", ChangeRow.blueprint == "service")
                    .order_by(col(ChangeRow.sequence))
                )
            ).all()
    assert len(log) == model.events, "one event for each write that changed something, no other"
    assert replay([dict(change) for change in log]) == told, "to the very times and authors"


def replay(log: Sequence[Json]) -> dict[str, Json]:
    """The catalog that the changes make, from nothing."""
    entities: dict[str, Json] = {}
    for change in copy.deepcopy(log):
        before, after = change["before"], change["after"]
        if before:
            assert entities.pop(before["identifier"]) == before, "each begins where the one before ended"
        if after:
            assert after["identifier"] not in entities
            entities[after["identifier"]] = after
        if before and (after is None or after["identifier"] != before["identifier"]):
            follow(entities, before["identifier"], after["identifier"] if after else None)
    return entities


def _said(entity: Json) -> Json:
    return {key: entity[key] for key in ("title", "properties", "relations")}
