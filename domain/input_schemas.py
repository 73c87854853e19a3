"""Inputs as JSON Schema draft-07: what of a definition is schema, and what is wrong with a value.

The engine is Rust: patterns either run in linear time or within a number of steps back, and nothing is fetched.
`$ref` is refused: two references a level make work that doubles with each level of the schema, or of the value.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import regex
import yaml
from jsonschema_rs import Draft7Validator, FancyRegexOptions, RegexOptions, ValidationError, ValidationErrorKind
from pydantic import JsonValue
from pydantic_core import from_json

from domain.documents import MAX_DEPTH, Document, canonical
from domain.shapes import json_path, shortened

_NOT_SCHEMA = (
    *("title", "description", "icon", "default", "visible", "disabled", "dependsOn", "dataset", "sort", "blueprint"),
    *("encryption", "enumColors", "spec", "specAuthentication", "identifier", "jqQuery", "$schema", "$id"),
)
"""Keys of an input that describe the form, or that would name another dialect or place."""
_LABELED_URL: Document = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "displayText": {"type": ["string", "null"]}},
    "required": ["url"],
}
_LARGE = 1000
_CACHED_CHARACTERS = 64 * 1024
_LISTED = 10
_STEPS_BACK = 100_000
_CHARACTERS_LOOKED_AT = 100_000_000
"""How many a pattern may look at that goes back: some tenths of a second."""
_NAMES_A_HOST = ("http", "https", "ws", "wss", "ftp")
_COMMON_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]*)?")
"""What most URLs look like; there is nothing about them to find out."""
_NOT_IN_URLS = regex.compile(r'[\s\x00-\x1f\x7f\\<>"{}|^`]')


def schema(definition: Mapping[str, JsonValue]) -> Document:
    """The schema in the definition of an input: no keys of the form, no parts that jq computes."""
    derived: Document = {}
    for keyword, value in definition.items():
        if keyword in _NOT_SCHEMA or is_jq(value) or (value is None and keyword != "const"):
            continue
        derived[keyword] = schema(value) if keyword == "items" and isinstance(value, dict) else _static(value)
    if derived.get("format") == "labeled-url":
        del derived["format"]
        already = derived.get("allOf")
        derived["allOf"] = [*(already if isinstance(already, list) else ()), _LABELED_URL]
    return derived


def is_jq(value: JsonValue) -> bool:
    """Whether the value is a part that jq computes."""
    return isinstance(value, dict) and value.keys() == {"jqQuery"} and isinstance(value["jqQuery"], str)


def definition_problem(definition: Mapping[str, JsonValue], at: str) -> str | None:
    """Why the definition is no schema, as `<path> <problem>`, or None if it is one."""
    derived = schema(definition)
    if (reference := next(_references(derived, ()), None)) is not None:
        return f"{at}.{json_path(reference)} is not supported: write what it refers to in its place"
    try:
        validator(derived)
    except ValidationError as error:
        # The meta-schema says of items only that they fit none of its choices.
        items = derived.get("items")
        if isinstance(items, dict) and (inner := definition_problem(items, f"{at}.items")):
            return inner
        path = ".".join((at, *filter(None, (json_path(error.instance_path),))))
        if "pattern" in error.instance_path or error.kind.name == "format":
            return f"{path} is no regular expression that can be run"
        return f"{path} is not valid in JSON Schema draft-07: {shortened(error.message.splitlines()[0])}"
    except (ValueError, RecursionError):
        return f"{at} is not valid in JSON Schema draft-07"
    return None


def problems(derived: Document | str, value: JsonValue, *, at: str, secret: bool = False) -> Iterator[str]:
    """Each violation, as `<path> <problem>`. Of a secret value nothing shows, not even the names in it.

    The schema may be given as the canonical text of it, by whoever asks often.
    """
    try:
        check = validator(derived, value)
        if check.is_valid(value):
            return
        found = _first(check, value) if _is_large(value) else check.iter_errors(value)
    except (ValueError, RecursionError):
        yield f"{at} cannot be validated"
        return
    for error in found:
        pointer = "" if secret else "".join(f"/{_escaped(part)}" for part in error.instance_path)
        yield from (f"{at}{shortened(pointer)}{text}" for text in _texts(error.kind, secret))


def validator(derived: Document | str, value: JsonValue = None) -> Draft7Validator:
    """The compiled schema, of a document or its canonical text, for such values; small ones are kept.

    Patterns that look around or refer back may go back and try again, each time over all of a text. So the longer the
    longest text of the value is, the less often they may: all of it takes a moment, and nobody else runs meanwhile.

    Raises:
        ValidationError: it is no schema.
    """
    text = derived if isinstance(derived, str) else canonical(derived)
    steps = _steps_back(value) if value is not None and goes_back(text) else _STEPS_BACK
    return _kept(text, steps) if len(text) <= _CACHED_CHARACTERS else _compiled(text, steps)


def goes_back(text: str) -> bool:
    """Whether the schema, a canonical text, has patterns that cannot be matched in linear time, or is none."""
    return _known_to_go_back(text) if len(text) <= _CACHED_CHARACTERS else _goes_back(text)


def _goes_back(text: str) -> bool:
    try:
        Draft7Validator(from_json(text), offline=True, pattern_options=RegexOptions())
    except ValidationError:
        return True
    return False


def _steps_back(value: JsonValue) -> int:
    """How many steps back a pattern may take; one of few numbers, each of which is compiled."""
    longest, rest = 0, [value]
    while rest:
        match rest.pop():
            case str() as text:
                longest = max(longest, len(text))
            case list() as items:
                rest += items
            case dict() as members:
                rest += (*members, *members.values())
    return min(_STEPS_BACK, _CHARACTERS_LOOKED_AT >> longest.bit_length())


def _compiled(text: str, steps_back: int) -> Draft7Validator:
    return Draft7Validator(
        from_json(text),
        formats={"url": is_url, "yaml": is_yaml},
        validate_formats=True,
        offline=True,
        # Without a mask every error would carry the value, secret or huge, in its text.
        mask="the value",
        pattern_options=FancyRegexOptions(backtrack_limit=steps_back),
    )


_kept = lru_cache(maxsize=512)(_compiled)
_known_to_go_back = lru_cache(maxsize=512)(_goes_back)


def is_url(text: str) -> bool:
    """Whether the text is an absolute URL with a scheme."""
    if _COMMON_URL.fullmatch(text):
        return True
    if _NOT_IN_URLS.search(text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname or (parts.path.strip("/") and parts.scheme not in _NAMES_A_HOST)) and bool(parts.scheme)


def is_yaml(text: str) -> bool:
    """Whether the text is YAML. Nothing is built of it, so aliases cannot blow it up."""
    depth, anchors = 0, set()
    try:
        for event in yaml.parse(text, Loader=_YAML):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH or (isinstance(event, yaml.AliasEvent) and event.anchor not in anchors):
                return False
            if isinstance(event, yaml.NodeEvent):
                anchors.add(event.anchor)
    except (yaml.YAMLError, ValueError):
        return False
    return True


_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _static(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {key: _static(item) for key, item in value.items() if not is_jq(item)}
        case list():
            return [_static(item) for item in value]
    return value


def _references(value: JsonValue, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield (*path, key)
            yield from _references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, (*path, index))


def _is_large(value: JsonValue) -> bool:
    count, rest = 0, [value]
    while rest and count <= _LARGE:
        item = rest.pop()
        count += 1
        if isinstance(item, dict | list):
            count += len(item)
            if count <= _LARGE:
                rest.extend(item.values() if isinstance(item, dict) else item)
    return count > _LARGE


def _first(check: Draft7Validator, value: JsonValue) -> list[ValidationError]:
    # All errors of a large value are made before the first one is seen: 7 s for half a million wrong items.
    try:
        check.validate(value)
    except ValidationError as error:
        return [error]
    return []


def _written(value: object, longest: int = 300) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=str), longest)


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _texts(kind: ValidationErrorKind, secret: bool) -> Iterator[str]:
    match kind:
        case ValidationErrorKind.Required(name):
            yield " must have all its required properties" if secret else f"/{_escaped(name)} is required"
        case ValidationErrorKind.AdditionalProperties(names):
            if secret:
                yield " must NOT have additional properties"
            else:
                yield from (f"/{_escaped(shortened(name))} is not a declared property" for name in names[:_LISTED])
        case _:
            yield f" {_text(kind)}"


def _text(kind: ValidationErrorKind) -> str:
    match kind:
        case ValidationErrorKind.Type(types):
            return f"must be {' or '.join(types)}"
        case ValidationErrorKind.Enum([]):
            return "has no options to choose from"
        case ValidationErrorKind.Enum(options):
            more = ", …" if len(options) > _LISTED else ""
            return f"must be one of {', '.join(_written(item, 80) for item in options[:_LISTED])}{more}"
        case ValidationErrorKind.Constant(expected):
            return f"must be {_written(expected)}"
        case ValidationErrorKind.Pattern(pattern):
            return f'must match pattern "{shortened(pattern)}"'
        case ValidationErrorKind.BacktrackLimitExceeded():
            return "cannot be matched against its pattern: that takes too many steps"
        case ValidationErrorKind.Format(name):
            return f'must match format "{name}"'
        case ValidationErrorKind.MinLength(limit):
            return f"must NOT have fewer than {limit} characters"
        case ValidationErrorKind.MaxLength(limit):
            return f"must NOT have more than {limit} characters"
        case ValidationErrorKind.MinItems(limit):
            return f"must NOT have fewer than {limit} items"
        case ValidationErrorKind.MaxItems(limit):
            return f"must NOT have more than {limit} items"
        case ValidationErrorKind.MinProperties(limit):
            return f"must NOT have fewer than {limit} properties"
        case ValidationErrorKind.MaxProperties(limit):
            return f"must NOT have more than {limit} properties"
        case ValidationErrorKind.Minimum(limit):
            return f"must be >= {limit}"
        case ValidationErrorKind.Maximum(limit):
            return f"must be <= {limit}"
        case ValidationErrorKind.ExclusiveMinimum(limit):
            return f"must be > {limit}"
        case ValidationErrorKind.ExclusiveMaximum(limit):
            return f"must be < {limit}"
        case ValidationErrorKind.MultipleOf(step):
            return f"must be a multiple of {step}"
        case ValidationErrorKind.UniqueItems():
            return "must NOT have duplicate items"
        case ValidationErrorKind.FalseSchema():
            return "holds something that its definition does not allow"
    return f'does not satisfy "{kind.name}" of its definition'
