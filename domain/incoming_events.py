"""Events of incoming webhooks: which entities one creates, changes and deletes, by the programs of its webhook.

An event takes few trips to the evaluator: one for the filters and arrays of all mappings, then one for each entity.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from domain.documents import Document, canonical
from domain.incoming_webhooks import Definition, EventMapping, programs, texts
from domain.jq import Evaluator, Failed, Nothing, Outcome, Overran, Value
from domain.shapes import json_path, shortened
from domain.template_scanner import quoted

MAX_ITEMS = 1_000
"""How many entities one event may write; what is beyond is refused, on record."""
MAX_EVENT_ID = 255

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_ITEM = re.compile(r"\bitem\b")


@dataclass(frozen=True)
class Event:
    """What a sender has sent, once it is believed."""

    body: JsonValue
    headers: Mapping[str, str]
    """By lower case name."""
    query: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Write:
    """One entity to write, or to delete."""

    mapping: int
    blueprint: str
    request: Document
    """As a client would send it; of one to delete only its `identifier`."""
    deletes: bool = False
    deletes_dependents: bool = False


@dataclass(frozen=True)
class Note:
    """Why something of an event was not done."""

    mapping: int
    reason: str
    refused: int = 0
    """How many entities were not written because of it."""


@dataclass
class Meaning:
    """What an event says."""

    event_id: str | None = None
    writes: list[Write] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


async def faults(definition: Definition, evaluate: Evaluator) -> list[str]:
    """The programs of the mappings that do not compile, each as `<path>: <problem>`. None of them runs.

    Raises:
        Unavailable: nobody could be asked.
    """
    named = list(programs(definition))
    outcomes = await evaluate([f"empty |\n{quoted(program)}" for _, program in named], None) if named else []
    return [
        f"{path}: {outcome.reason}"
        for (path, _), outcome in zip(named, outcomes, strict=True)
        if isinstance(outcome, Failed)
    ]


async def meaning(
    definition: Definition, event: Event, evaluate: Evaluator, *, now: datetime, in_time: Callable[[], bool]
) -> Meaning:
    """What the event says, by the mappings of its webhook; what cannot be told is among the notes.

    Args:
        definition: of the webhook.
        event: what was sent.
        evaluate: runs the programs.
        now: what they take for now.
        in_time: whether there is time for another entity; those for which there is none are refused.

    Raises:
        Unavailable: nobody could be asked.
    """
    return await _Reader(definition, event, evaluate, now, in_time).read()


class _Unknown(Exception):
    """A search query has a part without a value."""


class _Reader:
    def __init__(
        self, definition: Definition, event: Event, evaluate: Evaluator, now: datetime, in_time: Callable[[], bool]
    ) -> None:
        self._definition, self._evaluate, self._now, self._in_time = definition, evaluate, now, in_time
        self._root = _root(definition, event)
        self._overran: dict[str, Outcome] = {}
        self._found = Meaning()

    async def read(self) -> Meaning:
        mappings = self._definition.mappings
        path = self._definition.security.request_identifier_path if self._definition.security else None
        asked = [path] + [
            program
            for mapping in mappings
            for program in (mapping.items_to_parse, mapping.filter if not _is_about_items(mapping) else None)
        ]
        outcomes = await self._asked([program for program in asked if program], self._root)
        if path:
            self._found.event_id = _event_id(outcomes[path])
        for index, mapping in enumerate(mappings):
            if _is_about_items(mapping) or self._passes(index, mapping, outcomes):
                await self._entities(index, mapping, outcomes)
        return self._found

    async def _entities(self, index: int, mapping: EventMapping, outcomes: Mapping[str, Outcome]) -> None:
        if mapping.items_to_parse is None:
            documents: list[Document] = [self._root]
        else:
            items = self._items(index, outcomes[mapping.items_to_parse])
            documents = [{**self._root, "item": item} for item in items]
        for number, document in enumerate(documents):
            rest = len(documents) - number
            if len(self._found.writes) >= MAX_ITEMS:
                self._note(index, f"{rest} more were left out: one event writes {MAX_ITEMS} entities at most", rest)
                return
            if not self._in_time():
                self._note(index, f"{rest} more were left out: the event took too long to evaluate", rest)
                return
            at = "" if mapping.items_to_parse is None else f"item {number}: "
            await self._entity(index, mapping, document, at)

    async def _entity(self, index: int, mapping: EventMapping, document: Document, at: str) -> None:
        wanted = [program for _, program in _programs(mapping)]
        if _is_about_items(mapping) and mapping.filter:
            wanted.append(mapping.filter)
        outcomes = await self._asked(wanted, document)
        if _is_about_items(mapping) and not self._passes(index, mapping, outcomes, at):
            return
        identifier = _filled(mapping.entity.identifier, outcomes)
        if identifier is None or isinstance(identifier, bool | list):
            told = _told(mapping.entity.identifier, outcomes)
            self._note(index, f"{at}{_at(index, 'entity', 'identifier')}: gave no identifier, but {told}", 1)
            return
        request: Document = {"identifier": identifier}
        if not mapping.deletes:
            for path, program in _programs(mapping):
                if isinstance(outcome := outcomes[program], Overran):
                    self._note(index, f"{at}{_at(index)}.{path}: stays as it was: {outcome.reason}")
            request |= _said(mapping, outcomes)
        self._found.writes.append(Write(index, mapping.blueprint, request, mapping.deletes, mapping.deletes_dependents))

    def _passes(self, index: int, mapping: EventMapping, outcomes: Mapping[str, Outcome], at: str = "") -> bool:
        if mapping.filter is None:
            return True
        outcome = outcomes[mapping.filter]
        if isinstance(outcome, Failed):
            self._note(index, f"{at}{_at(index, 'filter')}: failed, so it does not match: {outcome.reason}")
        return isinstance(outcome, Value) and outcome.value is True

    def _items(self, index: int, outcome: Outcome) -> list[JsonValue]:
        if isinstance(outcome, Value) and isinstance(outcome.value, list):
            return outcome.value
        self._note(index, f"{_at(index, 'itemsToParse')}: gave no array, but {_shown(outcome)}")
        return []

    async def _asked(self, wanted: Sequence[str], document: Document) -> dict[str, Outcome]:
        """The outcome of each program. One that ran into a limit is not tried again: the event would never end."""
        distinct = [program for program in dict.fromkeys(wanted) if program not in self._overran]
        outcomes = await self._evaluate(list(map(quoted, distinct)), document, now=self._now) if distinct else []
        fresh = dict(zip(distinct, outcomes, strict=True))
        self._overran |= {program: outcome for program, outcome in fresh.items() if isinstance(outcome, Overran)}
        return {**self._overran, **fresh}

    def _note(self, index: int, reason: str, refused: int = 0) -> None:
        self._found.notes.append(Note(index, shortened(reason, 1_000), refused))


def _root(definition: Definition, event: Event) -> Document:
    """What programs see. Repeated query parameters are arrays.

    Names of headers come in lower case; a header is also there as a program of the webhook spells it. The header of
    the signature is left out where it is the secret itself.
    """
    security = definition.security
    hidden = (security.signature_header_name or "").lower() if security and _is_plain(definition) else None
    headers: Document = {name: value for name, value in event.headers.items() if name != hidden}
    spelled = [program for _, program in programs(definition)]
    if security and security.request_identifier_path:
        spelled.append(security.request_identifier_path)
    for word in {word for program in spelled for word in _WORD.findall(program)}:
        if word.lower() in headers:
            headers[word] = headers[word.lower()]
    query: Document = {name: values[0] if len(values) == 1 else list(values) for name, values in event.query.items()}
    return {"body": event.body, "headers": headers, "queryParams": query}


def _is_plain(definition: Definition) -> bool:
    return definition.security is not None and definition.security.signature_algorithm == "plain"


def _is_about_items(mapping: EventMapping) -> bool:
    """Whether the filter chooses among items, not events."""
    return bool(mapping.items_to_parse and mapping.filter and _ITEM.search(mapping.filter))


def _programs(mapping: EventMapping) -> Iterator[tuple[str, str]]:
    """The programs of the entity with their paths in it; to delete it, its name is enough."""
    entity = mapping.entity
    yield from texts(entity.identifier, ["entity", "identifier"])
    if mapping.deletes:
        return
    for name, value in (("title", entity.title), ("icon", entity.icon), ("team", entity.team)):
        yield from texts(value, ["entity", name])
    for key, parts in (("properties", entity.properties), ("relations", entity.relations)):
        for name, value in parts.items():
            yield from texts(value, ["entity", key, name])


def _said(mapping: EventMapping, outcomes: Mapping[str, Outcome]) -> Document:
    """What the event says of the entity. What has no answer is not in it; what failed is null."""
    entity = mapping.entity
    said: Document = {}
    for key, program in (("title", entity.title), ("icon", entity.icon), ("team", entity.team)):
        if program is not None and _has_answer(program, outcomes):
            said[key] = _filled(program, outcomes)
    if said.get("title", ...) is None:
        del said["title"]  # an entity is never without one
    properties: Document = {
        name: _value(outcomes[program]) for name, program in entity.properties.items() if _has_answer(program, outcomes)
    }
    relations: Document = {
        name: _filled(value, outcomes) for name, value in entity.relations.items() if _has_answer(value, outcomes)
    }
    return {**said, "properties": properties, "relations": relations}


def _has_answer(value: JsonValue, outcomes: Mapping[str, Outcome]) -> bool:
    return not any(isinstance(outcomes[program], Nothing | Overran) for _, program in texts(value, []))


def _filled(value: JsonValue, outcomes: Mapping[str, Outcome]) -> JsonValue:
    """The name or names that a program gives, or the search query that others fill; None if a part is missing."""
    if isinstance(value, str):
        return _named(_value(outcomes[value]))
    try:
        return _query(value, outcomes)
    except _Unknown:
        return None


def _query(value: JsonValue, outcomes: Mapping[str, Outcome]) -> JsonValue:
    match value:
        case str():
            if (answer := _value(outcomes[value])) is None:
                raise _Unknown
            return answer
        case list():
            return [_query(item, outcomes) for item in value]
        case dict():
            return {key: _query(item, outcomes) for key, item in value.items()}
    return value


def _named(value: JsonValue) -> JsonValue:
    """Names are texts, and numbers are often used as such."""
    match value:
        case bool():
            return value
        case int() | float():
            return canonical(value)
        case list():
            return [_named(item) for item in value]
    return value


def _value(outcome: Outcome) -> JsonValue:
    return outcome.value if isinstance(outcome, Value) else None


def _event_id(outcome: Outcome) -> str | None:
    named = _named(_value(outcome))
    return named[:MAX_EVENT_ID] if isinstance(named, str) and named else None


def _told(value: JsonValue, outcomes: Mapping[str, Outcome]) -> str:
    """What became of the program, or of the first part of the query that has no value."""
    for _, program in texts(value, []):
        if not isinstance(value, str) and _value(outcomes[program]) is not None:
            continue
        return _shown(outcomes[program])
    return "nothing"


def _shown(outcome: Outcome) -> str:
    match outcome:
        case Value(value):
            return shortened(canonical(value), 100)
        case Failed(reason):
            return f"failed: {reason}"
    return "nothing"


def _at(index: int, *parts: str) -> str:
    return json_path(["mappings", index, *parts])
