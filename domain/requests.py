"""From a request to a run: what must hold before one is recorded."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from domain import contexts, encryption, inputs
from domain.actions import Action
from domain.approvals import is_required
from domain.automations import chain_in_words
from domain.documents import Document
from domain.errors import EntityFailsCondition, Forbidden, MissingEntity, NotSelfService
from domain.identifiers import RunId
from domain.models import Written
from domain.permissions import Permissions
from domain.runs import Driving, Link, Ref, Run, RunStatus, Source
from domain.times import iso
from domain.users import Caller, User

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
    people: Iterable[User] = ()
    """Everybody, where somebody has to approve."""
    impersonated_by: str | None = None
    depth: int = 0
    causes: tuple[Link, ...] = ()
    """The runs that led to the request, the first one first; as far as they are known."""
    target: Target | None = None
    """None where the action runs on no entity, or the request names none."""


def requested(action: Action, permissions: Permissions, request: RunRequest, given: Circumstances) -> Run:
    """The run this request asks for, not recorded yet; its invocation method is not rendered yet.

    Raises:
        NotSelfService, MissingEntity, Forbidden, EntityFailsCondition, InvalidInputs: in this order.
    """
    definition = action.definition
    form = definition.user_inputs
    if form is None:
        raise NotSelfService(f"Action {action.identifier!r} is an automation: only its event starts it")
    target = given.target
    if action.needs_entity and target is None:
        raise MissingEntity(f"Action {action.identifier!r} runs on an entity of {action.blueprint!r}: name it")
    permissions.require_execute(given.caller, target.teams if target else ())
    if given.depth > MAX_DEPTH:
        chain = chain_in_words(given.causes, action.identifier)
        raise Forbidden(f"This run would be number {given.depth} in a chain of runs that cause each other: {chain}")
    if target and not target.meets_condition:
        raise EntityFailsCondition(
            f"Entity {request.entity!r} does not meet the condition of action {action.identifier!r}"
        )
    values = inputs.checked(form, request.properties)
    values = encryption.encrypted(definition.encrypted_inputs, values, client_secret=given.client_secret)
    required = definition.required_approval or False
    waits = is_required(required)
    return Run(
        id=given.run_id,
        status=RunStatus.WAITING_FOR_APPROVAL if waits else RunStatus.IN_PROGRESS,
        action=Ref(identifier=action.identifier, title=definition.title, icon=definition.icon),
        blueprint=Ref(identifier=action.blueprint) if action.blueprint else None,
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
        interlock=Driving(
            action_version=action.version,
            trigger=contexts.trigger_of(given.caller, action, source=Source.API, at=iso(given.at)),
            approvers=tuple(user.id for user in permissions.approvers(given.people)) if waits else (),
            approval_time_limit=definition.approval_time_limit,
            run_time_limit=definition.run_time_limit,
            backend=str(definition.invocation_method["type"]),
            depth=given.depth,
            causes=given.causes,
            entity=target.entity if target else None,
        ),
    )
