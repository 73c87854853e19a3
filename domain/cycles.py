"""Cycles: whether an automation can trigger itself, by what it and others do, as far as their definitions say.

What a definition says is followed from one thing to the next: an automation that is triggered has a run, the run has
its changes and its backend, the backend writes entities or calls our own API, and each change triggers automations.
Nothing is evaluated: a template may be anything, and so may a condition.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from domain.automations import keys_of_event
from domain.changes import Key
from domain.documents import Document
from domain.shapes import shortened
from domain.template_scanner import Text, parsed

MAX_STEPS = 16
"""How many steps of a cycle are told; of longer ones the middle is left out."""

_ANY = None
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TEMPLATE = "\ue000"
"""Stands for a template within a URL; a character for private use, which nobody writes there."""
_WRITTEN = ("CREATE", "UPDATE")


@dataclass(frozen=True, slots=True)
class _Triggered:
    """An action or automation that gets a run."""

    identifier: str


@dataclass(frozen=True, slots=True)
class _Works:
    """The backend of an action or automation that does its work."""

    identifier: str


@dataclass(frozen=True, slots=True)
class _Changed:
    """A change of an entity or a run; `of` is its blueprint or action, None when it may be any."""

    kind: str
    happening: str
    of: str | None


@dataclass(frozen=True, slots=True)
class _AnyStarted:
    """A run of whatever people execute: a template stands where the action would be named."""


_Thing: TypeAlias = _Triggered | _Works | _Changed | _AnyStarted


@dataclass(frozen=True, slots=True)
class _Step:
    """What follows from a thing, and how that is said; empty where it needs no words."""

    words: str
    then: _Thing


def warning(definition: Document, others: Iterable[Document], *, own_addresses: Sequence[str]) -> str | None:
    """A sentence that shows the shortest cycle by which the automation can trigger itself; None if it cannot.

    Args:
        definition: of the automation.
        others: the definitions of everything else that can run: self-service actions, and published automations.
        own_addresses: where our own API is reached.
    """
    cycle = _Definitions([definition, *others], own_addresses).cycle(str(definition["identifier"]))
    if cycle is None:
        return None
    words = [step for step in cycle if step]
    if len(words) > MAX_STEPS:
        half = MAX_STEPS // 2
        words[half:-half] = [f"... ({len(words) - 2 * half} more) ..."]
    return "this automation can trigger itself, unless a condition stops it: " + " -> ".join(words)


class _Definitions:
    """What can run, and what follows from what."""

    def __init__(self, several: Iterable[Document], own_addresses: Sequence[str]) -> None:
        self._of: dict[str, Document] = {}
        self._listening: dict[Key, list[str]] = {}
        self._anything: dict[tuple[str, str], list[str]] = {}
        """Who listens to a kind of change, whatever it is of."""
        self._own = [origin for address in own_addresses if (origin := _origin(urlsplit(address)))]
        for definition in several:
            identifier = str(definition["identifier"])
            if identifier in self._of:
                continue
            self._of[identifier] = definition
            event = _event(definition)
            for kind, happening, of in keys_of_event(event) if event else ():
                self._listening.setdefault((kind, happening, of), []).append(identifier)
                self._anything.setdefault((kind, happening), []).append(identifier)

    def cycle(self, identifier: str) -> list[str] | None:
        """The shortest way from the automation back to it, in words. Everything is looked at once."""
        start = _Triggered(identifier)
        came: dict[_Thing, tuple[_Thing, str]] = {}
        waiting: deque[_Thing] = deque([start])
        while waiting:
            thing = waiting.popleft()
            for step in self._steps(thing):
                if step.then == start:
                    return [_name(identifier), *self._way(thing, came), step.words, _name(identifier)]
                if step.then not in came:
                    came[step.then] = (thing, step.words)
                    waiting.append(step.then)
        return None

    def _way(self, thing: _Thing, came: dict[_Thing, tuple[_Thing, str]]) -> list[str]:
        words: list[str] = []
        while thing in came:
            before, said = came[thing]
            if isinstance(thing, _Triggered):
                words.append(_name(thing.identifier))
            words.append(said)
            thing = before
        return words[::-1]

    def _steps(self, thing: _Thing) -> Iterator[_Step]:
        match thing:
            case _Triggered(identifier):
                yield _Step("its run", _Changed("run", "CREATE", identifier))
                yield _Step("", _Works(identifier))
            case _Works(identifier):
                yield _Step("its run", _Changed("run", "UPDATE", identifier))
                yield from self._effects(self._of[identifier])
            case _AnyStarted():
                for name, definition in self._of.items():
                    if _event(definition) is None:
                        yield _Step("", _Triggered(name))
            case _Changed(kind, happening, None):
                yield from self._triggers(self._anything.get((kind, happening), ()))
            case _Changed(kind, happening, str() as of):
                yield from self._triggers(self._listening.get((kind, happening, of), ()))

    def _triggers(self, identifiers: Iterable[str]) -> Iterator[_Step]:
        for identifier in identifiers:
            event = _event(self._of[identifier]) or {}
            yield _Step(str(event["type"]), _Triggered(identifier))

    def _effects(self, definition: Document) -> Iterator[_Step]:
        match definition.get("invocationMethod"):
            case {"type": "UPSERT_ENTITY", "blueprintIdentifier": str() as blueprint}:
                yield from _writes(_plain(blueprint), _WRITTEN)
            case {"type": "WEBHOOK", "url": str() as url, **more}:
                verb = more.get("method", "POST")
                if (path := self._own_path(url)) is not None:
                    yield from self._calls(definition, str(verb).upper(), path)

    def _own_path(self, url: str) -> list[str | None] | None:
        """The parts of the path within our own API, None where there are templates; None if it is not our API."""
        read = parsed(url.strip())
        if isinstance(read, Text):
            if read.fault is not None:
                return None
            url = "".join(part if isinstance(part, str) else _TEMPLATE for part in read.parts)
        parts = _split(url)
        origin = _origin(parts) if parts else None
        for scheme, host, port, base in self._own if origin and parts else ():
            if origin and parts and origin[:3] == (scheme, host, port) and f"{parts.path}/".startswith(base):
                rest = parts.path[len(base) :].strip("/").split("/")
                return [_ANY if _TEMPLATE in part else unquote(part) for part in rest]
        return None

    def _calls(self, definition: Document, verb: str, path: list[str | None]) -> Iterator[_Step]:
        match verb, path:
            case "POST", ["v1", "actions", action, "runs"]:
                if action is None:
                    yield _Step("may start any action", _AnyStarted())
                elif action in self._of and _event(self._of[action]) is None:
                    yield _Step("starts", _Triggered(action))
            case "PATCH", ["v1", "actions", "runs", _, "approval"]:
                yield from self._reports(definition, approves=True)
            case ("PATCH", ["v1", "actions", "runs", _]) | ("PATCH", ["v1", "actions", "runs", _, "response"]):
                yield from self._reports(definition, approves=False)
            case "POST", ["v1", "actions", "runs", _, "logs"]:
                yield from self._reports(definition, approves=False)
            case "POST", ["v1", "blueprints", blueprint, "entities"]:
                yield from _writes(blueprint, _WRITTEN)
            case "POST", ["v1", "blueprints", blueprint, "entities", "bulk"]:
                yield from _writes(blueprint, _WRITTEN)
            case ("POST", ["v1", "blueprints", blueprint, "bulk", "entities", "delete"]) | (
                "DELETE",
                ["v1", "blueprints", blueprint, "bulk", "entities"] | ["v1", "blueprints", blueprint, "all-entities"],
            ):
                yield from _writes(blueprint, ("DELETE",))
            case "PUT", ["v1", "blueprints", blueprint, "entities", _, *_]:
                yield from _writes(blueprint, _WRITTEN)
            case "PATCH", ["v1", "blueprints", blueprint, "entities", _, *_]:
                yield from _writes(blueprint, ("UPDATE",))
            case "DELETE", ["v1", "blueprints", blueprint, "entities", _, *_]:
                yield from _writes(blueprint, ("DELETE",))

    def _reports(self, definition: Document, *, approves: bool) -> Iterator[_Step]:
        """What follows from a report about a run, or a decision: about which run, the event of the automation says."""
        event = _event(definition)
        action = event.get("actionIdentifier") if event else None
        verb = "approve" if approves else "update"
        if not isinstance(action, str):
            yield _Step(f"may {verb} a run of any action", _Changed("run", "UPDATE", _ANY))
            return
        words = f"{verb}s a run of {_name(action)}"
        yield _Step(words, _Changed("run", "UPDATE", action))
        if approves and action in self._of:
            yield _Step(words, _Works(action))


def _writes(blueprint: str | None, happenings: Iterable[str]) -> Iterator[_Step]:
    for happening in happenings:
        verb = "delete" if happening == "DELETE" else "write"
        words = f"{verb}s {_name(blueprint)}" if blueprint is not None else f"may {verb} any blueprint"
        yield _Step(words, _Changed("entity", happening, blueprint))


def _event(definition: Document) -> Document | None:
    match definition:
        case {"trigger": {"type": "automation", "event": dict() as event}}:
            return event
    return None


def _plain(text: str) -> str | None:
    """The text, or None if there is a template in it."""
    return None if isinstance(parsed(text), Text) else text


def _name(identifier: str) -> str:
    return shortened(identifier, 80)


_Origin: TypeAlias = tuple[str, str, int, str]


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _origin(parts: SplitResult) -> _Origin | None:
    """Scheme, host, port and path, as they are compared; None where it is no address."""
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port, f"{parts.path.rstrip('/')}/"
