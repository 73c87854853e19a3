"""Asking for a run: one engine prepares it, for the request that records it and for the dry run that does not."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.forms import evaluated
from api.policies import policies
from api.services import ApiServices
from api.targets import blueprint_of, target
from domain import approval_terms, contexts, deciders
from domain.actions import Action
from domain.approvals import ApprovalRules
from domain.causes import Cause
from domain.documents import canonical
from domain.dry_runs import masked, sealed
from domain.errors import Forbidden, InvalidInputs, InvalidRequest, NotFound
from domain.forms import Explained
from domain.identifiers import RunId
from domain.permissions import Permissions
from domain.requests import Circumstances, RunRequest, admitted, requested
from domain.rulings import Approver, ConditionAnswer, Explanation, Ruling
from domain.runs import Link, Run, RunStatus
from domain.secrets import Redactor
from domain.shapes import shortened
from domain.templating import Template
from domain.users import Caller
from runtime import rendering
from store import actions, runs, users
from store.deciders import instigators


@dataclass(frozen=True)
class Asking:
    """A request for a run, as it came."""

    action_id: str
    request: RunRequest
    caller: Caller
    """Who runs it."""
    cause: Cause
    run_id: RunId
    at: datetime
    impersonated_by: str | None = None
    """The client id of the machine that acts for the person."""


@dataclass
class Prepared:
    """What is known of the run that is asked for, as far as preparing it has come."""

    action: Action | None = None
    permissions: Permissions | None = None
    """Of the action, as they were judged by."""
    run: Run | None = None
    rulings: list[Ruling] = field(default_factory=list)
    """What let the request pass; where it was refused, the last one refused it if a rule did."""
    approvers: tuple[Approver, ...] = ()
    warnings: list[str] = field(default_factory=list)
    """Lines for the run's log."""

    def explanation(self) -> Explanation:
        """The same, to be kept with the run; without secret inputs, which are ciphertext here already."""
        whole = Explanation(decisions=tuple(self.rulings), approvers=self.approvers)
        secrets = sealed(self.run, self.action) if self.run and self.action else []
        return Explanation.model_validate(masked(whole.model_dump(mode="json"), secrets)) if secrets else whole


async def acting(asking: Asking, run_as: str | None, services: ApiServices) -> Asking:
    """The request as the person asks for it on whose behalf a machine sends it; without `run_as` as it is.

    Raises:
        Forbidden: the caller is no machine.
        NotFound: there is no such person.
    """
    if run_as is None:
        return asking
    machine = asking.caller
    if not machine.machine:
        raise Forbidden("run_as works with the organization's credentials only, not with personal ones")
    async with services.database.read() as session:
        person = await users.by_email(session, run_as)
    return replace(asking, caller=machine.acting_for(person), impersonated_by=machine.id)


async def prepare(asking: Asking, services: ApiServices, so_far: Prepared) -> tuple[Action, Run]:
    """The run that is asked for, not recorded yet, and the action it executes; `so_far` tells how far it came.

    In this order: the action, its entity, the static permissions, the condition, the inputs, the execute policy, the
    approvers and, without approval, the rendering. From the inputs on, secret ones are ciphertext.

    Raises:
        NotFound, NotSelfService, MissingEntity, Forbidden, EntityFailsCondition, InvalidInputs: the request is refused.
        InvalidRequest: the action says by a template when it begins, and no moment comes of it.
        TemplateFault, InvalidInvocation, PrivateDestination, UnresolvableDestination: it cannot be sent.
        Unavailable: no process could be had to run templates and policies.
    """
    async with services.database.read() as session:
        action, permissions = await actions.get(session, asking.action_id)
        so_far.action, so_far.permissions = action, permissions
        causes = await _causes(session, asking.cause)
        blueprint = await blueprint_of(session, action)
    given = Circumstances(
        caller=asking.caller,
        at=asking.at,
        run_id=asking.run_id,
        client_secret=services.organization.client_secret,
        impersonated_by=asking.impersonated_by,
        depth=asking.cause.next_depth,
        causes=causes,
        target=await target(action, blueprint, asking.request, asking.caller, services, at=asking.at),
        blueprint=blueprint,
    )
    for ruling in admitted(action, permissions, asking.request, given):
        so_far.rulings.append(ruling)
    so_far.run = run = await _filled_in(action, asking, given, services, so_far)
    await _ask_execute_policy(action, permissions, run, asking, services, so_far)
    if run.status is RunStatus.WAITING_FOR_APPROVAL:
        so_far.run = run = await _with_approvers(action, permissions, run, services, so_far)
    else:
        run, warnings = await rendering.rendered(run, action, services.evaluate, services.settings)
        so_far.run = run
        so_far.warnings += warnings
    return action, run


async def _filled_in(
    action: Action, asking: Asking, given: Circumstances, services: ApiServices, so_far: Prepared
) -> Run:
    """The run with its inputs; those of the form's rules that were computed are told with their values."""
    async with services.database.read() as session:
        form = await evaluated(
            services, session, action, asking.request.properties, given.caller, given.target, at=given.at
        )
    # Here, and nowhere later, secret inputs are still plaintext.
    hidden = Redactor(text for name in action.encrypted_inputs for text in _texts(form.values.get(name)))

    def told(*, allowed: bool, why: str) -> None:
        conditions = tuple(_computed(part, hidden) for part in form.explained)
        so_far.rulings.append(Ruling(rule="inputs", allowed=allowed, why=hidden.text(why), conditions=conditions))

    try:
        run = requested(action, asking.request, replace(given, form=form))
    except InvalidInputs as refusal:
        told(allowed=False, why=str(refusal))
        raise
    told(allowed=True, why="the inputs meet the form")
    return run


def _computed(part: Explained, hidden: Redactor) -> ConditionAnswer:
    condition = f"{part.path}: {part.program}"
    if part.error is not None:
        return ConditionAnswer(condition=condition, failed=shortened(hidden.text(part.error)))
    return ConditionAnswer(condition=condition, value=shortened(canonical(hidden.value(part.value))))


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


async def _ask_execute_policy(
    action: Action, permissions: Permissions, run: Run, asking: Asking, services: ApiServices, so_far: Prepared
) -> None:
    policy, user = permissions.execute.rule, asking.caller.user
    if policy is None or user is None:
        return
    async with services.database.read() as session:
        said = await policies(services).said(session, policy, run, action, user, at=asking.at)
    why = "a condition is true" if said.permits else said.in_words()
    so_far.rulings.append(said.ruling("execute.policy", allowed=said.permits, why=why))
    if not said.permits:
        raise Forbidden(f"You are not permitted to execute this action: its policy does not allow it: {why}")


async def _with_approvers(
    action: Action, permissions: Permissions, run: Run, services: ApiServices, so_far: Prepared
) -> Run:
    """The run with who is asked, and what else its verdict depends on."""
    rules = action.definition.approval_rules
    not_before = await _not_before(rules, action, run, services)
    async with services.database.read() as session:
        causes = run.interlock.causes
        behind = await instigators(session, causes[-1].run) if causes else ()
        gate = approval_terms.gate_of(rules, teams=permissions.approve.teams, not_before=not_before, instigators=behind)
        so_far.run = run = _driven(run, gate=gate)
        people = [user for user in await users.everybody(session) if not deciders.is_barred(run, user.id)]
        so_far.approvers, ruling = await policies(services).approvers(
            session, permissions, run, action, people, at=run.created_at, warnings=so_far.warnings
        )
    so_far.rulings.append(ruling)
    ids = tuple(one.user_id for one in so_far.approvers)
    asked = [user for user in people if user.id in set(ids)]
    so_far.warnings += approval_terms.obstacles(gate, asked, ruling.why)
    return _driven(run, gate=approval_terms.asking(gate, run.required_approval, ids), approvers=ids)


async def _not_before(
    rules: ApprovalRules | None, action: Action, run: Run, services: ApiServices
) -> datetime | timedelta | None:
    if rules is None or rules.not_before is None:
        return None
    rendering = await Template.parse(rules.not_before).rendered(
        contexts.of_run(run, action), services.evaluate, secrets=None, now=run.created_at
    )
    if rendering.warnings:
        raise InvalidRequest(f"{approval_terms.NOT_BEFORE}: {rendering.warnings[0]}")
    return approval_terms.earliest(rendering.value)


def _driven(run: Run, **values: object) -> Run:
    return run.model_copy(update={"interlock": run.interlock.model_copy(update=values)})


async def _causes(session: AsyncSession, cause: Cause) -> tuple[Link, ...]:
    """The runs that led to the request, the first one first; as far as they are known."""
    if cause.run_id is None:
        return ()
    try:
        run = await runs.get(session, cause.run_id)
    except NotFound:
        return ()
    return (*run.interlock.causes, Link(run=run.id, action=run.action.identifier))
