"""What starts an action: a person through a form, or an event in the catalog or among the runs."""

from typing import Annotated, Literal, TypeAlias

import regex
from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from domain import cron
from domain.documents import Document
from domain.inputs import UserInputs
from domain.rule_values import Query
from domain.rules import CONDITION, parsed
from domain.shapes import Closed


def _as_button_text(value: str) -> str:
    if len(value) > 15 or not regex.fullmatch(r"[^\s].*[^\s]", value):
        raise ValueError("must have 2 to 15 characters, the first and the last of them no blank")
    return value


ButtonText = Annotated[str, AfterValidator(_as_button_text)]


class SearchCondition(Closed):
    """Which entities the action is offered for. Without rules: for all, whichever the combinator."""

    type: Literal["SEARCH"]
    combinator: Literal["and", "or"]
    rules: list[Document]

    @model_validator(mode="before")
    @classmethod
    def _without_rules(cls, data: JsonValue) -> JsonValue:
        # Terraform's provider drops empty lists: `"rules": []` arrives as no key at all. Null is no list, though.
        return {**data, "rules": []} if isinstance(data, dict) and "rules" not in data else data

    def query(self) -> Query:
        """The rules, read.

        Raises:
            InvalidRequest: the message begins with the path of the first fault within the condition.
        """
        return parsed(
            {"type": self.type, "combinator": self.combinator, "rules": list[JsonValue](self.rules)}, dialect=CONDITION
        )


class _SelfService(Closed):
    type: Literal["self-service"]
    user_inputs: UserInputs
    blueprint_identifier: str | None = None
    """The blueprint the action belongs to. No operation needs one."""
    action_card_button_text: ButtonText | None = None
    execute_action_button_text: ButtonText | None = None


class Create(_SelfService):
    """Runs on no entity, so there is none that a condition could be about."""

    operation: Literal["CREATE"]


class OnEntity(_SelfService):
    """Runs on an entity, if the action belongs to a blueprint."""

    operation: Literal["DAY-2", "DELETE"]
    condition: SearchCondition | None = None

    @field_validator("condition")
    @classmethod
    def _has_blueprint(cls, condition: SearchCondition | None, info: ValidationInfo) -> SearchCondition | None:
        if condition is not None and info.data.get("blueprint_identifier") is None:
            raise ValueError("needs blueprintIdentifier beside it")
        return condition


class EntityEvent(Closed):
    """An entity of the blueprint changed."""

    type: Literal["ENTITY_CREATED", "ENTITY_UPDATED", "ENTITY_DELETED", "ANY_ENTITY_CHANGE"]
    blueprint_identifier: str


class TimerEvent(Closed):
    """A timer property of an entity reached its time, or will do so soon."""

    type: Literal["TIMER_PROPERTY_EXPIRED", "TIMER_PROPERTY_WARNING"]
    blueprint_identifier: str
    property_identifier: str


class RunEvent(Closed):
    """A run of the action was created, patched or approved. A log line is no update."""

    type: Literal["RUN_CREATED", "RUN_UPDATED", "ANY_RUN_CHANGE"]
    action_identifier: str


class ScheduleEvent(Closed):
    """The clock; ours."""

    type: Literal["SCHEDULE"]
    cron: Annotated[str, AfterValidator(cron.checked)]
    """Five fields: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """Where it is the time that the expression says, such as `Europe/Berlin`."""


Event: TypeAlias = EntityEvent | TimerEvent | RunEvent | ScheduleEvent


class JqCondition(Closed):
    """jq over the event; without expressions every event passes."""

    type: Literal["JQ"]
    expressions: list[str]
    combinator: Literal["and", "or"] = "and"


class Automation(Closed):
    """Nobody executes it: its event does."""

    type: Literal["automation"]
    event: Annotated[Event, Field(discriminator="type")]
    condition: JqCondition | None = None


SelfService: TypeAlias = Create | OnEntity
Trigger = Annotated[Annotated[SelfService, Field(discriminator="operation")] | Automation, Field(discriminator="type")]
