"""Rows of numbers and values by date: what entities add up to over time, and what one of them was."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from domain.aggregations import Measured, moment
from domain.blueprints import Definition
from domain.candidates import Entity
from domain.documents import Document
from domain.statistics import AggregateOverTime, bare, full, spec
from domain.tallies import Last, Tally, Values
from domain.timelines import Interval, Timeline, milliseconds

_PARTS: Final[dict[Interval, int]] = {"hour": 60, "day": 24, "isoWeek": 7, "month": 30, "quarter": 90}
"""By what an average count of entities is divided: minutes, hours, and then days."""
_DATE: Final = "date"


class Series:
    """What entities add up to in each interval."""

    def __init__(self, asked: AggregateOverTime, definition: Definition, timeline: Timeline, *, at: datetime) -> None:
        self._asked, self._timeline, self._at = asked, timeline, at
        self._timed = asked.timed(definition)
        self._names = {name: bare(name) for name in asked.properties or ()}
        self._broken = None if asked.breakdown_property is None else full(asked.breakdown_property, definition)
        self._numbers: dict[tuple[int, str], Tally | Last] = {}
        self._counts: dict[int, Values] = {}

    @property
    def names(self) -> frozenset[str]:
        """The properties that have to be known of each entity."""
        return frozenset(name for name in (self._timed, self._broken, *self._names.values()) if name)

    def add(self, entity: Entity) -> None:
        """Count one more.

        Raises:
            InvalidRequest: there are too many different values to break down by.
        """
        at = moment(entity.value(self._timed))
        if at is None:
            return
        place = self._timeline.place(at)
        if not self._names:
            said = entity.value(self._broken) if self._broken else self._asked.func
            self._counts.setdefault(place, Values("breakdownProperty")).add(said)
        for written, name in self._names.items():
            self._number(place, written).add(Measured(entity.value(name), at))

    def data(self) -> list[Document]:
        """One row for each interval, in their order."""
        return [
            {_DATE: milliseconds(start), **{_key(name): value for name, value in self._row(place)}}
            for place, start in enumerate(self._timeline.starts)
        ]

    def _number(self, place: int, name: str) -> Tally | Last:
        if (place, name) not in self._numbers:
            func = self._asked.func
            self._numbers[place, name] = Last() if func == "last" else Tally(spec(func, by="property"), at=self._at)
        return self._numbers[place, name]

    def _row(self, place: int) -> Iterator[tuple[str, JsonValue]]:
        for name in self._names:
            if (place, name) in self._numbers and (number := self._numbers[place, name].result()) is not None:
                yield name, number
        if not self._names:
            counts = self._counts[place].result() if place in self._counts else {}
            parts = _PARTS[self._asked.time_interval] if self._asked.func == "average" else 1
            for name, count in (counts if self._broken or counts else {self._asked.func: 0}).items():
                yield name, count / parts if count % parts else count // parts


class Past:
    """What an entity was at the end of each interval, found by going back from what it is now."""

    def __init__(self, names: Sequence[str], timeline: Timeline, now: Document) -> None:
        self._names, self._timeline, self._ends = names, timeline, timeline.ends
        self._then: Document | None = now
        self._rows: list[Document] = []

    def undo(self, at: datetime, before: Document | None) -> None:
        """Go back beyond a change; `before` is None if it made the entity."""
        while len(self._rows) < len(self._ends) and self._ends[-1 - len(self._rows)] >= at:
            self._tell()
        self._then = before

    def data(self) -> list[Document]:
        """One row for each interval at whose end there was the entity, in their order."""
        while len(self._rows) < len(self._ends):
            self._tell()
        return [row for row in reversed(self._rows) if row]

    def _tell(self) -> None:
        place = len(self._ends) - 1 - len(self._rows)
        then = self._then
        # What was made later was not there yet, whether or not the log still says so.
        if then is None or ((made := moment(then.get("createdAt"))) and made > self._ends[place]):
            self._rows.append({})
            return
        properties = then.get("properties")
        kept = properties if isinstance(properties, dict) else {}
        values = {
            _key(name): then.get(name[1:]) if name.startswith("$") else kept.get(bare(name)) for name in self._names
        }
        self._rows.append({_DATE: milliseconds(self._timeline.starts[place]), **values})


def _key(name: str) -> str:
    """The name as a key of a row, which has its date already."""
    return f'"{name}"' if name == _DATE else name
