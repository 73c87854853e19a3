"""The parts of a form that jq computes: where they may be, what each has to give, and what holds where it does not.

| part | gives | otherwise |
|---|---|---|
| `properties.*.default` | a value of the input's type | no default |
| `properties.*.enum`, `.items.enum` | an array; elements of another type than the input's are left out | no options |
| `properties.*.pattern` | a regular expression, or an array of the texts that are allowed | no constraint |
| `properties.*.minItems`, `.maxItems` | a whole number, not below 0 | no constraint |
| `properties.*.visible`, `titles.*.visible`, `steps[].visible` | a boolean | visible |
| `properties.*.disabled` | a boolean | enabled |
| a `value` of `properties.*.dataset` or `.items.dataset` | what the operator takes | the rule finds nothing |
| `required` | an array of ids; `true`: all inputs that are visible | nothing is required |

An answer that is unknown because a limit was reached is no such case: it is a fault.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias, cast

from pydantic import JsonValue

from domain.documents import Document, canonical, refuse_unfaithful
from domain.errors import InvalidRequest
from domain.input_schemas import is_jq
from domain.inputs import Input, Step, Title, UserInputs, dynamic_paths
from domain.rules import DATASET, parsed
from domain.shapes import Verbatim, json_path

Path: TypeAlias = tuple[str | int, ...]
"""Where something is in the form: keys and indices from the root."""


class Absent(Enum):
    """The part is as if nobody had written it."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
Settled: TypeAlias = JsonValue | Absent


class Misfit(ValueError):
    """The program gave something that has no meaning in its place; the text says what it is not."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that jq computes."""

    path: Path
    program: str
    read: Callable[[JsonValue], Settled]
    """The value of the part, of what the program gave. Raises Misfit."""
    fallback: Settled
    """The value where the program failed, or gave something else."""

    @property
    def name(self) -> str:
        """The path as people write it."""
        return json_path(self.path)

    @property
    def owner(self) -> str | None:
        """The input it belongs to."""
        return str(self.path[1]) if self.path[0] == "properties" else None

    @property
    def is_of_dataset(self) -> bool:
        """Whether it only says which entities are offered."""
        return "dataset" in self.path[2:4]


def default_of(name: str, each: Input) -> Part | None:
    """The computed default of an input."""
    items = each.document.get("items")
    inner = items.get("default") if each.type == "array" and isinstance(items, dict) else None
    path, written = (("default",), each.default) if each.default is not None else (("items", "default"), inner)
    found = _part(("properties", name, *path), written, lambda value: _as_default(value, each.type), ABSENT)
    return found[0] if found else None


def parts_of(form: UserInputs) -> list[Part]:
    """Every other part, in the order in which they are settled."""
    found = _part(("required",), form.document.get("required"), lambda value: _as_required(value, form), [])
    for name, each in form.properties.items():
        found += _of_input(each.document, each.type, ("properties", name))
    for key, title in (form.titles or {}).items():
        found += _visible(title.document.get("visible"), ("titles", key))
    for index, step in enumerate(form.steps or ()):
        found += _visible(step.document.get("visible"), ("steps", index))
    return found


def misplaced(form: UserInputs, known: Sequence[Part]) -> list[Path]:
    """Where something is computed that nobody computes, though it would say what values are allowed."""
    computed = {part.path for part in known}
    return [path for path in dynamic_paths(form) if path not in computed and not _is_harmless(path)]


def settled(form: UserInputs, values: Sequence[tuple[Part, Settled]]) -> UserInputs:
    """The form with the parts replaced by their values, ready to be held against what was sent.

    What nothing is computed of is not copied: both forms have it.
    """
    written: Document = dict(form.document)
    fields: dict[str, Any] = {}
    changed: dict[tuple[str | int, ...], JsonValue] = {}
    for part, value in values:
        if len(part.path) == 1:
            written[str(part.path[0])] = fields[str(part.path[0])] = None if value is ABSENT else value
        else:
            above, below = part.path[:2], part.path[2:]
            changed[above] = _with(changed[above] if above in changed else _at(form.document, above), below, value)
    for kind in dict.fromkeys(str(above[0]) for above in changed):
        written[kind], fields[kind] = _copy(form.document[kind]), _copy(getattr(form, kind))
    for (above_all, key), document in changed.items():
        kind = str(above_all)
        cast(Any, written[kind])[key] = document
        fields[kind][key] = _MADE_OF[kind].stored(document)
    return form.with_parts(written, **fields)


_MADE_OF: Final[dict[str, type[Verbatim]]] = {"properties": Input, "titles": Title, "steps": Step}


def _with(place: JsonValue, path: Path, value: Settled) -> JsonValue:
    """The place with another value at the end of the path; whatever the path does not lead through is shared."""
    copy: Any = _copy(place)
    key, *below = path
    if below:
        copy[key] = _with(copy[key], tuple(below), value)
    elif key == "pattern" and isinstance(value, list):
        static = copy.get("enum")
        del copy["pattern"]
        copy["enum"] = [one for one in static if one in value] if isinstance(static, list) else value
    elif value is ABSENT:
        del copy[key]
    else:
        copy[key] = value
    return cast(JsonValue, copy)


def _at(place: Any, path: Path) -> JsonValue:
    for step in path:
        place = place[step]
    return cast(JsonValue, place)


def _copy(place: JsonValue) -> Any:
    return dict(place) if isinstance(place, dict) else list(place) if isinstance(place, list) else place


def is_of(kind: JsonValue, value: JsonValue) -> bool:
    """Whether the value is of the type that an input declares."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
    return True


_HARMLESS: Final = ("default", "dataset", "spec", "specAuthentication", "enumColors", "identifier")
"""Keys of an input that allow and forbid nothing, or are read with care of their own."""


def _is_harmless(path: Path) -> bool:
    inside = path[2:] if path[2:3] != ("items",) else path[3:]
    return path[0] == "properties" and inside[:1] != () and inside[0] in _HARMLESS


def _part(path: Path, written: JsonValue, read: Callable[[JsonValue], Settled], fallback: Settled) -> list[Part]:
    if not is_jq(written) or not isinstance(written, dict):
        return []
    return [Part(path, str(written["jqQuery"]), read, fallback)]


def _of_input(document: Document, kind: str, path: Path) -> list[Part]:
    items = document.get("items")
    inner = items if isinstance(items, dict) else {}
    within = inner.get("type")
    found = _part((*path, "enum"), document.get("enum"), lambda value: _as_options(value, kind), [])
    found += _part((*path, "items", "enum"), inner.get("enum"), lambda value: _as_options(value, within), [])
    found += _part((*path, "pattern"), document.get("pattern"), _as_pattern, ABSENT)
    found += _part((*path, "minItems"), document.get("minItems"), _as_count, ABSENT)
    found += _part((*path, "maxItems"), document.get("maxItems"), _as_count, ABSENT)
    found += _visible(document.get("visible"), path)
    found += _part((*path, "disabled"), document.get("disabled"), _as_boolean, False)
    found += _of_dataset(document.get("dataset"), (*path, "dataset"))
    found += _of_dataset(inner.get("dataset"), (*path, "items", "dataset"))
    return found


def _visible(written: JsonValue, path: Path) -> list[Part]:
    return _part((*path, "visible"), written, _as_boolean, True)


def _of_dataset(group: JsonValue, path: Path) -> list[Part]:
    found: list[Part] = []
    for at, rule in _rules(group, path):
        # A rule whose value stays computed finds nothing, whatever its operator is.
        found += _part((*at, "value"), rule.get("value"), _as_operand_of(rule), rule.get("value"))
    return found


def _rules(group: JsonValue, path: Path) -> Iterator[tuple[Path, Document]]:
    """The rules of a dataset and of its groups; what is no rule is left to whoever reads the query."""
    rules = group.get("rules") if isinstance(group, dict) else None
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            yield (*path, "rules", index), rule
            yield from _rules(rule, (*path, "rules", index))


def _as_default(value: JsonValue, kind: str) -> Settled:
    if value is None:
        return ABSENT
    if not is_of(kind, value):
        raise Misfit(f"gives no {kind}")
    try:
        refuse_unfaithful(value)
    except InvalidRequest as fault:
        raise Misfit(f"gives what cannot be kept: {fault}") from None
    return value


def _as_options(value: JsonValue, kind: JsonValue) -> Settled:
    if not isinstance(value, list):
        raise Misfit("gives no array")
    return list({canonical(one): one for one in value if is_of(kind, one)}.values())


def _as_pattern(value: JsonValue) -> Settled:
    if isinstance(value, list):
        return list(dict.fromkeys(one for one in value if isinstance(one, str)))
    if not isinstance(value, str):
        raise Misfit("gives neither text nor an array")
    return value


def _as_count(value: JsonValue) -> Settled:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise Misfit("gives no whole number that is not below 0")
    return int(value)


def _as_boolean(value: JsonValue) -> Settled:
    if not isinstance(value, bool):
        raise Misfit("gives no boolean")
    return value


def _as_required(value: JsonValue, form: UserInputs) -> Settled:
    if isinstance(value, bool):
        return list[JsonValue](form.properties) if value else []
    if not isinstance(value, list):
        raise Misfit("gives no array of inputs")
    return list(dict.fromkeys(one for one in value if isinstance(one, str)))


_NEGATED = ("!=", "notIn", "doesNotContains", "doesNotBeginsWith", "doesNotEndsWith")
_OF_TEXT = ("contains", "beginsWith", "endsWith", "doesNotContains", "doesNotBeginsWith", "doesNotEndsWith")


def _as_operand_of(rule: Document) -> Callable[[JsonValue], Settled]:
    def read(value: JsonValue) -> Settled:
        if value is None:
            raise Misfit("gives null, and the rule finds nothing")
        operator = str(rule.get("operator"))
        if isinstance(value, list):  # `[.user.team]`, which people copy, is an array in an array
            flat = [one for each in value for one in (each if isinstance(each, list) else [each])]
            value = [one for one in flat if one is not None]
            # An input that nobody has filled in must not let more through than one that is.
            if len(value) < len(flat) and (not value or operator in _NEGATED):
                raise Misfit("gives an array with null, and the rule finds nothing")
        if value == "" and operator in _OF_TEXT:
            raise Misfit("gives an empty text, and the rule finds nothing")
        try:
            refuse_unfaithful(value)
            parsed({"combinator": "and", "rules": [{**rule, "value": value}]}, dialect=DATASET)
        except InvalidRequest as fault:
            raise Misfit(f"gives a value that the rule cannot have: {fault}") from None
        return value

    return read
