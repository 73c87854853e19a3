"""Aggregations in SQL: which entities they are made of, and that they are never older than what they are made of."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.blueprints import Blueprint
from domain.computed_properties import MAX_PATH, MAX_PATH_FILTERS
from domain.documents import Document
from domain.entities import Writing, parsed_request
from domain.jq import Evaluator
from store import blueprints, catalog, derived, entities
from store.database import Database
from tests.store.conftest import AT, never
from tests.store.test_derived_in_sql import WRITER, define, put, statements, values

COUNT: Document = {"calculationBy": "entities", "func": "count"}


def over(target: str, spec: Document = COUNT, **more: Any) -> Document:
    return {"target": target, "type": "number", "calculationSpec": spec, **more}


def of_property(func: str, name: str = "n", **more: Any) -> Document:
    return {"calculationBy": "property", "func": func, "property": name, **more}


def query(*rules: Document) -> Document:
    return {"combinator": "and", "rules": list(rules)}


GROUP: Document = {
    "direct": over("service", pathFilter=[{"path": ["group"], "fromBlueprint": "service"}]),
    "all": over("service"),
    "envs": over("env"),
    "envs_by_path": over("env", pathFilter=[{"path": ["of", "group"], "fromBlueprint": "env"}]),
    "by_either_path": over(
        "env",
        of_property("sum"),
        pathFilter=[{"path": path, "fromBlueprint": "env"} for path in (["of", "group"], ["of", "uses", "group"])],
    ),
    "by_both_ways": over(
        "service", pathFilter=[*[{"path": ["group"], "fromBlueprint": "service"}] * 2, {"path": ["group"]}]
    ),
    "too_long": over("service", pathFilter=[{"path": ["group"] * 16}]),
    "wrong_way": over("env", pathFilter=[{"path": ["of", "group"]}]),
    "sum": over("env", of_property("sum")),
    "min": over("env", of_property("min")),
    "max": over("env", of_property("max")),
    "median": over("env", of_property("median")),
    "mean": over("env", of_property("average", averageOf="total")),
    "a_day": over("env", {"calculationBy": "entities", "func": "average", "averageOf": "day"}),
    "big": over("env", query=query({"property": "n", "operator": ">", "value": 1})),
    "named": over("env", of_property("sum"), query=query({"property": "whose", "operator": "=", "value": "A"})),
    "of_derived": over("env", of_property("sum", "twice")),
    "of_cart": over("env", query=query({"operator": "relatedTo", "blueprint": "service", "value": "a"})),
    "senseless": over("env", query={"combinator": "and", "rules": [{"operator": "?"}]}),
    "unrelated": over("lonely"),
    "absent": over("nothing of this name"),
}
SERVICE: Document = {
    "groups": over("group"),
    "group_by_path": over("group", pathFilter=[{"path": ["group"]}]),
    "own": over("env", pathFilter=[{"path": ["of"], "fromBlueprint": "env"}]),
    "uses_in_all": over("service"),
}


@pytest.fixture
async def world(database: Database) -> dict[str, Blueprint]:
    """Groups have services, which use one another, and have environments."""
    group = await define(database, "group", aggregationProperties=GROUP)
    service = await define(
        database,
        "service",
        relations={"group": {"target": "group"}, "uses": {"target": "service", "many": True}},
        aggregationProperties=SERVICE,
    )
    env = await define(
        database,
        "env",
        relations={"of": {"target": "service"}},
        mirrorProperties={"whose": {"path": "of.$title"}},
        calculationProperties={"twice": {"type": "number", "calculation": ".properties.n * 2"}},
    )
    lonely = await define(database, "lonely")
    await put(database, group, "g")
    await put(database, group, "empty")
    await put(database, lonely, "l")
    await put(database, service, "a", title="A", relations={"group": "g"})
    await put(database, service, "b", relations={"uses": ["a"]})
    await put(database, service, "c", relations={"group": "g", "uses": ["b"]})
    for identifier, of, n, days in (("1", "a", 1, -4), ("2", "a", 2, -2), ("3", "b", 5, 0), ("4", "c", None, 0)):
        await put(database, env, identifier, relations={"of": of}, properties={"n": n}, days=days)
    return {"group": group, "service": service, "env": env, "lonely": lonely}


async def test_what_is_related_by_chains_in_either_direction_counts(
    database: Database, evaluate: Evaluator, world: dict[str, Blueprint]
) -> None:
    assert await values(database, evaluate, "group", "g") == {
        "direct": 2, "all": 3, "envs": 4, "envs_by_path": 3, "by_either_path": 8, "by_both_ways": 2,
        "too_long": 0, "wrong_way": 0, "sum": 8, "min": 1, "max": 5, "median": 2,
        "mean": 2.6666666666666665, "a_day": 1, "big": 2, "named": 3, "of_derived": 16, "of_cart": 4,
        "senseless": None, "unrelated": 0, "absent": 0,
    }  # fmt: skip
    empty = await values(database, evaluate, "group", "empty")
    assert {key for key, value in empty.items() if value is None} == {
        "min", "max", "median", "mean", "a_day", "senseless",
    }  # fmt: skip
    assert {value for value in empty.values() if value is not None} == {0}
    assert await values(database, evaluate, "service", "b") == {
        "groups": 1, "group_by_path": 0, "own": 1, "uses_in_all": 2,
    }  # fmt: skip


async def test_a_circle_of_relations_is_walked_once(database: Database, evaluate: Evaluator) -> None:
    paths = [{"path": ["next"] * hops} for hops in range(MAX_PATH, MAX_PATH - MAX_PATH_FILTERS, -1)]
    ring = await define(
        database,
        "ring",
        relations={"next": {"target": "ring"}},
        aggregationProperties={"around": over("ring"), "by_paths": over("ring", pathFilter=paths)},
    )
    for name in "abc":
        await put(database, ring, name)
    for name, following in ("ab", "bc", "ca"):
        await put(database, ring, name, relations={"next": following})
    await put(database, ring, "d")
    assert await values(database, evaluate, "ring", "a") == {"around": 3, "by_paths": 3}, "itself, too: it leads back"
    assert (await values(database, evaluate, "ring", "d"))["around"] == 0


async def test_an_aggregation_is_fresh_after_every_change(
    database: Database, evaluate: Evaluator, world: dict[str, Blueprint]
) -> None:
    async def now(name: str = "envs") -> Any:
        return (await values(database, evaluate, "group", "g", wanted=lambda one: one == name))[name]

    async def change(blueprint: str, identifier: str, how: Writing = Writing.MERGE, **document: Any) -> None:
        request = parsed_request(document)
        await database.transact(
            lambda session: catalog.change(
                session, world[blueprint], identifier, request, how=how, writer=WRITER, complete=never
            )
        )

    assert (await now(), await now("sum"), await now("big")) == (4, 8, 2)
    await put(database, world["env"], "5", relations={"of": "c"}, properties={"n": 10})
    assert (await now(), await now("sum"), await now("big")) == (5, 18, 3), "created"
    await change("env", "5", properties={"n": 0})
    assert (await now(), await now("sum"), await now("big")) == (5, 8, 2), "updated"
    await database.transact(lambda session: catalog.remove(session, "env", "5", delete_dependents=False, writer=WRITER))
    assert (await now(), await now("sum"), await now("big")) == (4, 8, 2), "deleted"
    await change("service", "b", relations={"uses": []})
    assert (await now(), await now("sum"), await now("big")) == (3, 3, 1), "a relation on the way was taken away"
    await database.transact(
        lambda session: catalog.remove(session, "service", "a", delete_dependents=False, writer=WRITER)
    )
    assert (await now(), await now("sum"), await now("big")) == (1, 0, 0), "what was on the way was deleted"
    before = world["group"]
    after = replace(
        before, document=before.document | {"aggregationProperties": {"envs": over("group"), "sum": over("lonely")}}
    )
    async with database.write() as session:
        await blueprints.replace(session, before, after, origin="API")
    assert await now() == 0, "it is defined otherwise"


async def test_what_is_known_is_not_made_again_and_for_a_minute_at_most(
    database: Database, evaluate: Evaluator, world: dict[str, Blueprint]
) -> None:
    async def asked(**how: Any) -> int:
        async with database.read() as session:
            found = [(await entities.get(session, "group", "g")).entity]
            with statements() as seen:
                await derived.complete(
                    session, found, evaluate=evaluate, wanted=lambda one: one == "envs", **{"at": AT, **how}
                )
        return sum("entity_relations" in one for one in seen)

    assert [await asked(), await asked()] == [1, 0]
    await put(database, world["lonely"], "another")
    assert [await asked(), await asked()] == [0, 0], "nobody on the way has changed"
    await put(database, world["env"], "another")
    assert [await asked(), await asked()] == [1, 0]
    assert await asked(at=AT + timedelta(seconds=61)) == 1


async def test_an_aggregation_that_asks_for_itself_sees_null_there(database: Database, evaluate: Evaluator) -> None:
    tree = await define(
        database,
        "tree",
        relations={"parent": {"target": "tree"}},
        aggregationProperties={
            "leaves": over("tree", query=query({"property": "leaves", "operator": "isEmpty"})),
            "own": over("tree", of_property("sum", "own")),
        },
    )
    await put(database, tree, "root")
    await put(database, tree, "leaf", relations={"parent": "root"})
    assert await values(database, evaluate, "tree", "root") == {"leaves": 1, "own": 0}


async def test_what_is_no_number_is_not_counted(database: Database, evaluate: Evaluator) -> None:
    box = await define(
        database,
        "box",
        aggregationProperties={
            func: over("thing", of_property(func, "loose")) for func in ("sum", "min", "max", "median")
        },
    )
    thing = await define(database, "thing", relations={"in": {"target": "box"}})
    await put(database, box, "b")
    loose: list[Any] = ["7", True, None, [9], {"a": 1}, 2.5, 4, -1e300]
    for index, value in enumerate(loose):
        await put(database, thing, f"t{index}", relations={"in": "b"}, properties={"loose": value})
    assert await values(database, evaluate, "box", "b") == {
        "sum": int(-1e300), "min": int(-1e300), "max": 4, "median": 2.5,
    }  # fmt: skip
