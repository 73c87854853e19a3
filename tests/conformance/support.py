"""What the examples of the specification share: forms, definitions and a catalog of a few entities, without any I/O."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from domain import forms
from domain.actions import Definition
from domain.documents import Document
from domain.errors import InterlockError, InvalidInputs
from domain.forms import Evaluated
from domain.inputs import UserInputs, checked
from domain.jq import Evaluator
from domain.rule_values import Query

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


def jq(program: str) -> Document:
    """A computed part."""
    return {"jqQuery": program}


def form(properties: dict[str, Any], **rest: Any) -> UserInputs:
    """A form."""
    return UserInputs.model_validate({"properties": properties, **rest})


def action(inputs: dict[str, Any], operation: str = "CREATE", **more: Any) -> Document:
    """A definition with these inputs; `trigger` in `more` is merged."""
    trigger = {"type": "self-service", "operation": operation, "userInputs": {"properties": inputs}}
    return {
        "identifier": "a",
        "invocationMethod": {"type": "WEBHOOK", "url": "https://example.org"},
        **more,
        "trigger": {**trigger, **more.get("trigger", {})},
    }


def written(document: Document) -> str:
    """What becomes of a definition: `stored`, or the code of the refusal and what it says."""
    try:
        definition = Definition.parse(document)
    except InterlockError as error:
        return f"{error.code} {error}"
    assert definition.document == document, "a definition is echoed as it was written"
    return "stored"


def said(definition: Document, value: Any) -> str:
    """What is said of a value of an input; nothing if it is accepted."""
    try:
        checked(form({"x": definition}), {"x": value})
    except InvalidInputs as error:
        return str(error)
    return ""


class Around:
    """A catalog: entities by blueprint, what programs see, and which entities a dataset offers (all by default)."""

    def __init__(
        self, seen: Document | None = None, offers: Collection[str] | None = None, **known: Mapping[str, Document]
    ) -> None:
        self._seen, self._offers, self._known = seen or {}, offers, known
        self.datasets: list[Query] = []

    async def seen(self, programs: Collection[str]) -> Document:
        """What programs see beside the form."""
        return self._seen

    async def entities(self, blueprint: str, identifiers: Collection[str]) -> Mapping[str, Document]:
        """The entities that are there."""
        known = self._known.get(blueprint, {})
        return {one: known[one] for one in identifiers if one in known}

    async def offered(self, blueprint: str, identifiers: Collection[str], dataset: Query) -> Collection[str]:
        """The entities that a dataset finds."""
        self.datasets.append(dataset)
        return [one for one in identifiers if self._offers is None or one in self._offers]


async def of(
    evaluate: Evaluator, inputs: UserInputs, sent: Document | None = None, around: Around | None = None, **how: Any
) -> Evaluated:
    """The form evaluated as a request for a run does it."""
    return await forms.evaluated(inputs, sent or {}, around or Around(), evaluate, at=AT, **how)
