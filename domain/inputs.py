"""User inputs: the form of an action, and what of it holds for the values somebody sends."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Annotated, Literal

import regex
from pydantic import AfterValidator, ConfigDict, JsonValue, model_validator

from domain.documents import Document, canonical
from domain.encryption import ClientSide, Encryption, sealed_problem
from domain.errors import InvalidInputs
from domain.input_schemas import definition_problem, is_jq, problems, schema
from domain.shapes import MAX_PROBLEMS, Closed, Either, OrJq, Verbatim, json_path, refuse_deep, shortened

_ID = r"[A-Za-z0-9@_=\\-]+"
MOST_UNDECLARED = 1_000
"""How many undeclared inputs a refusal names."""
_OPTIONAL_FORMATS_OF_SECRETS = (None, "multi-line")

Format = Literal[
    "date-time",
    "url",
    "email",
    "ipv4",
    "ipv6",
    "yaml",
    "entity",
    "user",
    "team",
    "proto",
    "markdown",
    "multi-line",
    "labeled-url",
]


def _as_id(value: str) -> str:
    if not regex.fullmatch(_ID, value):
        raise ValueError(r"an id has only letters, digits and @ _ = \ -")
    return value


InputId = Annotated[str, AfterValidator(_as_id)]


def _between(shortest: int, longest: int) -> AfterValidator:
    def check(value: str) -> str:
        if not shortest <= len(value) <= longest:
            raise ValueError(f"must have {shortest} to {longest} characters")
        return value

    return AfterValidator(check)


class Dataset(Closed):
    """Which entities an entity input offers. The form uses it; the rules are read by the search."""

    combinator: Literal["and", "or"]
    rules: list[Document]


class Sort(Closed):
    """In which order an entity input offers them."""

    property: str
    order: Literal["ASC", "DESC"]


class Input(Verbatim):
    """One field of the form. Open: JSON Schema keywords and keys we do not know stay as they are."""

    model_config = ConfigDict(extra="allow")

    type: Literal["string", "number", "boolean", "object", "array"]
    title: str | None = None
    description: str | None = None
    icon: str | None = None
    default: JsonValue = None
    format: Format | None = None
    blueprint: str | None = None
    enum: OrJq[list[JsonValue] | None] = None
    enum_colors: dict[str, str] | None = None
    depends_on: list[str] | None = None
    visible: OrJq[bool | None] = None
    disabled: OrJq[bool | None] = None
    pattern: OrJq[str | None] = None
    min_items: OrJq[float | None] = None
    max_items: OrJq[float | None] = None
    encryption: Either[Literal["aes256-gcm"] | None, ClientSide] = None
    dataset: Dataset | None = None
    sort: Sort | None = None
    jq_query: None = None
    """A whole input cannot be computed."""

    @property
    def static_default(self) -> JsonValue:
        """What is filled in when nothing is sent; None if nothing is.

        Arrays of numbers and booleans may carry theirs in `items.default`, where one client writes it.
        """
        if self.default is not None or self.type != "array":
            return None if is_jq(self.default) else self.default
        items = self.document.get("items")
        inner = items.get("default") if isinstance(items, dict) else None
        return inner if isinstance(inner, list) else None

    @cached_property
    def schema_text(self) -> str:
        """The schema of its values as canonical JSON, made once."""
        return canonical(schema(self.document))


class Title(Verbatim):
    """A heading between inputs."""

    title: Annotated[str, _between(1, 140)]
    description: Annotated[str, _between(0, 1000)] | None = None
    visible: OrJq[bool | None] = None


class Step(Verbatim):
    """One page of the form. Paging only: what is validated is the union of all inputs."""

    title: str
    order: list[str] | None = None
    visible: OrJq[bool | None] = None


class UserInputs(Verbatim):
    """A form. Laid out by `order`, by `steps`, or as declared."""

    properties: dict[InputId, Input]
    required: OrJq[list[str] | None] = None
    titles: dict[InputId, Title] | None = None
    order: list[str] | None = None
    steps: list[Step] | None = None

    @model_validator(mode="after")
    def _one_layout(self) -> "UserInputs":
        if self.order is not None and self.steps is not None:
            raise ValueError("must have either order or steps, not both")
        return self

    @property
    def encrypted(self) -> dict[str, Encryption]:
        """The secret inputs, and how each is encrypted."""
        return {name: each.encryption for name, each in self.properties.items() if each.encryption is not None}

    def with_parts(self, document: Document, **fields: object) -> "UserInputs":
        """The form with other values of these fields, as they are in the document; nothing is examined again."""
        changed = self.model_copy(update=fields)
        changed._document = document
        return changed

    @property
    def statically_required(self) -> set[str]:
        """The inputs that have to be there; one that is never visible, or only on hidden pages, cannot be demanded."""
        names = self.required if isinstance(self.required, list) else []
        return {name for name in names if name not in self.properties or not self.is_hidden(name)}

    def is_hidden(self, name: str) -> bool:
        """Whether nobody sees the input: it is never visible itself, or is only on pages that never are."""
        pages = [step.visible for step in self.steps or () if name in (step.order or ())]
        return self.properties[name].visible is False or (bool(pages) and all(page is False for page in pages))


def refuse_faults(form: UserInputs) -> None:
    """Nothing, if the form can be used. Programs in `jqQuery` are not looked at: each has a fallback.

    Raises:
        InvalidInputs: it has the right shape but cannot work; every fault is named by its path in the form.
    """
    if faults := list(islice(_faults(form), MAX_PROBLEMS)):
        raise InvalidInputs(*faults)


def _faults(form: UserInputs) -> Iterator[str]:
    for name, each in form.properties.items():
        yield from _faults_of_input(each, json_path(["properties", name]))
    titles = form.titles or {}
    yield from (f"titles.{name} has the id of an input" for name in titles if name in form.properties)
    for where, names in _layouts(form):
        known = form.properties.keys() | (titles.keys() if where != "required" else ())
        kind = "input" if where == "required" else "input or title"
        yield from (f"{where} names {_quoted(name)}, which is no {kind}" for name in names if name not in known)
    laid_out = Counter(name for where, names in _layouts(form) if where != "required" for name in names)
    required = Counter(form.required if isinstance(form.required, list) else ())
    for where, counts in (("required", required), ("order" if form.steps is None else "steps", laid_out)):
        yield from (f"{where} names {_quoted(name)} twice" for name, count in counts.items() if count > 1)


def _quoted(name: str) -> str:
    return repr(shortened(name, 80))


def _layouts(form: UserInputs) -> Iterator[tuple[str, list[str]]]:
    yield "required", form.required if isinstance(form.required, list) else []
    yield "order", form.order or []
    yield from ((f"steps[{index}].order", step.order or []) for index, step in enumerate(form.steps or ()))


def _faults_of_input(each: Input, at: str) -> Iterator[str]:
    items = each.document.get("items")
    inner = items if isinstance(items, dict) else {}
    if each.enum == []:
        yield f"{at}.enum must have at least one value"
    if inner.get("enum") == []:
        yield f"{at}.items.enum must have at least one value"
    if each.encryption is not None and each.type not in ("string", "object"):
        yield f"{at}.encryption is possible for strings and objects only"
    if each.encryption is not None and each.format not in _OPTIONAL_FORMATS_OF_SECRETS:
        yield f"{at}.format of an encrypted input can only be multi-line"
    if each.format == "entity" and each.blueprint is None:
        yield f"{at}.blueprint is required by format entity"
    if inner.get("format") == "entity" and not isinstance(inner.get("blueprint"), str):
        yield f"{at}.items.blueprint is required by format entity"
    if problem := definition_problem(each.document, at):
        yield problem


def dynamic_parts(form: UserInputs) -> list[str]:
    """The paths of everything that jq computes, wherever in the form it is."""
    return [json_path(path) for path in dynamic_paths(form)]


def dynamic_paths(form: UserInputs) -> list[tuple[str | int, ...]]:
    """The same paths, as keys and indices from the root of the form."""
    return list(_dynamic(form.document, ()))


def _dynamic(value: JsonValue, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if is_jq(value):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _dynamic(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _dynamic(item, (*path, index))


def checked(form: UserInputs, values: Document, *, keeps_undeclared: bool = True) -> Document:
    """The values after defaults, declared inputs first and in the order of the form, then the undeclared ones.

    A declared input that is null counts as not sent. What was sent is never replaced: not false, 0 or "". Hidden and
    disabled inputs are validated like any other. Values encrypted by the client are only checked to look so.

    Raises:
        InvalidInputs: values that do not hold, each as `<path> <problem>`; or a form with parts that jq computes.
            Those are refused as a whole: an evaluator that does not know them would switch a guardrail off.
        InvalidRequest: the values nest too deep.
    """
    refuse_deep(values)
    if dynamic := dynamic_parts(form):
        reason = "is dynamic (jqQuery), and this version evaluates static forms only"
        raise InvalidInputs(*(f"{path} {reason}" for path in dynamic[:MAX_PROBLEMS]))
    filled = with_defaults(form, values)
    faults = list(dict.fromkeys(islice((text for _, text in violations(form, filled)), MAX_PROBLEMS)))
    if faults := [*([] if keeps_undeclared else undeclared(form, values)), *faults]:
        raise InvalidInputs(*faults)
    return filled


def with_defaults(form: UserInputs, values: Document) -> Document:
    """The values with static defaults, declared inputs first and in the order of the form; nothing is validated."""
    filled: Document = {}
    for name, each in form.properties.items():
        sent = values.get(name)
        value = each.static_default if sent is None else sent
        if value is not None:
            filled[name] = value
    return filled | {name: value for name, value in values.items() if name not in form.properties}


def undeclared(form: UserInputs, values: Document) -> list[str]:
    """That the form does not have them, of each input it does not have; after very many only how many more there are.

    One that is null is among them: its name is as unknown as any.
    """
    unknown = [name for name in values if name not in form.properties]
    told = [f"/{shortened(name, 80)} is not declared" for name in unknown[:MOST_UNDECLARED]]
    more = len(unknown) - len(told)
    return [*told, f"{more} more inputs are not declared"] if more else told


def violations(form: UserInputs, filled: Document) -> Iterator[tuple[str, str]]:
    """What does not hold of values that have their defaults: the input, and `<path> <problem>`. The form is static."""
    demanded = form.statically_required
    for name, each in form.properties.items():
        if name not in filled:
            if name in demanded:
                yield name, f"/{name} is required"
        elif isinstance(each.encryption, ClientSide):
            if problem := sealed_problem(filled[name], each.encryption):
                yield name, f"/{name} {problem}"
        else:
            found = problems(each.schema_text, filled[name], at=f"/{name}", secret=each.encryption is not None)
            yield from ((name, text) for text in found)
