"""One file per invocation method: the JSON a user writes, and what happens when it is invoked.

A backend exists by being there: a module of this package, or of the entry point group `interlock.backends`, that
defines an `InvocationMethod` whose `type` is a literal.
"""

import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from types import ModuleType
from typing import Any, Literal, TypeGuard, get_args, get_origin

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from backends._destinations import check_destination, open_transport
from backends._posting import post
from backends._problems import sentences
from backends._topics import publish_change
from backends.base import Delivery, InvocationMethod, Receipt, Reference, Resources
from domain.documents import Document
from domain.errors import InvalidInvocation, InvalidRequest

__all__ = [
    "METHODS",
    "Delivery",
    "InvocationMethod",
    "Receipt",
    "Reference",
    "Resources",
    "check_destination",
    "components",
    "discover",
    "open_transport",
    "parse",
    "parse_rendered",
    "post",
    "publish_change",
    "schema",
]

ENTRY_POINTS = "interlock.backends"
_REFERENCE = "#/components/schemas/{model}"


def discover() -> dict[str, type[InvocationMethod]]:
    """Every backend that is there, by the `type` it has in JSON.

    Raises:
        RuntimeError: two backends have the same type.
    """
    methods: dict[str, type[InvocationMethod]] = {}
    for found in [*_in_package(), *_in_entry_points()]:
        for method in _methods_of(found):
            for name in get_args(method.model_fields["type"].annotation):
                if (other := methods.setdefault(name, method)) is not method:
                    raise RuntimeError(f"both {_place(other)} and {_place(method)} are the backend {name}")
    return methods


def _in_package() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_") and module.name != "base":
            yield import_module(f"{__name__}.{module.name}")


def _in_entry_points() -> Iterator[object]:
    for entry_point in metadata.entry_points(group=ENTRY_POINTS):
        yield entry_point.load()


def _methods_of(found: object) -> Iterable[type[InvocationMethod]]:
    """The backends a module defines (those it only imports belong to another), or the class itself."""
    if not isinstance(found, ModuleType):
        return [found] if _is_method(found) else []
    return [value for value in vars(found).values() if _is_method(value) and value.__module__ == found.__name__]


def _is_method(value: object) -> TypeGuard[type[InvocationMethod]]:
    return (
        inspect.isclass(value)
        and issubclass(value, InvocationMethod)
        and get_origin(value.model_fields["type"].annotation) is Literal
    )


def _place(method: type[InvocationMethod]) -> str:
    return f"{method.__module__}.{method.__qualname__}"


METHODS = discover()
"""The backends by the `type` they have in JSON."""


def parse(document: Document) -> InvocationMethod:
    """The invocation method as a user writes it, templates unread.

    Raises:
        InvalidRequest: it is not one; the message names each field by its path.
    """
    method = METHODS.get(_type(document))
    if method is None:
        raise InvalidRequest(_unknown_type(document))
    try:
        return method.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(sentences(error, document)) from None


def parse_rendered(document: Document) -> InvocationMethod:
    """The invocation method once its templates are rendered, or the masked copy of that.

    Raises:
        InvalidInvocation: it no longer is one; the message names each field by its path.
    """
    method = METHODS.get(_type(document))
    if method is None:
        raise InvalidInvocation(_unknown_type(document))
    try:
        rendered = method.model_validate(method.settled(document))
    except ValidationError as error:
        raise InvalidInvocation(sentences(error, document)) from None
    rendered.verify()
    return rendered


def schema() -> dict[str, Any]:
    """An invocation method in OpenAPI: one of the `components`, told apart by `type`."""
    references = {name: _REFERENCE.format(model=method.__name__) for name, method in METHODS.items()}
    return {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "type", "mapping": references},
    }


def components() -> dict[str, dict[str, Any]]:
    """The schemas that `schema` refers to, for `components.schemas` of the OpenAPI document."""
    _, definitions = models_json_schema(
        [(method, "validation") for method in METHODS.values()], by_alias=True, ref_template=_REFERENCE
    )
    found: dict[str, dict[str, Any]] = definitions["$defs"]
    return found


def _type(document: Document) -> str:
    name = document.get("type")
    return name if isinstance(name, str) else ""


def _unknown_type(document: Document) -> str:
    known = ", ".join(sorted(METHODS))
    if "type" not in document:
        return f"invocationMethod.type: is required, and must be one of {known}"
    return f"invocationMethod.type: must be one of {known}"
