"""What the programs of a form see: the inputs as they stand, who asks, and the entity the action runs on."""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import regex
from pydantic import JsonValue

from domain.documents import Document
from domain.inputs import Input, UserInputs
from domain.people_entities import identifier_of, title_of
from domain.templating import MASK
from domain.users import ADMIN, MEMBER, Caller

MOST_NAMED: Final = 1_000
"""How many entities one input may name."""


class Named(NamedTuple):
    """An entity that an input names."""

    blueprint: str
    identifier: str


Entities = Mapping[Named, Document | None]
"""What is known of the entities that inputs name; None: there is none, or not for whoever asks."""


@dataclass(frozen=True, slots=True)
class EntityInput:
    """What makes an input one that names entities."""

    blueprint: str
    many: bool
    dataset: Document | None
    """Which entities it offers, as it is written; None: all of the blueprint."""
    path: str
    """Where the dataset is, below the input."""

    def named(self, value: JsonValue) -> list[Named]:
        """The entities that a value names; what is no text names none, and is refused for that."""
        values = value if self.many and isinstance(value, list) else [value]
        return [Named(self.blueprint, one) for one in values if isinstance(one, str)]


def entity_input(each: Input) -> EntityInput | None:
    """What the input says about entities, if it names any."""
    if each.format == "entity" and each.blueprint is not None:
        return _entity_input(each, each.blueprint, many=each.type == "array")
    items = each.document.get("items")
    if each.type != "array" or not isinstance(items, dict) or items.get("format") != "entity":
        return None
    blueprint = items.get("blueprint")
    if not isinstance(blueprint, str):
        return None
    return _entity_input(each, blueprint, many=True)


def _entity_input(each: Input, blueprint: str, *, many: bool) -> EntityInput:
    """With the dataset wherever it is; that of the items comes first."""
    items = each.document.get("items")
    inner = items.get("dataset") if isinstance(items, dict) else None
    if many and inner is not None:
        return EntityInput(blueprint, many, _object(inner), "items.dataset")
    return EntityInput(blueprint, many, _object(each.document.get("dataset")), "dataset")


def _object(value: JsonValue) -> Document | None:
    # What is no object is no dataset either, and whoever reads it has to say so.
    return value if isinstance(value, dict) or value is None else {"dataset": value}


def form_of(form: UserInputs, values: Document, about: Mapping[str, EntityInput], entities: Entities) -> Document:
    """`.form`: every input with its value, entities whole, secrets masked. Text that nobody has touched is empty.

    `about` has what each input says about entities.
    """
    return {name: _seen(each, values.get(name), about.get(name), entities) for name, each in form.properties.items()}


def _seen(each: Input, value: JsonValue, about: EntityInput | None, entities: Entities) -> JsonValue:
    if value is None:
        return "" if each.type == "string" and about is None else None
    if each.encryption is not None:
        return MASK if value != "" else ""
    if about is None:
        return value
    if about.many and isinstance(value, list):
        return [entities.get(Named(about.blueprint, one)) if isinstance(one, str) else None for one in value]
    return entities.get(Named(about.blueprint, value)) if isinstance(value, str) else None


def expanded(form: UserInputs, values: Document, about: Mapping[str, EntityInput], entities: Entities) -> Document:
    """The inputs that name entities, each with these in place of their identifiers, as invocations see them."""
    named = {name: one for name, one in about.items() if name in values and form.properties[name].encryption is None}
    return {name: _whole(values[name], one.blueprint, entities) for name, one in named.items()}


def _whole(value: JsonValue, blueprint: str, entities: Entities) -> JsonValue:
    match value:
        case list():
            return [_whole(one, blueprint, entities) for one in value]
        case str():
            # Of one that is not there, or not for whoever asks, is known what was sent.
            unknown: Document = {"identifier": value, "title": value, "icon": None, "blueprint": blueprint}
            unknown |= {"team": [], "properties": {}, "relations": {}}
            return entities.get(Named(blueprint, value)) or unknown
    return value


def user_of(caller: Caller, entity: Document | None) -> Document:
    """`.user`: who asks, as the published examples expect it, with what the catalog has about them."""
    user = caller.user
    teams = list[JsonValue](user.teams) if user else []
    identifiers: list[JsonValue] = [str(identifier_of(str(team))) for team in teams]
    known = entity or {}
    properties, relations = known.get("properties"), known.get("relations")
    return {
        "userId": caller.id,
        "email": user.email if user else None,
        "name": title_of(user) if user else None,
        "picture": user.picture if user else None,
        "mainRole": None if user is None else ADMIN if user.has_role(ADMIN) else MEMBER,
        "roles": [{"name": role} for role in user.roles] if user else [],
        "teams": [{"name": team, "provider": "port"} for team in teams],
        "team": teams,
        "teamsIdentifiers": identifiers,
        "identifier": str(identifier_of(user.email)) if user else None,
        "title": title_of(user) if user else None,
        "properties": properties if isinstance(properties, dict) else {},
        "relations": {
            **({name: _ends(value) for name, value in relations.items()} if isinstance(relations, dict) else {}),
            "teams": [{"identifier": team} for team in identifiers],
        },
    }


def asks_about_entity(programs: Collection[str]) -> bool:
    """Whether a program may see what `user_of` takes from the person's own entity.

    What only names the person's other fields never does. Everything else that says `user` anywhere might.
    """
    return any("user" in _OF_THE_PERSON.sub("", program) for program in programs)


_OF_THE_PERSON: Final = regex.compile(
    r"\.user\.(?:userId|email|name|picture|mainRole|roles|teams|team|teamsIdentifiers|identifier|title)(?![A-Za-z0-9_])"
)


def _ends(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [{"identifier": one} for one in value]
    return None if value is None else {"identifier": value}


def batches(form: UserInputs, order: Sequence[str], programs: Mapping[str, str]) -> Iterator[list[str]]:
    """The inputs with a computed default, as they are evaluated: those of one batch do not depend on each other.

    They come in the order of the inputs, and each after earlier ones that its program names.
    """
    batch: list[str] = []
    for name in order:
        if name not in programs:
            continue
        above = form.properties[name].depends_on or ()
        if any(other in above or _names(programs[name], other) for other in batch):
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def _names(program: str, name: str) -> bool:
    return bool(regex.search(rf"(?<!\w){regex.escape(name)}(?!\w)", program))


def ordered(form: UserInputs) -> Sequence[str]:
    """The inputs, each after those in its `dependsOn`.

    In a circle, and where nothing else is said, the declaration decides.
    """
    places = {name: place for place, name in enumerate(form.properties)}
    above = {name: _above(each, name, places) for name, each in form.properties.items()}
    below: dict[str, list[str]] = {name: [] for name in places}
    for name, others in above.items():
        for other in others:
            below[other].append(name)
    ready = [(places[name], name) for name, others in above.items() if not others]
    waiting = iter(places)
    done: dict[str, None] = {}
    while len(done) < len(places):
        # A circle has no beginning: it begins where it is declared.
        name = heapq.heappop(ready)[1] if ready else next(one for one in waiting if one not in done)
        if name in done:
            continue
        done[name] = None
        for other in below[name]:
            above[other].discard(name)
            if not above[other] and other not in done:
                heapq.heappush(ready, (places[other], other))
    return list(done)


def _above(each: Input, name: str, known: Collection[str]) -> set[str]:
    return {other for other in each.depends_on or () if other in known and other != name}
