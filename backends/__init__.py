"""One file per invocation method: the JSON a user writes, and what happens when it is invoked.

A backend exists by being there: a module of this package, or of the entry point group `interlock.backends`, that
defines an `InvocationMethod` whose `type` is a literal. `docs/adding-a-backend.md` shows one.
"""

import logging
from collections import defaultdict
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from backends._destinations import check_destination, open_transport
from backends._discovery import Found, Refused, discover
from backends._posting import post
from backends._problems import sentences
from backends._proxy import Proxy
from backends._rest import Rest, RestAnswer, segment
from backends._topics import publish_change
from backends.base import Delivery, InvocationMethod, Receipt, Reference, Resources
from domain.documents import Document
from domain.errors import InvalidInvocation, InvalidRequest

__all__ = [
    "METHODS",
    "REFUSED",
    "Delivery",
    "Found",
    "InvocationMethod",
    "Proxy",
    "Receipt",
    "Reference",
    "Refused",
    "Resources",
    "Rest",
    "RestAnswer",
    "check_destination",
    "components",
    "discover",
    "open_transport",
    "parse",
    "parse_rendered",
    "post",
    "publish_change",
    "schema",
    "segment",
    "tell",
]

log = logging.getLogger(__name__)

_COMPONENTS = "#/components/schemas/"
METHODS, REFUSED = discover()
"""The backends by the `type` they have in JSON, and the entry points that are not used."""


def tell() -> None:
    """Say in the log which plugins are not used, and why: what every process does that starts."""
    for refused in REFUSED:
        log.error(
            "a backend plugin is not used",
            extra={"plugin": refused.plugin, "why": refused.why},
            exc_info=refused.fault,
        )


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
    references, _ = _described()
    return {
        "oneOf": [{"$ref": references[method]} for method in dict.fromkeys(METHODS.values())],
        "discriminator": {
            "propertyName": "type",
            "mapping": {name: references[method] for name, method in METHODS.items()},
        },
    }


def components() -> dict[str, dict[str, Any]]:
    """The schemas that `schema` refers to, for `components.schemas` of the OpenAPI document."""
    return _described()[1]


def _described() -> tuple[dict[type[InvocationMethod], str], dict[str, dict[str, Any]]]:
    """Where the schema of each backend is, and all of them.

    Those from elsewhere have the name of their package before theirs: they may be called like anything of ours.
    """
    packages: dict[str, list[type[InvocationMethod]]] = defaultdict(list)
    for method in dict.fromkeys(METHODS.values()):
        packages[method.__module__.partition(".")[0]].append(method)
    places: dict[type[InvocationMethod], str] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for package, methods in packages.items():
        before = "" if package == __name__ else f"{package}."
        references, definitions = models_json_schema(
            [(method, "validation") for method in methods],
            by_alias=True,
            ref_template=f"{_COMPONENTS}{before}{{model}}",
        )
        places |= {method: str(references[method, "validation"]["$ref"]) for method in methods}
        schemas |= {f"{before}{name}": found for name, found in definitions["$defs"].items()}
    return places, schemas


def _type(document: Document) -> str:
    name = document.get("type")
    return name if isinstance(name, str) else ""


def _unknown_type(document: Document) -> str:
    known = ", ".join(sorted(METHODS))
    if REFUSED:
        unused = ", ".join(refused.plugin for refused in REFUSED)
        known += f" (not used, the log of the start says why: {unused})"
    if "type" not in document:
        return f"invocationMethod.type: is required, and must be one of {known}"
    return f"invocationMethod.type: must be one of {known}"
