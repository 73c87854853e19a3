"""Derived values from SQL: mirrors, calculations and inherited teams, for many entities with few statements."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine, event

from domain import candidates
from domain.blueprints import Blueprint, BlueprintId
from domain.documents import Document
from domain.entities import Author, parsed_request
from domain.identifiers import new
from domain.jq import Evaluator, Outcome
from runtime.jq_pool import JqPool, Limits
from store import blueprints, catalog, derived, entities
from store.database import Database
from store.entities import Writer
from store.entity_batches import PutOptions
from tests.store.conftest import AT, never

WRITER = Writer(Author("user_1", AT, "tests"), "API")


async def define(database: Database, identifier: str, **more: Any) -> Blueprint:
    """A new blueprint."""
    document: Document = {
        "identifier": identifier, "title": identifier, "schema": {"properties": {"n": {"type": "number"}}}, **more,
    }  # fmt: skip
    made = Blueprint(BlueprintId(identifier), document, AT, "user_1", AT, "user_1")
    async with database.write() as session:
        await blueprints.create(session, made, origin="API")
    return made


async def put(
    database: Database, blueprint: Blueprint, identifier: str, *, days: float = 0, **document: JsonValue
) -> None:
    """An upsert."""
    request = parsed_request({"identifier": identifier, **document})
    options = PutOptions(upsert=True, merge=True)
    writer = Writer(WRITER.author._replace(at=AT + timedelta(days=days)), "API")
    await database.transact(
        lambda session: catalog.put(
            session, blueprint, request, options, generated=new("e"), writer=writer, complete=never
        )
    )


async def read(
    database: Database, evaluate: Evaluator, blueprint: str, *identifiers: str, **how: Any
) -> list[candidates.Entity]:
    """The entities with what is derived."""
    async with database.read() as session:
        found = [(await entities.get(session, blueprint, one)).entity for one in identifiers]
        return await derived.complete(session, found, evaluate=evaluate, **{"at": AT, **how})


async def values(
    database: Database, evaluate: Evaluator, blueprint: str, identifier: str, **how: Any
) -> dict[str, Any]:
    """The properties of one entity."""
    [entity] = await read(database, evaluate, blueprint, identifier, **how)
    return dict(entity.properties)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    seen: list[str] = []

    def remember(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", remember)


def mirror(path: str) -> Document:
    return {"path": path}


def calculation(program: str, kind: str = "string") -> Document:
    return {"calculation": program, "type": kind}


@pytest.fixture
async def domain(database: Database) -> Blueprint:
    """Domains have tags, and own services."""
    return await define(
        database,
        "domain",
        schema={"properties": {"tags": {"type": "array"}, "n": {"type": "number"}}},
        calculationProperties={"loud": calculation(".title | ascii_upcase")},
    )


@pytest.fixture
async def service(database: Database, domain: Blueprint) -> Blueprint:
    """Services are of domains, and use services."""
    return await define(
        database,
        "service",
        relations={
            "domain": {"target": "domain"}, "uses": {"target": "service", "many": True}, "of": {"target": "service"},
        },
        mirrorProperties={
            "title_of_domain": mirror("domain.$title"), "tags": mirror("domain.tags"),
            "loud": mirror("domain.loud"), "used": mirror("uses.n"), "used_domains": mirror("uses.domain.$title"),
            "used_tags": mirror("uses.tags"), "far": mirror("of.of.n"), "nowhere": mirror("gone.n"),
        },
        calculationProperties={
            "url": calculation("'https://' + .identifier + '.dev'"),
            "louder": calculation(".properties.loud + \"!\""), "wrong": calculation(".title", "number"),
            "broken": calculation(".title + 1"), "senseless": calculation("]["), "flag": calculation("true", "number"),
            "teams": calculation(".team", "array"), "moment": calculation("now | todate"),
        },
    )  # fmt: skip


async def test_mirrors_follow_relations_and_end_in_null_where_they_lead_nowhere(
    database: Database, evaluate: Evaluator, domain: Blueprint, service: Blueprint
) -> None:
    await put(database, domain, "d", title="Shop", properties={"tags": ["a", None]})
    await put(database, service, "x", properties={"n": 1}, relations={"domain": "d"})
    await put(database, service, "y", properties={})
    await put(database, service, "z", properties={"n": 3}, relations={"domain": "d", "of": "x"})
    await put(database, service, "cart", relations={"domain": "d", "uses": ["z", "y", "x"], "of": "z"})

    found = await values(database, evaluate, "service", "cart")
    mirrors = {key: found[key] for key in ("title_of_domain", "tags", "loud", "used", "used_domains", "used_tags")}
    assert mirrors == {
        "title_of_domain": "Shop", "tags": ["a", None], "loud": "SHOP", "used": [3, 1], "used_domains": ["Shop"],
        "used_tags": ["a", "a"],
    }  # fmt: skip
    assert (found["far"], found["nowhere"]) == (1, None)
    empty = await values(database, evaluate, "service", "y")
    assert {empty[key] for key in ("title_of_domain", "loud", "far", "nowhere", "louder")} == {None, "!"}
    assert empty["used"] == []


async def test_calculations_see_what_is_mirrored_and_are_null_where_they_fail(
    database: Database, evaluate: Evaluator, domain: Blueprint, service: Blueprint
) -> None:
    await put(database, domain, "d", title="Shop")
    await put(database, service, "cart", relations={"domain": "d"}, team="sre")

    found = await values(database, evaluate, "service", "cart")
    made = {key: found[key] for key in service.definition.calculation_properties}
    assert made == {
        "url": "https://cart.dev", "louder": "SHOP!", "wrong": None, "broken": None, "senseless": None, "flag": None,
        "teams": ["sre"], "moment": "2026-01-02T03:04:05Z",
    }  # fmt: skip


async def test_only_stored_values_are_there_without_calculations(
    database: Database, evaluate: Evaluator, service: Blueprint
) -> None:
    await put(database, service, "cart", properties={"n": 1, "url": "sent back by somebody who read it"})
    assert await values(database, evaluate, "service", "cart", calculated=False) == {"n": 1}
    assert (await values(database, evaluate, "service", "cart"))["url"] == "https://cart.dev"


async def test_definitions_that_go_in_a_circle_end_in_null_wherever_one_begins(
    database: Database, evaluate: Evaluator
) -> None:
    around = {"relations": {"next": {"target": "a"}}}
    a = await define(
        database,
        "a",
        **around,
        mirrorProperties={"own": mirror("next.own"), "depth_there": mirror("next.depth")},
        calculationProperties={"depth": calculation("(.properties.depth_there // 0) + 1", "number")},
    )
    await put(database, a, "one")
    await put(database, a, "two", relations={"next": "one"})
    await put(database, a, "one", relations={"next": "two"})
    for wanted in (("own", "depth_there", "depth"), ("depth",)):
        for identifier in ("one", "two"):
            found = await values(database, evaluate, "a", identifier, wanted=lambda name, wanted=wanted: name in wanted)
            assert found == {name: 1 if name == "depth" else None for name in wanted}


async def test_teams_are_inherited_along_the_whole_way(database: Database, evaluate: Evaluator) -> None:
    owner = await define(database, "owner")
    middle = await define(
        database,
        "middle",
        relations={"owners": {"target": "owner", "many": True}, "back": {"target": "middle"}},
        ownership={"type": "Inherited", "path": "owners"},
    )
    leaf = await define(
        database, "leaf", relations={"of": {"target": "middle"}}, teamInheritance={"path": "of"},
        mirrorProperties={"whose": mirror("of.$team")},
    )  # fmt: skip
    circle = await define(
        database, "circle", relations={"of": {"target": "circle"}}, ownership={"type": "Inherited", "path": "of"}
    )
    await put(database, owner, "a", team=["x", "y"])
    await put(database, owner, "b", team=["y", "z"])
    await put(database, middle, "m", relations={"owners": ["b", "a"]})
    await put(database, leaf, "l", relations={"of": "m"})
    await put(database, leaf, "alone")
    await put(database, circle, "c")
    await put(database, circle, "c", relations={"of": "c"})

    for calculated in (True, False):
        found = await read(database, evaluate, "leaf", "l", "alone", calculated=calculated)
        assert [tuple(one.team) for one in found] == [("y", "z", "x"), ()]
    assert (await values(database, evaluate, "leaf", "l"))["whose"] == ["y", "z", "x"]
    [entity] = await read(database, evaluate, "circle", "c")
    assert entity.team == ()


@pytest.fixture
async def impatient() -> AsyncIterator[Evaluator]:
    """A jq process that gives up soon."""
    async with JqPool(size=1, limits=Limits(seconds=0.3)) as pool:
        yield pool


async def test_an_endless_calculation_is_null_and_holds_up_nobody_for_long(
    sqlite_url: str, impatient: Evaluator
) -> None:
    async with Database(sqlite_url) as database:
        hostile = await define(
            database,
            "hostile",
            calculationProperties={
                "endless": calculation("def f: f; f"),
                "honest": calculation(".identifier | ascii_upcase"),
            },
        )
        names = [f"e{number}" for number in range(30)]
        for name in names:
            await put(database, hostile, name)
        asked: list[Sequence[str]] = []

        async def counting(programs: Sequence[str], document: JsonValue, **how: Any) -> list[Outcome]:
            asked.append(programs)
            return await impatient(programs, document, **how)

        found = await read(database, counting, "hostile", *names)
    assert [one.properties for one in found] == [{"endless": None, "honest": name.upper()} for name in names]
    assert len(asked) == len(names), "one question for each entity"
    assert sum("def f: f; f" in programs for programs in asked) < 10, "it is given up"


async def test_five_hundred_entities_take_a_few_statements(database: Database, evaluate: Evaluator) -> None:
    domain = await define(database, "domain", mirrorProperties={})
    service = await define(
        database,
        "service",
        relations={"domain": {"target": "domain"}, "next": {"target": "service"}},
        mirrorProperties={"a": mirror("domain.$title"), "b": mirror("domain.n"), "c": mirror("next.domain.n")},
        calculationProperties={"d": calculation(".properties.c", "number")},
        aggregationProperties={
            "e": {"target": "domain", "calculationSpec": {"calculationBy": "entities", "func": "count"}}
        },
    )
    for number in range(5):
        await put(database, domain, f"d{number}", properties={"n": number})
    options, author = PutOptions(upsert=True), WRITER
    async with database.write() as session:
        for number in range(500):
            relations: Document = {"domain": f"d{number % 5}", "next": f"s{number - 1}" if number else None}
            request = parsed_request({"identifier": f"s{number}", "relations": relations})
            await catalog.put(session, service, request, options, generated=new("e"), writer=author, complete=never)
    async with database.read() as session:
        found = [one.entity for one in await entities.portion(session, "service", after="", limit=500)]
        assert len(found) == 500
        with statements() as seen:
            whole = await derived.complete(session, found, evaluate=evaluate, at=AT)
    assert 3 <= len(seen) <= 8, seen
    assert [one.identifier for one in whole] == [one.identifier for one in found]
    last = {one.identifier: one for one in whole}["s499"]
    assert last.properties == {"a": "d4", "b": 4, "c": 3, "d": 3, "e": 5}


async def test_entities_that_derive_nothing_cost_no_statement(database: Database, evaluate: Evaluator) -> None:
    plain = await define(database, "plain", relations={"of": {"target": "plain"}})
    await put(database, plain, "x", properties={"n": 1}, team="sre")
    async with database.read() as session:
        found = [(await entities.get(session, "plain", "x")).entity]
        with statements() as seen:
            [one] = await derived.complete(session, found, evaluate=evaluate, at=AT, known=[plain])
    assert seen == []
    assert (one.properties, one.team, dict(one.schemas)) == ({"n": 1}, ("sre",), {"n": {"type": "number"}})
