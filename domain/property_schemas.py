"""Properties of a blueprint: what one may say about its values, and the JSON Schema those values are held to."""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar, get_args

import regex
from pydantic import AfterValidator, BeforeValidator, ConfigDict, JsonValue

from domain.documents import Document
from domain.input_schemas import definition_problem, problems, schema
from domain.shapes import Closed, Verbatim
from domain.timers import Lifecycle

Type = Literal["string", "number", "boolean", "object", "array"]

Format = Literal[
    "date-time",
    "url",
    "uri",
    "email",
    "idn-email",
    "ipv4",
    "ipv6",
    "markdown",
    "yaml",
    "user",
    "team",
    "timer",
    "proto",
    "blueprints",
]
"""Of strings. Objects may have any; of those `labeled-url` alone says something about the value."""

Colour = Literal[
    "blue",
    "turquoise",
    "orange",
    "purple",
    "pink",
    "yellow",
    "green",
    "red",
    "gold",
    "silver",
    "paleBlue",
    "darkGray",
    "lightGray",
    "bronze",
    "lime",
    "olive",
    "brown",
]

FORMATS: tuple[str, ...] = get_args(Format)
TYPES: tuple[str, ...] = get_args(Type)
_HELD_TO = {"user": "email", "timer": "date-time"}
_FREE_TEXT = ("blueprints", "markdown", "proto", "team", "yaml")
_PLAIN = ("string", "number", "boolean")


def sized(shortest: int, longest: int) -> AfterValidator:
    """Text of that many characters."""

    def check(value: str) -> str:
        if not shortest <= len(value) <= longest:
            raise ValueError(f"must have {shortest} to {longest} characters")
        return value

    return AfterValidator(check)


def _as_key(value: str) -> str:
    if not regex.fullmatch(r"[A-Za-z0-9@_=\-]{1,100}", value):
        raise ValueError("a key has 1 to 100 letters, digits and @ _ = -")
    return value


_Kind = TypeVar("_Kind")
Key = Annotated[str, AfterValidator(_as_key)]
"""Of a property or a relation."""
Keyed = Annotated[dict[Key, _Kind], BeforeValidator(lambda value: {} if value is None else value)]
"""One by key; null is none."""
Title = Annotated[str, sized(0, 100)]


class Open(Closed):
    """A part that may hold more than we know: unknown keys stay as they are."""

    model_config = ConfigDict(extra="allow")


class SpecAuthentication(Open):
    """How a browser that shows the address signs in."""

    client_id: str
    authorization_url: str
    token_url: str
    authorization_scope: list[str] | None = None


class _Values(Verbatim):
    """What a property and the items of one have in common. Open: JSON Schema keywords stay as they are."""

    model_config = ConfigDict(extra="allow")

    format: str | None = None
    enum: list[JsonValue] | None = None
    enum_colors: dict[str, Colour] | None = None
    pattern: str | None = None
    min_length: float | None = None
    max_length: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_items: float | None = None
    max_items: float | None = None
    items: "Items | None" = None
    default: JsonValue = None


class Items(_Values):
    """What an array holds."""

    type: Type | None = None


class Property(_Values):
    """One property of a blueprint."""

    type: Type
    title: Title | None = None
    description: str | None = None
    icon: str | None = None
    spec: Literal["open-api", "async-api", "embedded-url"] | None = None
    spec_authentication: SpecAuthentication | None = None
    interlock: Lifecycle | None = None
    """What happens to a timer before it expires; ours."""

    @property
    def is_timer(self) -> bool:
        """Whether its values are moments at which something happens."""
        return (self.type, self.format) == ("string", "timer")

    @property
    def placed_default(self) -> tuple[str, JsonValue]:
        """The value of an entity that is created without one, and the key that says so; null if there is none.

        Arrays of numbers and booleans may carry theirs in `items.default`, where one client writes it.
        """
        inner = self.items.default if self.type == "array" and self.items else None
        if self.default is None and isinstance(inner, list):
            return "items.default", inner
        return "default", self.default

    @property
    def value_schema(self) -> Document:
        """The JSON Schema of its values."""
        return _held(schema(self.document))

    def faults(self, at: str) -> Iterator[str]:
        """Why it cannot work, each as `<path>: <problem>`."""
        yield from _faults(self, self.type, at)
        yield from _faults_of_spec(self, at)
        yield from _faults_of_interlock(self, at)
        if not isinstance((self.model_extra or {}).get("dateFormat"), str | None):
            yield f"{at}.dateFormat: must be a string"
        if problem := definition_problem(self.document, at):
            path, _, said = problem.partition(" is ")
            yield f"{path}: is {said}"
            return
        key, default = self.placed_default
        if default is not None:
            # A default that is no person's address is let in, as Port does: its Terraform provider's tests have one.
            lenient = ("format",) if self.format == "user" else ()
            fitting = {name: value for name, value in self.value_schema.items() if name not in lenient}
            yield from _misfits(fitting, default, f"{at}.{key}")


def format_fault(kind: str | None, format: str | None, at: str) -> Iterator[str]:
    """The fault of a string whose format nobody knows, and of a format of what has none."""
    if format is None or kind in (None, "object"):
        return
    if kind != "string":
        yield f"{at}.format: is possible for strings and objects only{'; its items may have one' * (kind == 'array')}"
    elif format not in FORMATS:
        yield f"{at}.format: must be one of {', '.join(FORMATS)}"


def _held(derived: Document) -> Document:
    held = dict(derived)
    if (name := held.get("format")) in _FREE_TEXT:
        del held["format"]
    elif isinstance(name, str):
        held["format"] = _HELD_TO.get(name, name)
    if isinstance(items := held.get("items"), dict):
        held["items"] = _held(items)
    return held


def _faults(each: _Values, kind: Type | None, at: str) -> Iterator[str]:
    yield from format_fault(kind, each.format, at)
    if each.enum == []:
        yield f"{at}.enum: must have at least one value"
    if each.enum and kind in _PLAIN:
        yield from _misfits({"type": "array", "items": {"type": kind}}, each.enum, f"{at}.enum")
    if each.items:
        yield from _faults(each.items, each.items.type, f"{at}.items")


def _faults_of_spec(each: Property, at: str) -> Iterator[str]:
    if each.spec == "embedded-url" and (each.type, each.format) != ("string", "url"):
        yield f"{at}.spec: embedded-url needs type string and format url"
    elif each.spec is not None and each.type not in ("string", "object"):
        yield f"{at}.spec: is possible for strings and objects only"


def _faults_of_interlock(each: Property, at: str) -> Iterator[str]:
    if each.interlock is not None and not each.is_timer:
        yield f"{at}.interlock: is possible for type string and format timer only"
    if each.items and (each.items.model_extra or {}).get("interlock") is not None:
        yield f"{at}.items.interlock: is possible for timers only, and not in arrays"


def _misfits(derived: Document, value: JsonValue, at: str) -> Iterator[str]:
    yield from (f"{at}: {problem.strip()}" for problem in problems(derived, value, at=""))
