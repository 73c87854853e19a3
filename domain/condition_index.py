"""Conditions found by value: of many that compare the same path with different values, few can hold for one event."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from pydantic import JsonValue

from domain.documents import Document
from domain.jq import Value
from domain.jq_reading import Path, demands, led_to

Item = TypeVar("Item")

_Wanted: TypeAlias = tuple[bool, JsonValue]
"""A value, and whether it is a boolean: true is 1 to Python, and not to jq."""
_Demand: TypeAlias = tuple[Path, _Wanted]


class ConditionIndex(Generic[Item]):
    """Items with conditions, by a value that an event must have for the condition to hold.

    It says only who cannot be meant: whoever it names has still to be asked. Conditions that demand no value, and
    values that only jq can compare, have everybody asked whom they concern.
    """

    def __init__(self, items: Iterable[tuple[Item, JsonValue]]) -> None:
        """Items, each with its condition as definitions have it; None without one."""
        every = list(items)
        self._items: Sequence[Item] = [item for item, _ in every]
        self._always: list[int] = []
        self._by_value: defaultdict[Path, defaultdict[_Wanted, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._by_path: defaultdict[Path, list[int]] = defaultdict(list)
        choices = [_choices(condition) for _, condition in every]
        common = Counter(demand for choice in choices for demand in {one for some in choice for one in some})
        for place, choice in enumerate(choices):
            if not choice:
                self._always.append(place)
                continue
            # Fewest are asked by the value that fewest others demand.
            for path, value in min(choice, key=lambda demands: sum(common[one] for one in demands)):
                self._by_value[path][value].append(place)
                self._by_path[path].append(place)

    def possible(self, event: Document) -> Sequence[Item]:
        """The items whose conditions may hold for the event, in their order; those of all others do not."""
        if not self._by_value:
            return self._items
        found = list(self._always)
        for path, by_value in self._by_value.items():
            value = led_to(path, event)
            found += by_value.get(_wanted(value), ()) if value else self._by_path[path]
        return [self._items[place] for place in sorted(set(found))]


def _choices(condition: JsonValue) -> list[frozenset[_Demand]]:
    """What a condition demands of an event: something of each of these. Nothing, if nobody can tell."""
    if not isinstance(condition, dict):
        return []
    expressions = condition.get("expressions")
    if not isinstance(expressions, list):
        return []
    # What is no text has no place in a definition, and demands nothing.
    programs = [one if isinstance(one, str) else "" for one in expressions]
    every = condition.get("combinator", "and") == "and" or len(programs) == 1
    return [frozenset((path, _wanted(value)) for path, value in some) for some in demands(programs, every=every)]


def _wanted(value: Value) -> _Wanted:
    return isinstance(value.value, bool), value.value
