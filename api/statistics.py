"""Statistics: one number over what a query finds, the same over time, and what the properties of an entity were."""

from fastapi import APIRouter
from pydantic import JsonValue

from api import queries, readable
from api.auth import AuthenticatedRoute, Caller
from api.completing import completing
from api.errors import responses
from api.services import Now, Services
from domain import rules
from domain.documents import Document
from domain.errors import NotFound
from domain.series import Past, Series
from domain.statistics import Aggregate, AggregateOverTime, PropertiesHistory
from domain.tallies import Tally, Values
from domain.timelines import Timeline
from store import blueprints, entities, search, statistics

router = APIRouter(route_class=AuthenticatedRoute, tags=["search"])


@router.post("/v1/entities/aggregate", responses=responses())
async def aggregate_entities(caller: Caller, services: Services, now: Now, body: Aggregate) -> Document:
    """A number made of all entities that the query finds, or how many of them have each value."""
    body.check()
    query, complete = queries.parsed(body.query, dialect=rules.SEARCH, key="query"), completing(services, now)
    async with services.database.read() as session:
        await queries.require_known(session, query, key="query")
        mine = await readable.narrowed(services, session, caller, query, at=now)
        asked = await search.prepared(session, mine, at=now, caller=caller, complete=complete)
    found = statistics.found(services.database, asked, complete=complete, names=body.names, scorecard=body.scorecard)
    if body.counts_values:
        values = Values(body.grouped_by)
        async for entity in found:
            values.add(body.value(entity))
        counts: dict[str, JsonValue] = dict(values.result())
        return {"ok": True, "aggregation": counts}
    tally = Tally(body.calculation_spec, at=now)
    async for entity in found:
        tally.add(body.measured(entity))
    return {"ok": True, "aggregation": tally.result()}


@router.post("/v1/entities/aggregate-over-time", responses=responses(NotFound))
async def aggregate_entities_over_time(
    caller: Caller, services: Services, now: Now, body: AggregateOverTime
) -> Document:
    """What entities of the blueprint add up to in each interval of a period."""
    query, complete = queries.parsed(body.query, dialect=rules.SEARCH, key="query"), completing(services, now)
    timeline = Timeline.of(body.time_range, body.time_interval, at=now)
    async with services.database.read() as session:
        definition = (await blueprints.get(session, body.blueprint)).definition
        body.check(definition)
        await queries.require_known(session, query, key="query", blueprint=body.blueprint)
        narrowed = body.narrowed(query, timeline, definition)
        mine = await readable.narrowed(services, session, caller, narrowed, at=now, blueprint=body.blueprint)
        asked = await search.prepared(session, mine, at=now, caller=caller, complete=complete, blueprint=body.blueprint)
    series = Series(body, definition, timeline, at=now)
    async for entity in statistics.found(services.database, asked, complete=complete, names=series.names):
        series.add(entity)
    return {"ok": True, "result": timeline.document(series.data())}


@router.post("/v1/entities/properties-history", responses=responses(NotFound))
async def get_properties_history(caller: Caller, services: Services, now: Now, body: PropertiesHistory) -> Document:
    """What properties of the entity were at the end of each interval of a period."""
    timeline = Timeline.of(body.time_range, body.time_interval, at=now)
    async with services.database.read() as session:
        definition = (await blueprints.get(session, body.blueprint_identifier)).definition
        body.check(definition)
        entity = (await entities.get(session, body.blueprint_identifier, body.entity_identifier)).entity
        await readable.require(services, session, caller, entity, at=now)
        past = Past(body.property_names, timeline, entity.document())
        async for step in statistics.steps(session, entity, since=timeline.period.start):
            past.undo(step.at, step.before)
    return {"ok": True, "result": timeline.document(past.data())}
