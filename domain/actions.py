"""Actions: what an admin writes, and what is kept of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictBool

from domain import approval_terms, cron
from domain.approvals import ApprovalRules, RequiredApproval, within_ten_years
from domain.backend_rules import BackendRules
from domain.documents import Document
from domain.encryption import Encryption
from domain.errors import InvalidInputs, InvalidRequest
from domain.form_values import entity_input
from domain.identifiers import ActionId
from domain.input_schemas import is_url
from domain.inputs import UserInputs, refuse_faults
from domain.models import Written
from domain.rule_readers import below
from domain.rules import DATASET, parsed
from domain.shapes import MAX_PROBLEMS, Closed, Either, Verbatim, json_path, refuse_deep
from domain.templating import Template
from domain.times import Duration, iso
from domain.triggers import (
    Automation,
    Create,
    EntityEvent,
    OnEntity,
    ScheduleEvent,
    SearchCondition,
    TimerEvent,
    Trigger,
)

READ_ONLY = ("id", "createdAt", "createdBy", "updatedAt", "updatedBy", "paused")
"""What the server adds. Clients post back what they read, so these are dropped without a word."""

LONGEST_HOLD = timedelta(days=30)
MOST_RUNS = 1_000_000


def _within_a_month(length: timedelta) -> timedelta:
    if not timedelta(0) < length <= LONGEST_HOLD:
        raise ValueError("must be longer than nothing and at most 30 days")
    return length


_Hold = Annotated[Duration, AfterValidator(_within_a_month)]


class TimeLimit(Written):
    """How long something may take."""

    time_limit: Annotated[Duration, AfterValidator(within_ten_years)]
    """ISO 8601 (`PT4H`)."""


class Debounce(Written):
    """One run for many changes of the same thing: of the last of them, once it has calmed down."""

    quiet: _Hold
    """How long nothing must have happened to it. ISO 8601 (`PT5M`)."""


class Throttle(Written):
    """No more runs than so many for the same thing; what would be more does not run."""

    runs: Annotated[int, Field(strict=True, ge=1, le=MOST_RUNS)]
    per: _Hold
    """In which time. ISO 8601 (`PT1H`)."""


class FormRules(Written):
    """How strictly the form is taken."""

    enforce_dataset: StrictBool = True
    """Whether entities that inputs name have to exist for whoever asks, and to be among those their inputs offer."""
    undeclared_inputs: Literal["keep", "refuse"] = "keep"
    """What becomes of inputs that the form does not have: `keep` passes them on."""


class Limits(Written):
    """Our own section of an action; whoever does not know it does not miss it."""

    approval: ApprovalRules | None = None
    run: TimeLimit | None = None
    """Past it, a run that is still IN_PROGRESS is a FAILURE. Absent: the backend may take for ever."""
    debounce: Debounce | None = None
    """Only for automations, as is the next."""
    throttle: Throttle | None = None
    form: FormRules | None = None
    """Only for actions that people execute."""
    backend: BackendRules | None = None
    """How the backend is called: retries, budgets, and what happens when it does not answer."""


def _as_webhook_url(value: str) -> str:
    if not value.lower().startswith(("http://", "https://")) or not is_url(value):
        raise ValueError("must be an absolute http or https URL")
    return value


def _refuse_unreadable_datasets(form: UserInputs) -> None:
    """Nothing, if every dataset can be read, whatever jq makes of the values in it; else no run would be accepted.

    That of `items` is kept whatever it is, as everything in there: to Terraform's provider it is any JSON.

    Raises:
        InvalidInputs: in the words in which a run would be refused.
    """
    faults: list[str] = []
    for name, each in form.properties.items():
        about = entity_input(each)
        if about is None or about.dataset is None or about.path != "dataset":
            continue
        try:
            parsed(about.dataset, dialect=DATASET)
        except InvalidRequest as fault:
            faults.append(below(f"{json_path(['properties', name])}.{about.path}", fault))
    if faults:
        raise InvalidInputs(*faults[:MAX_PROBLEMS])


class ByEmail(Closed):
    """Approvers are told by email. Also what happens when nothing is said."""

    type: Literal["email"]


class ByWebhook(Closed):
    """Approvers are told through an address of their own; `slack` writes what an incoming webhook of Slack reads."""

    type: Literal["webhook"]
    url: Annotated[str, AfterValidator(_as_webhook_url)]
    format: Literal["json", "slack"] | None = None


class Definition(Verbatim):
    """An action or an automation as its author wrote it, and the fields of it."""

    identifier: ActionId
    title: str | None = None
    icon: str | None = None
    description: str | None = None
    trigger: Trigger
    invocation_method: Document
    """Not looked into here: each backend knows its own."""
    required_approval: Either[bool | None, RequiredApproval] = None
    approval_notification: Annotated[ByEmail | ByWebhook, Field(discriminator="type")] | None = None
    publish: bool | None = None
    """Whether an automation listens. Says nothing about a self-service action."""
    allow_anyone_to_view_runs: bool | None = None
    interlock: Limits | None = None

    @classmethod
    def parse(cls, document: Document) -> Self:
        """The definition in the document, ready to be stored.

        Raises:
            InvalidRequest: it has not the shape of an action; the message names each wrong field by its JSON path.
            InvalidInputs: the shape is right, but its form cannot work.
        """
        refuse_deep(document)
        if isinstance(document, dict):
            document = {key: value for key, value in document.items() if key not in READ_ONLY}
        definition = cls.stored(document)
        if definition.user_inputs is not None:
            refuse_faults(definition.user_inputs)
            if definition.enforces_datasets:
                _refuse_unreadable_datasets(definition.user_inputs)
        if definition.condition is not None:
            try:
                definition.condition.query()
            except InvalidRequest as fault:
                raise InvalidRequest(below("trigger.condition", fault)) from None
        definition._refuse_misfits()
        if definition.encrypted_inputs and definition.invocation_method.get("type") == "INTEGRATION_ACTION":
            raise InvalidRequest("invocationMethod.type: INTEGRATION_ACTION cannot be given encrypted inputs")
        return definition

    def _refuse_misfits(self) -> None:
        """Nothing, if each section fits the trigger and the others, and the host knows the time zone that is named."""
        if self.automation is None:
            for name in ("debounce", "throttle"):
                if getattr(self.interlock, name, None) is not None:
                    raise InvalidRequest(f"interlock.{name}: only automations can have it, and people start this one")
        elif self.interlock and self.interlock.form:
            raise InvalidRequest("interlock.form: automations have no form")
        elif isinstance(self.automation.event, ScheduleEvent):
            try:
                cron.time_zone(self.automation.event.timezone)
            except ValueError as fault:
                raise InvalidRequest(f"trigger.event.timezone: {fault}") from None
        if self.approval_rules:
            required = self.required_approval or False
            approval_terms.refuse_misfits(self.approval_rules, required, automation=self.automation is not None)

    @property
    def self_service(self) -> Create | OnEntity | None:
        """The trigger, if people execute the action."""
        return self.trigger if isinstance(self.trigger, Create | OnEntity) else None

    @property
    def automation(self) -> Automation | None:
        """The trigger, if an event does."""
        return self.trigger if isinstance(self.trigger, Automation) else None

    @property
    def user_inputs(self) -> UserInputs | None:
        """The form; automations have none."""
        return self.self_service.user_inputs if self.self_service else None

    @property
    def condition(self) -> SearchCondition | None:
        """Which entities people may execute it on; None: all, or none because it runs on no entity."""
        return self.trigger.condition if isinstance(self.trigger, OnEntity) else None

    @property
    def encrypted_inputs(self) -> dict[str, Encryption]:
        """The secret inputs, and how each is encrypted."""
        return self.user_inputs.encrypted if self.user_inputs else {}

    @property
    def blueprint(self) -> str | None:
        """The blueprint the action belongs to or, for an automation, whose entities it watches."""
        if self.self_service:
            return self.self_service.blueprint_identifier
        event = self.automation.event if self.automation else None
        return event.blueprint_identifier if isinstance(event, EntityEvent | TimerEvent) else None

    @property
    def operation(self) -> Literal["CREATE", "DAY-2", "DELETE"] | None:
        """What it is for; None for automations."""
        return self.self_service.operation if self.self_service else None

    @property
    def needs_entity(self) -> bool:
        """Whether a run has to name the entity it runs on."""
        return isinstance(self.trigger, OnEntity) and self.trigger.blueprint_identifier is not None

    @property
    def approval_rules(self) -> ApprovalRules | None:
        """What approvals ask for beyond `requiredApproval`."""
        return self.interlock.approval if self.interlock else None

    @property
    def approval_time_limit(self) -> timedelta | None:
        """How long a run waits for approval. None: for ever."""
        return self.approval_rules.time_limit if self.approval_rules else None

    @property
    def backend_rules(self) -> BackendRules:
        """How its backend is called."""
        return self.interlock.backend if self.interlock and self.interlock.backend else BackendRules()

    @property
    def enforces_datasets(self) -> bool:
        """Whether entities that inputs name have to exist, and to be among those their inputs offer."""
        return self.interlock is None or self.interlock.form is None or self.interlock.form.enforce_dataset

    @property
    def keeps_undeclared(self) -> bool:
        """Whether inputs that the form does not have are kept and passed on; else a request with one is refused."""
        form = self.interlock.form if self.interlock else None
        return form is None or form.undeclared_inputs == "keep"

    @property
    def run_time_limit(self) -> timedelta | None:
        """How long a run may be IN_PROGRESS before it is a FAILURE. None: for ever."""
        return self.interlock.run.time_limit if self.interlock and self.interlock.run else None


@dataclass(frozen=True)
class Action:
    """A definition with its history: the current one of its versions."""

    id: str
    identifier: ActionId
    version: int
    document: Document
    """The definition exactly as received, without what the server adds."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str

    @cached_property
    def definition(self) -> Definition:
        """The fields of the document, parsed when first asked for.

        Raises:
            InvalidRequest: the document is no definition, though it was stored as one.
        """
        return Definition.stored(self.document)

    @cached_property
    def template(self) -> Template:
        """The invocation method, ready to be rendered."""
        return Template.parse(self.document["invocationMethod"])

    def echo(self, paused: Document | None = None) -> Document:
        """What clients read: the document as it was received, and what the server adds."""
        return {
            **self.document,
            "id": self.id,
            "createdAt": iso(self.created_at),
            "createdBy": self.created_by,
            "updatedAt": iso(self.updated_at),
            "updatedBy": self.updated_by,
            **({"paused": paused} if paused else {}),
        }

    @property
    def is_self_service(self) -> bool:
        """Whether people execute it; otherwise an event does."""
        return self.definition.self_service is not None

    @property
    def blueprint(self) -> str | None:
        """The blueprint it belongs to or, for an automation, whose entities it watches."""
        return self.definition.blueprint

    @property
    def operation(self) -> Literal["CREATE", "DAY-2", "DELETE"] | None:
        """What it is for; None for automations."""
        return self.definition.operation

    @property
    def encrypted_inputs(self) -> dict[str, Encryption]:
        """The secret inputs, and how each is encrypted."""
        return self.definition.encrypted_inputs

    @property
    def needs_entity(self) -> bool:
        """Whether a run has to name the entity it runs on."""
        return self.definition.needs_entity
