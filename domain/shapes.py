"""Shapes of what users write: strict values, either-or fields, and faults named by JSON path."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Self, TypeAlias, TypeVar

import regex
from pydantic import ConfigDict, Discriminator, JsonValue, ModelWrapValidatorHandler, PrivateAttr, Tag, model_validator
from pydantic import ValidationError as Faults
from pydantic_core import ErrorDetails

from domain.documents import MAX_DEPTH, Document
from domain.errors import MOST_QUOTED, InvalidRequest
from domain.expectations import either, expected
from domain.models import Written

MAX_PROBLEMS = 20
"""How many faults one message names; a hostile body can have a hundred thousand."""
_VALUE = "value"

Path: TypeAlias = tuple[str | int, ...]
"""Where something is in a document: keys and indices from the root."""

_PLAIN_NAME = regex.compile(r"[\w@$=-]{1,80}")


class Closed(Written):
    """What a user writes, without coercion: the text "true" is no boolean."""

    model_config = ConfigDict(strict=True)


class Verbatim(Closed):
    """A value that also knows the JSON it was made of, for echoes and for what only that JSON can say."""

    _document: Document = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, dict):
            made._document = data
        return made

    @classmethod
    def stored(cls, document: JsonValue, path: Path = ()) -> Self:
        """The value in a document that was accepted before: its shape is checked, what it says is not examined again.

        `path` is where the document stands in what was sent.

        Raises:
            InvalidRequest: it has not the shape; the message names each fault by its JSON path.
        """
        try:
            return cls.model_validate(document)
        except Faults as faults:
            error = refused(faults, document, path)
        raise error

    @property
    def document(self) -> Document:
        """Exactly what was received: key order, numbers, absent keys."""
        return self._document


def _side(value: object) -> str:
    return "object" if isinstance(value, dict | Written) else _VALUE


_Plain = TypeVar("_Plain")
_Model = TypeVar("_Model")
Either = Annotated[Annotated[_Plain, Tag(_VALUE)] | Annotated[_Model, Tag("object")], Discriminator(_side)]
"""A plain value, or an object of one kind."""


class JqQuery(Closed):
    """A part of a form that jq computes; the program is stored unparsed, as it is evaluated with a fallback."""

    jq_query: str


OrJq = Annotated[Annotated[_Plain, Tag(_VALUE)] | Annotated[JqQuery, Tag("object")], Discriminator(_side)]
"""A plain value, or the jq that computes it."""


def refuse_deep(value: JsonValue, path: Path = ()) -> None:
    """Nothing, if the value nests no deeper than JSON from outside may. Walks without recursion.

    `path` is where the value stands in what was sent.

    Raises:
        InvalidRequest: it does.
    """
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for parent in level
            if isinstance(parent, dict | list)
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    said = f"nests deeper than {MAX_DEPTH} levels"
    raise InvalidRequest(f"{json_path(path)}: {said}" if path else f"the document {said}")


def json_path(parts: Sequence[str | int]) -> str:
    """The path as people write it.

    >>> json_path(["steps", 0, "a.b"])
    'steps[0]["a.b"]'
    """
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{shortened(json.dumps(part, ensure_ascii=False), 80)}]"
    return text


def shortened(text: str, longest: int = MOST_QUOTED) -> str:
    """The text, cut where it would drown the message it is part of."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def one_line(text: str, longest: int = MOST_QUOTED) -> str:
    """One short line without what could break out of it: line breaks, control characters, changes of direction."""
    return shortened(" ".join("".join(c if c.isprintable() else " " for c in text).split()), longest)


def refused(faults: Faults, document: JsonValue, path: Path = ()) -> InvalidRequest:
    """The error that names every wrong field of the document by JSON path, and what is expected there.

    `path` is where the document stands in what was sent.
    """
    details = faults.errors(include_url=False, include_input=False)
    return InvalidRequest("; ".join(problems(details, document, path)))


def problems(
    faults: Sequence[ErrorDetails], document: JsonValue, path: Path = (), *, whole: str = "the body"
) -> list[str]:
    """Each wrong field of the document as `<JSON path>: <what is expected there>`, at most `MAX_PROBLEMS` and a count.

    Where values of several kinds may stand, it says which in one breath; of one kind, what is wrong within.

    Args:
        faults: as pydantic tells them.
        document: what they are about.
        path: where the document stands in what was sent.
        whole: what to call the document itself if it has no path.
    """
    places = [(located(fault, document), fault) for fault in faults]
    around = {parts[:depth] for parts, _ in places for depth in range(len(parts))}
    found: dict[Path, dict[str, None]] = {}
    for parts, fault in places:
        is_of_another_kind = parts in around and len(parts) < len(fault["loc"])
        if not is_of_another_kind:
            found.setdefault(parts, {})[shortened(_expected(fault, parts))] = None
    texts = [f"{json_path([*path, *parts]) or whole}: {either(list(said))}" for parts, said in found.items()]
    if len(texts) > MAX_PROBLEMS:
        texts[MAX_PROBLEMS:] = [f"and {len(texts) - MAX_PROBLEMS} more"]
    return texts


def located(fault: ErrorDetails, document: JsonValue) -> Path:
    """The part of pydantic's location that is in the document: it also holds the tags of unions."""
    parts: list[str | int] = []
    here = document
    for part in fault["loc"]:
        match here, part:
            case dict(), str() if part in here:
                here = here[part]
            case list(), int() if part < len(here):
                here = here[part]
            case _ if fault["type"] != "missing" or part != fault["loc"][-1]:
                continue
        parts.append(part)
    if fault["type"].startswith("union_tag"):
        parts.append(str(fault["ctx"]["discriminator"]).strip("'"))
    return tuple(parts)


def _expected(fault: ErrorDetails, parts: Path) -> str:
    is_plain_side = fault["loc"][-1:] == (_VALUE,) != parts[-1:]
    return f"{expected(fault)}, or an object" if is_plain_side else expected(fault)
