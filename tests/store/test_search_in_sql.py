"""The search by SQL finds exactly what the predicate says, on both databases, whatever the values and the rules are."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from pydantic import JsonValue
from sqlmodel import col, select

from domain.blueprints import Blueprint, BlueprintId
from domain.candidates import as_stored
from domain.comparisons import key
from domain.documents import Document
from domain.entities import EntityId, Kind
from domain.errors import InvalidRequest
from domain.indexed_values import HEAD
from domain.rules import SEARCH, parsed
from store import blueprints, entities, entity_values, migrate, search, search_sql
from store.catalog_tables import EntityRow, EntityValueRow
from store.database import Database
from tests.support.search_catalog import (
    ADA,
    AT,
    FAR,
    FARTHER,
    KNOWN,
    LONGER,
    MACHINE,
    NOW,
    TEXTS,
    WRITER,
    Graph,
    Names,
    expected,
    fill,
    found,
    group,
    random_catalog,
    random_properties,
)
from tests.support.search_rules import anywhere, comparisons, drawn, groups, of_one, telling


@pytest.mark.parametrize("seed", [1])
async def test_sql_finds_what_the_predicate_finds(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = random_catalog(seed)
    await fill(database, graph)
    something = 0
    rules = [*map(group, [*telling(graph, 200), *drawn(anywhere, 100)]), *drawn(groups(anywhere), 60)]
    for number, written in enumerate(rules):
        by = MACHINE if number % 7 == 0 else ADA
        # Few entities are read and the predicate is asked; in turns with that, SQL answers as if there were many.
        monkeypatch.setattr(search, "_READ", 100 if number % 2 else -100)
        wanted = expected(graph, written, by=by)
        assert sorted(await found(database, graph, written, by=by)) == sorted(wanted), written
        something += 0 < len(wanted) < len(graph.rows)
    assert something > 100, "the rules tell entities apart"


@pytest.mark.parametrize("of", ["a", "c"])
async def test_sql_finds_what_the_predicate_finds_of_one_blueprint(database: Database, of: str) -> None:
    graph = random_catalog(3)
    await fill(database, graph)
    for written in [*map(group, drawn(of_one, 100)), *drawn(groups(of_one | comparisons), 50)]:
        wanted = expected(graph, written, of=of)
        assert sorted(await found(database, graph, written, of=of, limit=2)) == sorted(wanted), written


# What the examples might miss.


@pytest.fixture
async def small(database: Database) -> Graph:
    """A catalog in the database."""
    graph = random_catalog(5)
    await fill(database, graph)
    return graph


def _deep(leaf: JsonValue, width: int) -> dict[str, JsonValue]:
    """Ten groups inside one another with `width` rules each."""
    made = group(*[leaf] * width)
    for level in range(10):
        made = group(*[leaf] * width, made, combinator="or" if level % 2 else "and")
    return made


ANY_NAME: list[JsonValue] = [
    {"property": "loose", "operator": "doesNotContain", "value": "zz"},
    {"property": "$owned_by_team", "operator": "!=", "value": None},
    {"property": "$createdAt", "operator": "notBetween", "value": {"from": FAR, "to": FARTHER}},
    {"operator": "relatedTo", "blueprint": "a", "value": "a1", "required": False},
    {"operator": "matchAny", "property": {"path": ["one", {"relation": "one", "maxHops": 15}]}, "value": ["b1"]},
    {"propertySchema": {"type": "string"}, "operator": "!=", "value": "zz"},
    {"property": "s", "operator": "notIn", "value": list(TEXTS)},
]


@pytest.mark.parametrize("rule", ANY_NAME, ids=range(len(ANY_NAME)))
async def test_groups_may_nest_as_deep_as_there_may_be(database: Database, small: Graph, rule: JsonValue) -> None:
    for written in (group(*[rule] * 40, combinator="or"), _deep(rule, 3)):
        assert sorted(await found(database, small, written, limit=500)) == sorted(expected(small, written))


@pytest.mark.timeout(180)  # both databases compute for ten seconds, on a busy machine much longer
async def test_a_query_may_have_as_many_rules_as_there_may_be(database: Database, small: Graph) -> None:
    rule: JsonValue = {"property": "s", "operator": "notIn", "value": ["x", NOW, LONGER, 1]}
    written = _deep(rule, 90)
    assert sorted(await found(database, small, written, limit=500)) == sorted(expected(small, written))


async def test_a_list_may_be_as_long_as_there_may_be(database: Database, small: Graph) -> None:
    several: list[Any] = [
        [f"no-{number}" for number in range(9_999)] + ["a"],
        [number / 7 for number in range(9_999)] + [0.1],
        [(AT + timedelta(seconds=number)).isoformat() for number in range(10_000)],
    ]
    for many in several:
        for name in ("s", "n", "l", "$identifier", "$createdAt"):
            written = group({"property": name, "operator": "in", "value": many})
            assert sorted(await found(database, small, written)) == sorted(expected(small, written))


async def test_what_the_database_would_not_take_is_refused(database: Database, small: Graph) -> None:
    numbers: list[JsonValue] = [number / 7 for number in range(10_000)]
    rule: JsonValue = {"property": "n", "operator": "in", "value": numbers}
    with pytest.raises(InvalidRequest, match=r"asks for too much at once"):
        await found(database, small, group(rule, rule, rule, rule))


async def test_hostile_text_is_only_text(database: Database, small: Graph) -> None:
    hostile = "'); DROP TABLE entities; --\\\" %s :x ? $1 ->>"
    rules: list[Any] = [
        *({"property": hostile, "operator": one, "value": hostile} for one in ("=", "contains", "beginsWith")),
        {"operator": "relatedTo", "blueprint": hostile, "value": [hostile] * 5},
        {"operator": "matchAny", "property": {"path": [hostile], "fromBlueprint": hostile}, "value": hostile},
    ]
    for rule in rules:
        assert await found(database, small, group(rule)) == []
    assert await found(database, small, group({"relation": hostile, "operator": "=", "value": hostile}), of="a") == []
    assert len(await found(database, small, group())) == len(small.rows)


async def test_a_search_holds_for_one_entity_exactly_if_it_finds_it(database: Database, small: Graph) -> None:
    query = parsed(group({"property": "s", "operator": "isNotEmpty"}), dialect=SEARCH)
    async with database.read() as session:
        asked = await search.prepared(session, query, at=AT, caller=ADA, complete=small.complete)
        page = await asked.page(session)
        names = {(one.entity.blueprint, one.entity.identifier) for one in page.found}
        assert 0 < len(names) < len(small.rows)
        for row in small.rows:
            held = await asked.holds(session, row.blueprint, row.identifier)
            assert held is ((row.blueprint, row.identifier) in names)


async def test_pages_neither_lose_nor_repeat_while_others_write(database: Database, small: Graph) -> None:
    query = parsed(group({"property": "s", "operator": "!=", "value": "nowhere"}), dialect=SEARCH)
    seen: Names = []
    gone, after = small.rows[7], None
    while True:
        async with database.read() as session:
            asked = await search.prepared(session, query, at=AT, caller=ADA, complete=small.complete)
            page = await asked.page(session, after=after, limit=3)
        seen += [(one.entity.blueprint, str(one.entity.identifier)) for one in page.found]
        if page.next is None:
            break
        if after is None:
            async with database.write() as session:
                stored = await entities.get(session, gone.blueprint, gone.identifier)
                await entities.remove(session, stored, writer=WRITER)
                blueprint = await blueprints.get(session, "a")
                late = small.rows[0].model_copy(update={"identifier": EntityId("zz"), "relations": {}})
                await entities.create(session, Kind("a", blueprint.definition), late, writer=WRITER)
        after = page.next
    assert len(set(seen)) == len(seen)
    assert {(row.blueprint, str(row.identifier)) for row in small.rows} - set(seen) <= {
        (gone.blueprint, gone.identifier)
    }


async def test_meta_properties_may_lack_their_dollar_unless_a_property_is_called_so(
    database: Database, small: Graph
) -> None:
    with_dollar = group({"property": "$updatedAt", "operator": ">", "value": "2026-03-14T13:00:00Z"})
    without = group({"property": "updatedAt", "operator": ">", "value": "2026-03-14T13:00:00Z"})
    wanted = await found(database, small, with_dollar)
    assert 0 < len(wanted) < len(small.rows)
    assert await found(database, small, without) == wanted
    schema = {"properties": {"updatedAt": {"type": "string"}}}
    document = {"identifier": "e", "title": "e", "schema": schema}
    async with database.write() as session:
        named = Blueprint(BlueprintId("e"), document, AT, "user_1", AT, "user_1")  # type: ignore[arg-type]
        await blueprints.create(session, named, origin="API")
    assert await found(database, small, without) == []


async def _rows(database: Database) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        rows = (await session.exec(select(EntityValueRow))).all()
    return sorted(
        ((r.entity_id, r.name, r.place, r.kind, r.head, r.whole, r.number, r.moment, r.rest) for r in rows), key=repr
    )


async def test_what_an_entity_is_found_by_follows_every_write(database: Database, small: Graph) -> None:
    chance = random.Random(9)  # noqa: S311
    for row in small.rows[:10]:
        definition = KNOWN.get(row.blueprint)
        assert definition
        async with database.write() as session:
            stored = await entities.get(session, row.blueprint, row.identifier)
            said = {"properties": random_properties(chance), "team": ("new",), "title": "T"}
            after = stored.entity.model_copy(update=said)
            await entities.replace(session, Kind(row.blueprint, definition), stored, after, writer=WRITER)
    found_by = await _rows(database)
    async with database.write() as session:
        for row in small.rows:
            stored = await entities.get(session, row.blueprint, row.identifier)
            await entity_values.keep(session, stored.id, stored.entity, None)
            await entity_values.keep(session, stored.id, None, stored.entity)
    assert await _rows(database) == found_by
    async with database.write() as session:
        for row in small.rows:
            await entities.remove(session, await entities.get(session, row.blueprint, row.identifier), writer=WRITER)
    assert await _rows(database) == []


async def test_an_array_may_have_very_many_elements(database: Database, small: Graph) -> None:
    definition, row = KNOWN.get("a"), small.rows[0]
    assert definition
    many: list[JsonValue] = [f"tag-{number}" for number in range(5_000)]

    async def written(values: list[JsonValue]) -> None:
        async with database.write() as session:
            stored = await entities.get(session, "a", row.identifier)
            after = stored.entity.model_copy(update={"properties": {"l": values}})
            await entities.replace(session, Kind("a", definition), stored, after, writer=WRITER)

    async def has(value: JsonValue) -> bool:
        rule: JsonValue = {"property": "l", "operator": "contains", "value": value}
        return ("a", str(row.identifier)) in await found(database, small, group(rule))

    await written(many)
    assert await has("tag-0")
    assert await has("tag-4999")
    await written(many[1:])
    assert [await has("tag-0"), await has("tag-4999")] == [False, True]
    await written([])
    assert not await has("tag-4999")


async def test_what_is_frequent_is_found_like_what_is_rare(
    database: Database, small: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: list[JsonValue] = [
        {"property": "s", "operator": "isNotEmpty"},
        {"property": "s", "operator": "in", "value": list(TEXTS)},
        {"property": "$team", "operator": "containsAny", "value": ["sre", "web"]},
        {"combinator": "or", "rules": [{"property": name, "operator": "=", "value": "a"} for name in ("s", "t")]},
        {"operator": "relatedTo", "blueprint": "b", "value": "b1"},
    ]
    several: list[list[JsonValue]] = [rules[:3], rules[1:3], rules[2:4], rules[1:], [rules[4], rules[2]]]
    queries = [group(*some) for some in (*([one] for one in rules), *several)]
    limits = [(0, 0, 100, 4), (1, 1, 100, 4), (5, 2, 0, 4), (9, 9, 0, 4), (1_000, 0, 0, 4), (1_000, 0, 0, 1)]
    for some, few, read, tried in (*limits, (1_000, 1_000, 0, 4), (1_000, 1_000, 100, 4)):
        for name, value in {"_SOME": some, "_FEW": few, "_READ": read, "_TRIED": tried}.items():
            monkeypatch.setattr(search, name, value)
        for written in queries:
            got = await found(database, small, written)
            assert sorted(got) == sorted(expected(small, written)), (some, few, read, tried, written)


async def test_of_rare_values_no_other_rule_becomes_sql(
    database: Database, small: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [
        group({"property": name, "operator": "=", "value": value}, {"property": "$title", "operator": "isNotEmpty"})
        for row in small.rows
        for name, value in row.properties.items()
        if name in ("n", "t", "loose") and (key(value) or ("null",))[0] in ("number", "boolean", "text")
        if not isinstance(value, str) or len(value) <= HEAD
    ][:20]

    def refuse(*_: object) -> None:
        raise AssertionError("a rule was compiled")

    monkeypatch.setattr(search_sql.Compiler, "_compiled", refuse)
    for written in queries:
        wanted = sorted(expected(small, written))
        assert wanted
        assert await found(database, small, written, limit=500) == wanted, written
    assert queries


async def test_who_is_found_is_told_like_the_entity_also_if_an_older_version_wrote_the_row(
    database: Database, small: Graph
) -> None:
    rare = small.rows[0]
    written = group({"property": "$identifier", "operator": "=", "value": str(rare.identifier)})
    for missing in ("", "icon", "datasource"):
        async with database.write() as session:
            row = (await session.exec(select(EntityRow).where(EntityRow.identifier == str(rare.identifier)))).first()
            assert row
            kept = {name: value for name, value in row.document.items() if name != missing}
            await session.exec(sa.update(EntityRow).where(col(EntityRow.id) == row.id).values(document=kept))
        async with database.read() as session:
            query = parsed(written, dialect=SEARCH)
            asked = await search.prepared(session, query, at=AT, caller=ADA, complete=small.complete)
            page = await asked.page(session)
        assert page.found
        for one in page.found:
            assert one.document() == one.entity.document()
            assert list(one.document()) == list(one.entity.document())
            schemas: dict[str, Document] = {"s": {"type": "string"}}
            assert replace(one.candidate(schemas), team=()) == replace(as_stored(one.entity, schemas=schemas), team=())
            assert list(one.candidate(schemas).team) == list(one.entity.team)


async def test_entities_that_were_there_before_are_found_after_the_migration(
    database: Database, database_url: str, small: Graph
) -> None:
    before = await _rows(database)
    assert before
    all_of_them = select(EntityValueRow.entity_id, EntityValueRow.name)
    own = all_of_them.where(EntityValueRow.place == 0)
    async with database.read() as session:
        named = set((await session.exec(all_of_them)).all())
        assert set((await session.exec(own)).all()) < named, "there are arrays that are found by their elements alone"
    await asyncio.to_thread(_migrated, database_url, "downgrade", "0018")
    async with Database(database_url) as old, old.read() as session:
        assert set((await session.exec(own)).all()) == named
    await asyncio.to_thread(migrate.upgrade, database_url)
    async with Database(database_url) as again:
        assert await _rows(again) == before
    await asyncio.to_thread(_migrated, database_url, "downgrade", "0004")
    await asyncio.to_thread(migrate.upgrade, database_url)
    async with Database(database_url) as again:
        assert await _rows(again) == before
        written = group({"property": "$title", "operator": "beginsWith", "value": "a"})
        assert await found(again, small, written) == sorted(expected(small, written))


def _migrated(url: str, way: str, revision: str) -> None:
    asyncio.run(migrate._with_connection(url, lambda config: getattr(command, way)(config, revision)))


async def test_moments_compare_as_they_are_told_though_sql_knows_them_better(database: Database, small: Graph) -> None:
    told = 0
    for operator in (">", ">=", "<", "<=", "=", "!="):
        for moment in ("000", "000001", "001", "001001", "0019", "002"):
            written = group({"property": "$createdAt", "operator": operator, "value": f"2026-03-14T12:00:00.{moment}Z"})
            wanted = expected(small, written)
            assert sorted(await found(database, small, written)) == sorted(wanted), written
            told += 0 < len(wanted) < len(small.rows)
    assert told > 20
