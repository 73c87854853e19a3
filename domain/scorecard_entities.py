"""What may be written of entities of `_scorecard`, `_rule` and `_rule_result`: what extensions of these have added.

All else they are is what scorecards say, and written with them by the product alone. Everything here is pure.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from domain.documents import same
from domain.entities import Entity, EntityRequest, Kind, Writing
from domain.errors import Forbidden
from domain.scorecard_blueprints import NAMES, RULE_RESULT, SCORECARD_BLUEPRINTS
from domain.shapes import MAX_PROBLEMS, json_path

_UNDECLARED: Final = {RULE_RESULT: ("rule",)}
"""Properties that scorecards write and the blueprint cannot declare."""


def _of_scorecards() -> Iterator[tuple[str, tuple[frozenset[str], frozenset[str]]]]:
    for document in SCORECARD_BLUEPRINTS:
        shipped: Any = document
        name: str = shipped["identifier"]
        properties = frozenset((*shipped["schema"]["properties"], *_UNDECLARED.get(name, ())))
        yield name, (properties, frozenset(shipped["relations"]))


_OURS: Final = dict(_of_scorecards())
"""The properties and the relations that scorecards write, by blueprint."""


def require_makeable(blueprint: str) -> None:
    """Refuse a new entity of a blueprint whose entities scorecards make.

    Raises:
        Forbidden: it is one.
    """
    if blueprint in NAMES:
        raise Forbidden(f"{blueprint} is a system blueprint: scorecards alone make entities of it")


def require_deletable(entity: Entity) -> None:
    """Refuse to delete an entity that shows what scorecards say.

    Raises:
        Forbidden: it does.
    """
    if entity.blueprint in NAMES:
        raise Forbidden(f"{entity.blueprint} {entity.identifier!r} is what a scorecard says: it goes with that alone")


def allowed(kind: Kind, before: Entity | None, request: EntityRequest, *, how: Writing) -> EntityRequest:
    """The request, if it leaves alone what scorecards say of the entity; of other blueprints the very request.

    What they say and the request leaves out stays, also when the entity is replaced.

    Raises:
        Forbidden: it would make an entity, or change what scorecards say; the message names each place by its path.
        InvalidRequest: it gives an identifier that no entity can have.
    """
    if kind.identifier not in NAMES:
        return request
    if before is None:
        require_makeable(kind.identifier)
        return request
    if faults := list(islice(_faults(before, request), MAX_PROBLEMS)):
        raise Forbidden("; ".join(f"{path}: is what scorecards say, and changes with that alone" for path in faults))
    return request if how is Writing.MERGE else _completed(kind, before, request)


def goes_with(result: Entity, other: Entity) -> bool:
    """Whether the entity is a result about the other one, with which it is deleted."""
    about = result.properties.get("blueprint"), result.properties.get("entity")
    return result.blueprint == RULE_RESULT and about == (other.blueprint, other.identifier)


def _faults(before: Entity, request: EntityRequest) -> Iterator[str]:
    properties, relations = _OURS[before.blueprint]
    if request.named not in (None, before.identifier):
        yield "identifier"
    if "title" in request.model_fields_set and request.title != before.title:
        yield "title"
    if "team" in request.model_fields_set and _teams(request) != before.team:
        yield "team"
    for key, value in request.properties.items():
        if key in properties and not same(value, before.properties.get(key)):
            yield json_path(["properties", key])
    for key, related in request.relations.items():
        if key in relations and related != before.relations.get(key):
            yield json_path(["relations", key])


def _teams(request: EntityRequest) -> tuple[str, ...]:
    if isinstance(request.team, list):
        return tuple(dict.fromkeys(request.team))
    return (request.team,) if isinstance(request.team, str) and request.team else ()


def _completed(kind: Kind, before: Entity, request: EntityRequest) -> EntityRequest:
    properties, relations = _OURS[before.blueprint]
    whole: dict[str, object] = {
        "title": before.title,
        "properties": {**_part(before.properties, properties), **request.properties},
        "relations": {**_part(before.relations, relations), **request.relations},
    }
    if not kind.definition.inherited_from:  # inherited teams are not to be named
        whole["team"] = [*before.team]
    return request.model_copy(update=whole)


def _part(said: Mapping[str, object], keys: frozenset[str]) -> dict[str, object]:
    return {key: value for key, value in said.items() if key in keys}
