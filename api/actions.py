"""Definitions of actions and automations, and who may do what with them."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query

import backends
from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.errors import responses
from api.services import ApiServices, Now, Services, words
from api.targets import offered
from domain import cycles
from domain.actions import Action, Definition
from domain.documents import Document
from domain.errors import Forbidden, IdentifierTaken, InvalidInputs, InvalidRequest, NotFound
from domain.identifiers import new
from domain.jq import Failed, Overran
from domain.permissions import PermissionsPatch
from domain.policies import require_askable
from domain.runs import Source
from domain.shapes import MAX_PROBLEMS
from store import actions

router = APIRouter(route_class=AuthenticatedRoute, tags=["actions"])

Written = Annotated[dict[str, Any], Body(description="An action or automation; it is stored and echoed as received.")]


async def parsed(document: Document, services: ApiServices) -> Definition:
    """The definition, once it is known that its backend exists and that its conditions compile.

    Raises:
        InvalidRequest: it is none, or a condition cannot be asked; the message names the place.
        InvalidInputs: its form cannot work.
        Unavailable: no process could be had to compile the conditions.
    """
    definition = Definition.parse(document)
    backends.parse(definition.invocation_method)
    automation = definition.automation
    expressions = automation.condition.expressions if automation and automation.condition else []
    if not expressions:
        return definition
    # Compiled, but not run: what an expression makes of an event is for the events to show.
    outcomes = await services.evaluate([f"empty |\n{expression}" for expression in expressions], None)
    faults = [
        f"trigger.condition.expressions[{i}]: {outcome.reason}"
        for i, outcome in enumerate(outcomes)
        if isinstance(outcome, Failed) and not isinstance(outcome, Overran)
    ]
    if faults:
        left = len(faults) - MAX_PROBLEMS
        raise InvalidRequest("; ".join([*faults[:MAX_PROBLEMS], *([f"and {left} more"] if left > 0 else [])]))
    return definition


def version_of(definition: Definition, *, of: Action | None, by: str, at: datetime) -> Action:
    """The version that the definition becomes, after `of`; the first one where there is none."""
    return Action(
        id=of.id if of else new("action"),
        identifier=definition.identifier,
        version=of.version + 1 if of else 1,
        document=definition.document,
        created_at=of.created_at if of else at,
        created_by=of.created_by if of else by,
        updated_at=at,
        updated_by=by,
    )


@router.post("/v1/actions", responses=responses(Forbidden, IdentifierTaken, InvalidInputs))
async def create_action(document: Written, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Create an action or an automation, with the default permissions.

    `warnings` say how an automation that is published can trigger itself.
    """
    action = version_of(await parsed(document, services), of=None, by=caller.id, at=now)
    warnings = await _warnings(action, services)
    async with services.database.write() as session:
        await actions.create(session, action, origin=Source.API)
    return {"ok": True, "action": action.echo(), **warnings}


@router.get("/v1/actions", responses=responses(NotFound))
async def list_actions(
    caller: Caller,
    services: Services,
    now: Now,
    action_identifier: Annotated[list[str] | None, Query()] = None,
    blueprint_identifier: Annotated[list[str] | None, Query()] = None,
    operation: Annotated[list[str] | None, Query()] = None,
    published: bool | None = None,
    trigger_type: Literal["self-service", "automation"] | None = None,
    trigger_event: Annotated[list[str] | None, Query()] = None,
    trigger_event_action_identifier: str | None = None,
    entity: Annotated[str | None, Query(min_length=1, max_length=1000)] = None,
) -> Document:
    """The actions that pass every filter.

    With `entity`, an identifier in the one `blueprint_identifier`, those that the caller can be offered on it: they run
    on it, their condition holds for it, and their lists let the caller execute them on it.
    """
    filters = actions.Filters(
        identifiers=words(action_identifier),
        blueprints=words(blueprint_identifier),
        operations=words(operation),
        published=published,
        trigger_type=trigger_type,
        events=words(trigger_event),
        event_action=trigger_event_action_identifier,
    )
    if entity is not None and len(filters.blueprints) != 1:
        raise InvalidRequest("entity: needs one blueprint_identifier beside it")
    async with services.database.read() as session:
        found = await actions.listed(session, filters)
        if entity is not None:
            found = await offered(services, session, found, filters.blueprints[0], entity, caller, at=now)
        paused = await actions.paused(session, *found)
    return {"ok": True, "actions": [_titled(action.echo(paused.get(action.id))) for action in found]}


def _titled(document: Document) -> Document:
    """The action with a title: clients that name actions, such as MCP's, take nothing from a list with one without."""
    return document if isinstance(document.get("title"), str) else {**document, "title": document["identifier"]}


@router.get("/v1/actions/{action_id}", responses=responses(NotFound))
async def get_action(action_id: str, caller: Caller, services: Services) -> Document:
    """One action as it was written; `paused` says why an automation is asked about nothing."""
    async with services.database.read() as session:
        action, _ = await actions.get(session, action_id)
        paused = await actions.paused(session, action)
    return {"ok": True, "action": action.echo(paused.get(action.id))}


@router.put("/v1/actions/{action_id}", responses=responses(NotFound, Forbidden, IdentifierTaken, InvalidInputs))
async def replace_action(
    action_id: str, document: Written, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """A new version of the action; runs that exist go on with theirs. Another `identifier` renames it."""
    definition = await parsed(document, services)
    async with services.database.read() as session:
        known, _ = await actions.get(session, action_id)
    warnings = await _warnings(version_of(definition, of=known, by=caller.id, at=now), services)
    async with services.database.write() as session:
        before, _ = await actions.get(session, action_id, to_change=True)
        if definition.trigger.type != before.definition.trigger.type:
            raise InvalidRequest("trigger.type: cannot change; delete the action and create it again")
        after = version_of(definition, of=before, by=caller.id, at=now)
        await actions.replace(session, before, after, origin=Source.API)
        paused = await actions.paused(session, after)
    return {"ok": True, "action": after.echo(paused.get(after.id)), **warnings}


@router.post("/v1/actions/{action_id}/resume", responses=responses(NotFound, Forbidden))
async def resume_action(action_id: str, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Let an automation that was paused listen again, to what happens from now on."""
    async with services.database.write() as session:
        action, _ = await actions.get(session, action_id, to_change=True)
        if action.is_self_service:
            raise InvalidRequest(f"action {action.identifier} is self-service: only automations pause")
        await actions.resume(session, action.id, by=caller.id, at=now, origin=Source.API)
    return {"ok": True, "action": action.echo()}


@router.delete("/v1/actions/{action_id}", responses=responses(NotFound, Forbidden))
async def delete_action(action_id: str, caller: AdminCaller, services: Services, now: Now) -> Document:
    """Delete the action. Its runs stay; those that wait for approval end with FAILURE."""
    async with services.database.write() as session:
        action, _ = await actions.get(session, action_id, to_change=True)
        ended = await actions.remove(session, action, by=caller.id, at=now, origin=Source.API)
    await asyncio.gather(*map(services.driver.try_wake, ended))
    return {"ok": True}


@router.get("/v1/actions/{action_id}/permissions", responses=responses(NotFound))
async def get_permissions(action_id: str, caller: Caller, services: Services) -> Document:
    """Who may execute the action and who may approve its runs."""
    async with services.database.read() as session:
        _, permissions = await actions.get(session, action_id)
    return {"ok": True, "permissions": permissions.model_dump(mode="json")}


@router.patch("/v1/actions/{action_id}/permissions", responses=responses(NotFound, Forbidden))
async def patch_permissions(
    action_id: str, patch: PermissionsPatch, caller: AdminCaller, services: Services, now: Now
) -> Document:
    """Replace the lists that are named; the others stay. `"policy": null` drops a policy."""
    require_askable(patch)
    async with services.database.write() as session:
        action, before = await actions.get(session, action_id, to_change=True)
        permissions = before.patched(patch)
        await actions.put_permissions(session, action, before, permissions, by=caller.id, at=now, origin=Source.API)
    return {"ok": True, "permissions": permissions.model_dump(mode="json")}


async def _warnings(action: Action, services: ApiServices) -> Document:
    """What the answer to a write says about the automation, besides that it was written."""
    if action.definition.automation is None or action.definition.publish is not True:
        return {}
    own = (services.settings.public_url, *services.settings.own_api_aliases)
    async with services.database.read() as session:
        others = await actions.active(session, besides=action.id)
    warning = cycles.warning(action.document, others, own_addresses=own)
    return {"warnings": [warning]} if warning else {}
