"""From a request to a run: what must hold before one is recorded."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from domain import contexts, encryption, inputs
from domain.actions import Action
from domain.approvals import is_required
from domain.automations import chain_in_words
from domain.blueprints import Blueprint
from domain.documents import Document
from domain.errors import EntityFailsCondition, Forbidden, InvalidInputs, MissingEntity, NotSelfService
from domain.forms import Evaluated
from domain.identifiers import RunId
from domain.models import Written
from domain.permissions import Permissions
from domain.rulings import Ruling
from domain.runs import Driving, Link, Ref, Run, RunStatus, Source
from domain.times import iso
from domain.users import Caller

MAX_DEPTH = 20
"""How many runs may cause each other before the chain is stopped."""


class RunRequest(Written):
    """The body of POST `/v1/actions/{id}/runs`."""

    properties: Document
    """The user inputs; `{}` when there are none."""
    entity: str | None = Field(default=None, min_length=1, max_length=1000)
    """The entity a DAY-2 or DELETE action runs on."""


@dataclass(frozen=True)
class Target:
    """The entity that a run is asked for, as the catalog has it."""

    entity: Document
    """With what is derived: what templates see, now and whenever the run is rendered again."""
    meets_condition: bool
    """Whether the action's condition on entities finds it."""

    @property
    def teams(self) -> list[str]:
        """The teams that own it."""
        teams = self.entity.get("team")
        return [team for team in teams if isinstance(team, str)] if isinstance(teams, list) else []

    def reference(self) -> Ref:
        """Its name, as the run keeps it."""
        title, icon = self.entity.get("title"), self.entity.get("icon")
        return Ref(
            identifier=str(self.entity["identifier"]),
            title=title if isinstance(title, str) else None,
            icon=icon if isinstance(icon, str) else None,
        )


@dataclass(frozen=True)
class Circumstances:
    """What a request does not say itself."""

    caller: Caller
    at: datetime
    run_id: RunId
    client_secret: str
    """The organization's; secret inputs are encrypted with it before anything else sees them."""
    impersonated_by: str | None = None
    depth: int = 0
    causes: tuple[Link, ...] = ()
    """The runs that led to the request, the first one first; as far as they are known."""
    target: Target | None = None
    """None where the action runs on no entity, or the request names none."""
    blueprint: Blueprint | None = None
    """The one of the action, if it has one that is there."""
    form: Evaluated | None = None
    """The form for these inputs. None: it is evaluated here, and refused if jq computes anything of it."""


def admitted(action: Action, permissions: Permissions, request: RunRequest, given: Circumstances) -> Iterator[Ruling]:
    """What lets the caller ask, as far as it does not depend on inputs; the last one is what refuses, before it does.

    Raises:
        NotSelfService, MissingEntity, Forbidden, EntityFailsCondition: in this order.
    """
    if action.definition.user_inputs is None:
        raise NotSelfService(f"Action {action.identifier!r} is an automation: only its event starts it")
    target = given.target
    if action.needs_entity and target is None:
        raise MissingEntity(f"Action {action.identifier!r} runs on an entity of {action.blueprint!r}: name it")
    answer = permissions.may_execute(given.caller, target.teams if target else ())
    yield Ruling(rule="execute", allowed=bool(answer), why=answer.reason)
    if not answer:
        raise Forbidden(f"You are not permitted to execute this action: {answer.reason}")
    if given.depth > MAX_DEPTH:
        chain = chain_in_words(given.causes, action.identifier)
        why = f"This run would be number {given.depth} in a chain of runs that cause each other: {chain}"
        yield Ruling(rule="depth", allowed=False, why=why)
        raise Forbidden(why)
    condition = action.definition.condition
    if target and condition and condition.rules:
        meets = "meets" if target.meets_condition else "does not meet"
        why = f"Entity {request.entity!r} {meets} the condition of action {action.identifier!r}"
        yield Ruling(rule="condition", allowed=target.meets_condition, why=why)
        if not target.meets_condition:
            raise EntityFailsCondition(why)


def _about(action: Action, blueprint: Blueprint | None) -> Ref | None:
    """The blueprint of the action, as the run keeps it."""
    if action.blueprint is None:
        return None
    known = blueprint.definition if blueprint else None
    return Ref(identifier=action.blueprint, title=known and known.title, icon=known and known.icon)


def requested(action: Action, request: RunRequest, given: Circumstances) -> Run:
    """The run that an admitted request asks for, not recorded yet; its invocation method is not rendered yet.

    Who has to approve it is not in it yet, either.

    Raises:
        NotSelfService, InvalidInputs: in this order.
    """
    definition = action.definition
    form = definition.user_inputs
    if form is None:
        raise NotSelfService(f"Action {action.identifier!r} is an automation: only its event starts it")
    target = given.target
    if given.form:
        values = _held(given.form)
    else:
        values = inputs.checked(form, request.properties, keeps_undeclared=definition.keeps_undeclared)
    values = encryption.encrypted(definition.encrypted_inputs, values, client_secret=given.client_secret)
    required = definition.required_approval or False
    waits = is_required(required)
    return Run(
        id=given.run_id,
        status=RunStatus.WAITING_FOR_APPROVAL if waits else RunStatus.IN_PROGRESS,
        action=Ref(identifier=action.identifier, title=definition.title, icon=definition.icon),
        blueprint=_about(action, given.blueprint),
        entity=target.reference() if target else None,
        source=Source.API,
        properties=values,
        raw_properties={name: value for name, value in values.items() if name in request.properties},
        required_approval=required,
        created_at=given.at,
        created_by=given.caller.id,
        updated_at=given.at,
        updated_by=given.caller.id,
        impersonated_by=given.impersonated_by,
        impersonated_user_id=given.caller.id if given.impersonated_by else None,
        interlock=Driving(
            action_version=action.version,
            trigger=contexts.trigger_of(given.caller, action, source=Source.API, at=iso(given.at)),
            approval_time_limit=definition.approval_time_limit,
            run_time_limit=definition.run_time_limit,
            backend=str(definition.invocation_method["type"]),
            depth=given.depth,
            causes=given.causes,
            entity=target.entity if target else None,
            inputs=(given.form.entities or None) if given.form else None,
        ),
    )


def _held(form: Evaluated) -> Document:
    if form.faults:
        raise InvalidInputs(*form.faults)
    return form.values
