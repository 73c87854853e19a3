"""Arrays are found as wholes and by their elements, whatever they have in common with others."""

import pytest
from pydantic import JsonValue

from domain.entities import Entity, EntityId
from store import search
from store.database import Database
from tests.support.search_catalog import AT, LONGER, NOW, OTHER, SAME, Graph, expected, fill, found, group

ARRAYS: list[JsonValue] = [
    [],
    ["a"],
    ["b"],
    ["a", "b"],
    ["b", "a"],
    ["a", "a"],
    ["a", "a", "b"],
    ["a", "b", "a"],
    [1, "a"],
    [True, "a"],
    [1.0, "a"],
    [0],
    [-0.0],
    [None],
    [None, None],
    [0, None],
    [NOW],
    [SAME],
    [NOW, SAME],
    [SAME, NOW, "a"],
    [LONGER, OTHER],
    [OTHER, LONGER],
    [LONGER],
    [[], "a"],
    ["a", []],
    [["a"]],
    [[["a"]]],
    ["a", {"b": 1}],
    [{"b": 1}],
    {"a": 1},
    "a",
    None,
]


@pytest.fixture
async def arrays(database: Database, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """An entity with each of them, in a catalog in which SQL decides, however few they are."""
    monkeypatch.setattr(search, "_READ", -1_000)
    rows = [
        Entity(
            identifier=EntityId(f"a{number}"),
            title="A",
            blueprint="a",
            relations={},
            properties={"l": array, "s": array if number % 2 else None, "t": "a" if number % 3 else None},
            created_at=AT,
            created_by="user_1",
            updated_at=AT,
            updated_by="user_1",
        )
        for number, array in enumerate(ARRAYS)
    ]
    graph = Graph(rows)
    await fill(database, graph)
    return graph


async def test_arrays_are_equal_if_all_of_their_elements_are_in_their_order(database: Database, arrays: Graph) -> None:
    for operator in ("=", "!="):
        for array in ARRAYS:
            if not isinstance(array, list) or any(isinstance(element, list | dict) for element in array):
                continue  # nobody can ask for it
            written = group({"property": "l", "operator": operator, "value": array})
            wanted = expected(arrays, written)
            assert 0 < len(wanted) < len(ARRAYS)
            assert sorted(await found(database, arrays, written)) == sorted(wanted), written


async def test_what_has_elements_or_none_is_not_null(database: Database, arrays: Graph) -> None:
    rules: list[dict[str, JsonValue]] = [
        {"property": "l"},
        {"property": "s"},
        {"propertySchema": {"type": "array"}},
        {"propertySchema": {"type": "string"}},  # which `t` is, too
    ]
    for rule in rules:
        for operator in ("=", "!="):
            written = group({**rule, "operator": operator, "value": None})
            assert sorted(await found(database, arrays, written)) == sorted(expected(arrays, written)), written


async def test_elements_are_found_in_whichever_place_they_are(database: Database, arrays: Graph) -> None:
    values: list[JsonValue] = ["a", "b", 1, True, 0, NOW, SAME, LONGER, OTHER]
    for value in values:
        for operator in ("contains", "doesNotContain"):
            written = group({"property": "l", "operator": operator, "value": value})
            assert sorted(await found(database, arrays, written)) == sorted(expected(arrays, written)), written
