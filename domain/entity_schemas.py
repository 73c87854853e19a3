"""What the properties of an entity must fulfil to be one of its blueprint, and what they are when nobody says."""

import copy
from collections.abc import Mapping
from itertools import islice

from pydantic import JsonValue

from domain import input_schemas
from domain.blueprints import Definition
from domain.documents import Document
from domain.input_schemas import validator
from domain.shapes import MAX_PROBLEMS


def problems(definition: Definition, properties: Mapping[str, JsonValue]) -> list[str]:
    """What does not hold, each as `<path> <problem>`; empty if everything does.

    A declared property that is null counts as absent. Undeclared ones are accepted, whatever they are.
    """
    sent: Document = {key: value for key in definition.properties if (value := properties.get(key)) is not None}
    try:
        check = validator(definition.entity_schema, sent) if definition.goes_back else definition.entity_validator
        if check.is_valid(sent):
            return []
    except (ValueError, RecursionError):
        return ["/properties cannot be validated"]
    found = input_schemas.problems(definition.entity_schema, sent, at="/properties")
    return list(islice(dict.fromkeys(found), MAX_PROBLEMS))


def defaults(definition: Definition) -> Document:
    """The properties of an entity that is created without any, in the order of the blueprint."""
    return copy.deepcopy(definition.defaults) if definition.defaults else {}


def own(definition: Definition, properties: Document) -> Document:
    """Those that entities are written with: who writes back what they have read writes nothing that is derived."""
    if definition.derived.isdisjoint(properties):
        return properties
    return {key: value for key, value in properties.items() if key not in definition.derived}
