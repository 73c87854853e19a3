"""Scorecards: the rules and levels that the entities of a blueprint are held to."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body
from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.auth import AdminCaller, AuthenticatedRoute, Caller
from api.completing import completing_written
from api.errors import responses
from api.services import ApiServices, Services
from domain.blueprints import Blueprint
from domain.documents import Document
from domain.entities import Author
from domain.errors import Forbidden, IdentifierTaken, InvalidRequest, NotFound
from domain.identifiers import new
from domain.people_entities import MIRRORED
from domain.runs import Source
from domain.scorecard_blueprints import NAMES
from domain.scorecards import Definition, Scorecard, parsed, parsed_all, revised
from domain.users import Caller as CallerValue
from store import blueprints, scorecards
from store.derived import Completing
from store.entities import Writer

router = APIRouter(route_class=AuthenticatedRoute, tags=["scorecards"])

Written = Annotated[
    dict[str, Any], Body(description="A scorecard: identifier, title, levels, filter, rules; echoed as received.")
]
All = Annotated[
    list[Any] | dict[str, Any],
    Body(description='The scorecards of the blueprint, in an array or in `{"scorecards": [...]}`.'),
]
_WRITING = responses(NotFound, Forbidden, IdentifierTaken)
_Result = TypeVar("_Result")


@router.get("/v1/scorecards", responses=responses())
async def list_all_scorecards(caller: Caller, services: Services) -> Document:
    """The scorecards of all blueprints, by blueprint and identifier."""
    async with services.database.read() as session:
        found = await scorecards.listed(session)
    return {"ok": True, "scorecards": _echoed(found)}


@router.get("/v1/blueprints/{blueprint}/scorecards", responses=responses(NotFound))
async def list_scorecards(blueprint: str, caller: Caller, services: Services) -> Document:
    """The scorecards of the blueprint, by identifier."""
    async with services.database.read() as session:
        await blueprints.get(session, blueprint)
        found = await scorecards.listed(session, blueprint)
    return {"ok": True, "scorecards": _echoed(found)}


@router.post("/v1/blueprints/{blueprint}/scorecards", status_code=201, responses=_WRITING)
async def create_scorecard(blueprint: str, document: Written, caller: AdminCaller, services: Services) -> Document:
    """Create a scorecard. All entities of the blueprint are evaluated before this answers."""
    definition = parsed(document, blueprint=blueprint)

    async def write(session: AsyncSession, of: Blueprint, writer: Writer, complete: Completing) -> Scorecard:
        scorecard = _made(blueprint, definition, writer)
        await scorecards.create(session, of, scorecard, writer=writer, complete=complete)
        return scorecard

    scorecard = await _written(services, blueprint, caller, write)
    return {"ok": True, "scorecard": scorecard.echo()}


@router.put("/v1/blueprints/{blueprint}/scorecards", responses=responses(NotFound, Forbidden))
async def replace_scorecards(blueprint: str, documents: All, caller: AdminCaller, services: Services) -> Document:
    """Replace the scorecards of the blueprint: those that are not sent are deleted."""
    definitions = parsed_all(documents, blueprint=blueprint)

    async def write(session: AsyncSession, of: Blueprint, writer: Writer, complete: Completing) -> list[Scorecard]:
        there = {one.identifier: one for one in await scorecards.listed(session, blueprint)}
        wanted = [
            revised(before, definition, at=writer.author.at, by=writer.author.id)
            if (before := there.get(definition.identifier))
            else _made(blueprint, definition, writer)
            for definition in definitions
        ]
        await scorecards.replace_all(session, of, wanted, writer=writer, complete=complete)
        return wanted

    return {"ok": True, "scorecards": _echoed(await _written(services, blueprint, caller, write))}


@router.get("/v1/blueprints/{blueprint}/scorecards/{scorecard:path}", responses=responses(NotFound))
async def get_scorecard(blueprint: str, scorecard: str, caller: Caller, services: Services) -> Document:
    """One scorecard as it was written."""
    async with services.database.read() as session:
        await blueprints.get(session, blueprint)
        found = await scorecards.get(session, blueprint, scorecard)
    return {"ok": True, "scorecard": found.echo()}


@router.put("/v1/blueprints/{blueprint}/scorecards/{scorecard:path}", responses=_WRITING)
async def replace_scorecard(
    blueprint: str, scorecard: str, document: Written, caller: AdminCaller, services: Services
) -> Document:
    """Replace the scorecard; with another `identifier` it is renamed. All entities are evaluated anew."""
    definition = parsed(document, blueprint=blueprint)

    async def write(session: AsyncSession, of: Blueprint, writer: Writer, complete: Completing) -> Scorecard:
        before = await scorecards.get(session, blueprint, scorecard)
        after = revised(before, definition, at=writer.author.at, by=writer.author.id)
        await scorecards.replace(session, of, before, after, writer=writer, complete=complete)
        return after

    return {"ok": True, "scorecard": (await _written(services, blueprint, caller, write)).echo()}


@router.delete("/v1/blueprints/{blueprint}/scorecards/{scorecard:path}", responses=responses(NotFound, Forbidden))
async def delete_scorecard(blueprint: str, scorecard: str, caller: AdminCaller, services: Services) -> Document:
    """Delete the scorecard and all that it said about entities."""

    async def write(session: AsyncSession, of: Blueprint, writer: Writer, complete: Completing) -> None:
        found = await scorecards.get(session, blueprint, scorecard)
        await scorecards.remove(session, of, found, writer=writer, complete=complete)

    await _written(services, blueprint, caller, write)
    return {"ok": True}


async def _written(
    services: ApiServices,
    blueprint: str,
    caller: CallerValue,
    work: Callable[[AsyncSession, Blueprint, Writer, Completing], Awaitable[_Result]],
) -> _Result:
    """What `work` makes of a transaction in which nobody else writes entities or scorecards of the blueprint.

    Raises:
        NotFound: there is no such blueprint.
        InvalidRequest: it is one that has no scorecards.
    """

    async def locked(session: AsyncSession) -> _Result:
        of = await blueprints.get(session, blueprint, to_change=True)
        if blueprint in NAMES:
            raise InvalidRequest(f"blueprint: {blueprint} shows what scorecards say, and has none itself")
        if blueprint in MIRRORED:
            raise InvalidRequest(f"blueprint: {blueprint} has no scorecards: people and teams are not evaluated")
        at = services.now()
        writer = Writer(Author(caller.id, at, ""), Source.API)
        return await work(session, of, writer, completing_written(services))

    return await services.database.transact(locked)


def _made(blueprint: str, definition: Definition, writer: Writer) -> Scorecard:
    by, at = writer.author.id, writer.author.at
    return Scorecard(
        id=new("scorecard"),
        blueprint=blueprint,
        identifier=definition.identifier,
        document=definition.document,
        created_at=at,
        created_by=by,
        updated_at=at,
        updated_by=by,
    )


def _echoed(found: Sequence[Scorecard]) -> list[JsonValue]:
    return [one.echo() for one in found]
