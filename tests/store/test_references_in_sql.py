"""Search queries in place of identifiers: what they become, and when they are refused."""

import pytest
from pydantic import JsonValue

from domain.documents import Document
from domain.entities import EntityRequest, Kind, parsed_request
from domain.errors import InvalidRequest, NotFound
from store import references
from store.database import Database
from tests.support.search_catalog import ADA, AT, KNOWN, Graph, fill, group, random_catalog


@pytest.fixture
async def small(database: Database) -> Graph:
    """A catalog in the database."""
    graph = random_catalog(5)
    await fill(database, graph)
    return graph


async def _resolved(database: Database, graph: Graph, document: Document, blueprint: str = "a") -> EntityRequest:
    definition = KNOWN.get(blueprint)
    assert definition
    kind = Kind(blueprint, definition)
    async with database.read() as session:
        return await references.resolved(
            session, kind, parsed_request(document), at=AT, caller=ADA, complete=graph.complete
        )


def _called(*identifiers: str) -> dict[str, JsonValue]:
    return group({"property": "$identifier", "operator": "in", "value": list(identifiers)})


async def test_queries_become_identifiers(database: Database, small: Graph) -> None:
    relations: dict[str, JsonValue] = {"one": _called("b3"), "many": _called("a2", "a1", "b1"), "must": "a1"}
    document: Document = {"identifier": _called("a2"), "relations": relations, "team": _called("web", "sre")}
    request = await _resolved(database, small, document)
    assert request.identifier == "a2"
    assert request.relations == {"one": "b3", "many": ["a1", "a2"], "must": "a1"}
    assert request.team == ["sre", "web"]
    plain = parsed_request({"identifier": "x"})
    definition = KNOWN.get("a")
    assert definition
    async with database.read() as session:
        kind = Kind("a", definition)
        same = await references.resolved(session, kind, plain, at=AT, caller=ADA, complete=small.complete)
    assert same is plain


async def test_one_is_found_where_one_is_meant(database: Database, small: Graph) -> None:
    with pytest.raises(NotFound, match="identifier searches for"):
        await _resolved(database, small, {"identifier": _called("gone")})
    with pytest.raises(InvalidRequest, match=r"^identifier: .* exactly one entity of a, and finds 2$"):
        await _resolved(database, small, {"identifier": _called("a1", "a2")})
    with pytest.raises(NotFound, match=r"relations\.one searches for"):
        await _resolved(database, small, {"relations": {"one": _called("a1")}})
    rule: Document = {"operator": "relatedTo", "blueprint": "nowhere", "value": "x"}
    absent: Document = {"combinator": "and", "rules": [rule]}
    documents: list[Document] = [{"identifier": absent}, {"team": absent}, {"relations": {"many": absent}}]
    for sent in documents:
        with pytest.raises(InvalidRequest, match=r"rules\[0\]\.blueprint: there is no blueprint nowhere$"):
            await _resolved(database, small, sent)


async def test_what_is_wrong_with_a_query_is_named_by_its_path(database: Database, small: Graph) -> None:
    rule: Document = {"property": "$identifier", "operator": "isNotEmpty"}
    many = group(*[rule] * 21)
    wrong: list[tuple[Document, str]] = [
        ({"relations": {"one": {"combinator": "and"}}}, "relations.one.rules: is required"),
        ({"relations": {"many": {"rules": []}}}, "relations.many.combinator: is required"),
        ({"identifier": {"a b": 1}}, 'identifier["a b"]: unknown key'),
        ({"team": group({"operator": "="})}, "team.rules[0].property: is required"),
        ({"team": many}, "team: may have at most 20 rules in place of an identifier"),
    ]
    for document, said in wrong:
        with pytest.raises(InvalidRequest) as refused:
            await _resolved(database, small, document)
        assert str(refused.value) == said
