"""Forms: evaluated for what is filled in, before a run of the action is asked for and when it is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter
from pydantic import Field, JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AuthenticatedRoute, Caller
from api.errors import responses
from api.form_options import Catalog, WantedOptions
from api.reading import shown
from api.services import ApiServices, Now, Services
from api.targets import blueprint_of
from api.targets import target as target_of
from domain import form_views, forms
from domain.actions import Action
from domain.documents import Document
from domain.errors import Forbidden, InvalidRequest, NotFound, NotSelfService
from domain.form_values import asks_about_entity, entity_input, user_of
from domain.forms import Evaluated
from domain.models import Written
from domain.people_entities import USER, identifier_of
from domain.requests import RunRequest, Target
from domain.rule_values import Comparison, Listed, Operator, Property, Query
from domain.users import Caller as CallerValue
from store import actions, entities, users

router = APIRouter(route_class=AuthenticatedRoute, tags=["actions"])


class FormRequest(Written):
    """What is filled in so far, and which options are wanted."""

    properties: Document = {}
    entity: str | None = Field(default=None, min_length=1, max_length=1000)
    """The entity a DAY-2 or DELETE action runs on."""
    options: dict[str, WantedOptions] | None = None
    """By input. Absent: the first page of every entity input that is visible and enabled."""


@router.post("/v1/actions/{action_id}/form", responses=responses(NotFound, Forbidden, NotSelfService))
async def evaluate_form(
    action_id: str, body: FormRequest, caller: Caller, services: Services, now: Now, run_as: str | None = None
) -> Document:
    """The form as it is for what is filled in so far: what is shown, offered and required, and what does not hold.

    Nothing is recorded, and a run is not asked for: whether the caller may execute the action is not said.
    """
    async with services.database.read() as session:
        if run_as is not None:
            if not caller.machine:
                raise Forbidden("run_as works with the organization's credentials only, not with personal ones")
            caller = caller.acting_for(await users.by_email(session, run_as))
        action, _ = await actions.get(session, action_id)
        if action.definition.user_inputs is None:
            raise NotSelfService(f"Action {action.identifier!r} is an automation: only its event starts it")
        blueprint = await blueprint_of(session, action)
    request = RunRequest(properties=body.properties, entity=body.entity)
    # Whoever waits for their turn holds no connection.
    async with services.form_turns.one():
        target = await target_of(action, blueprint, request, caller, services, at=now)
        async with services.database.read() as session:
            evaluated = await _evaluated(
                services, session, action, body.properties, caller, target, at=now, to_show=True
            )
            offered = await _options(Catalog(services, session, caller, now), evaluated, body.options)
    notes: list[str] = []
    if action.needs_entity and target is None:
        notes.append(f"entity is required: the action runs on an entity of {action.blueprint}")
    elif target is not None and not target.meets_condition:
        notes.append(f"entity does not meet the condition of action {action.identifier}")
    return {"ok": True, "form": form_views.view(evaluated, offered, notes)}


async def evaluated(
    services: ApiServices,
    session: AsyncSession,
    action: Action,
    sent: Document,
    caller: CallerValue,
    target: Target | None,
    *,
    at: datetime,
) -> Evaluated:
    """The action's form for what was sent with the request for a run. The session only reads.

    A form without jq that names no entities costs no trip and no statement.

    Raises:
        NotSelfService: the action has no form.
        InvalidRequest: the values nest too deep.
        Unavailable: no process could be had to run the programs.
    """
    return await _evaluated(services, session, action, sent, caller, target, at=at)


async def _evaluated(
    services: ApiServices,
    session: AsyncSession,
    action: Action,
    sent: Document,
    caller: CallerValue,
    target: Target | None,
    *,
    at: datetime,
    to_show: bool = False,
) -> Evaluated:
    definition = action.definition
    if definition.user_inputs is None:
        raise NotSelfService(f"Action {action.identifier!r} is an automation: only its event starts it")
    return await forms.evaluated(
        definition.user_inputs,
        sent,
        _Around(Catalog(services, session, caller, at), action, target),
        services.evaluate,
        at=at,
        enforced=definition.enforces_datasets,
        keeps_undeclared=definition.keeps_undeclared,
        to_show=to_show,
    )


@dataclass(frozen=True)
class _Around:
    """What programs see, and the catalog in the caller's reading rights."""

    catalog: Catalog
    action: Action
    target: Target | None

    async def seen(self, programs: Collection[str]) -> Document:
        """See `forms.Surroundings`; the person's own entity is read only where a program may ask for it."""
        caller, session = self.catalog.caller, self.catalog.session
        known: Document | None = None
        if caller.user is not None and asks_about_entity(programs):
            stored = await entities.find(session, USER, str(identifier_of(caller.user.email)))
            if stored is not None:
                [known] = await shown(self.catalog.services, session, [stored.entity])
        seen: Document = {"user": user_of(caller, known), "blueprint": self.action.blueprint}
        return seen if self.target is None else {**seen, "entity": self.target.entity}

    async def entities(self, blueprint: str, identifiers: Collection[str]) -> Mapping[str, Document]:
        """See `forms.Surroundings`."""
        return await _readable(self.catalog, blueprint, identifiers)

    async def offered(self, blueprint: str, identifiers: Collection[str], dataset: Query) -> Collection[str]:
        """See `forms.Surroundings`."""
        asked = await self.catalog.search(blueprint, Query("and", (dataset, _one_of(identifiers))))
        page = await asked.page(self.catalog.session, limit=len(identifiers))
        return {str(one.entity.identifier) for one in page.found}


async def _readable(catalog: Catalog, blueprint: str, identifiers: Collection[str]) -> Mapping[str, Document]:
    asked = await catalog.search(blueprint, _one_of(identifiers))
    page = await asked.page(catalog.session, limit=len(identifiers))
    found = [one.entity for one in page.found]
    documents = await shown(catalog.services, catalog.session, found) if found else []
    return {str(one.identifier): document for one, document in zip(found, documents, strict=True)}


def _one_of(identifiers: Collection[str]) -> Query:
    named = Comparison(Property("$identifier"), Operator.IN, Listed.of(*identifiers))
    return Query("and", (named,))


async def _options(
    catalog: Catalog, evaluated: Evaluated, wanted: Mapping[str, WantedOptions] | None
) -> Mapping[str, Document]:
    form = evaluated.form
    if wanted is None:
        wanted = {
            name: WantedOptions()
            for name, each in form.properties.items()
            if entity_input(each) and each.disabled is not True and not form.is_hidden(name)
        }
    offered: dict[str, Document] = {}
    for name, asked in wanted.items():
        each = form.properties.get(name)
        about = entity_input(each) if each else None
        listed = form_views.choices(each) if each else None
        if each is not None and listed is not None:
            offered[name] = {"values": [one for one in listed if _has(one, asked.search)]}
        elif each is None or about is None:
            raise InvalidRequest(f"options.{name}: no such input has options")
        elif about.dataset is not None and name not in evaluated.offers:
            offered[name] = {"entities": []}  # its dataset cannot be asked
        else:
            dataset = evaluated.offers.get(name)
            offered[name] = await catalog.options(name, about.blueprint, dataset, each.sort, asked)
    return offered


def _has(value: JsonValue, text: str) -> bool:
    return not text or (isinstance(value, str | int | float) and text.casefold() in str(value).casefold())
