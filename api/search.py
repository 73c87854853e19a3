"""Search of the catalog: by a query, of all blueprints or of one, and by who wrote last."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Body
from fastapi import Query as InQuery
from fastapi.responses import StreamingResponse
from pydantic import Field, StrictInt
from sqlmodel.ext.asyncio.session import AsyncSession

from api import queries, readable
from api.audit import Moment
from api.auth import AuthenticatedRoute, Caller
from api.completing import completing
from api.errors import responses
from api.reading import Reading, ReadingOptions, shown
from api.services import ApiServices, Now, Services
from domain import rules
from domain.blueprints import Blueprint
from domain.documents import Document
from domain.errors import InvalidRequest, NotFound
from domain.models import Written
from domain.rule_values import Query
from store import blueprints, search
from store.database import json_text
from store.datasources import Datasource
from store.found import Page, Place
from store.search import AT_ONCE

router = APIRouter(route_class=AuthenticatedRoute, tags=["search"])

_MOST_ON_A_PAGE = 1_000
_MOST_OF_A_DATASOURCE = 5_000

Rules = Annotated[dict[str, Any] | None, Body(description='A query: `{"combinator": "and", "rules": [...]}`.')]


class BlueprintSearch(Written):
    """What is asked of the entities of one blueprint."""

    query: dict[str, Any] | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: StrictInt = Field(default=200, ge=1, le=_MOST_ON_A_PAGE)
    from_: str | None = Field(default=None, alias="from")
    """`next` of the page before."""


class DatasourceSearch(Written):
    """Which writers the entities are asked of."""

    datasource_prefix: str = Field(default="", alias="datasource_prefix")
    datasource_suffix: str = Field(default="", alias="datasource_suffix")
    limit: StrictInt = Field(default=200, ge=1, le=_MOST_OF_A_DATASOURCE)
    before: Moment | None = None
    from_: str | None = Field(default=None, alias="from")


class _Source(Protocol):
    async def page(self, session: AsyncSession, *, after: Place | None = None, limit: int = AT_ONCE) -> Page: ...


@router.post("/v1/entities/search", responses=responses())
async def search_entities(
    caller: Caller,
    services: Services,
    now: Now,
    reading: ReadingOptions,
    query: Rules = None,
    allow_partial_results: Annotated[
        str, InQuery(description="Taken, and without effect: nothing fails in part.")
    ] = "",
) -> StreamingResponse:
    """Every entity that the query finds, by blueprint and identifier, sent while they are read."""
    asked = queries.parsed(query, dialect=rules.SEARCH)
    async with services.database.read() as session:
        await queries.require_known(session, asked)
        asked = await readable.narrowed(services, session, caller, asked, at=now)
        found = await search.prepared(session, asked, at=now, caller=caller, complete=completing(services, now))
    return await _streamed(_pieces(services, found, reading, _matching_blueprints))


# Before the search of one blueprint: no blueprint is called `entities`, and no client means one.
@router.post("/v1/blueprints/entities/datasource-entities", responses=responses())
async def search_by_datasource(
    caller: Caller, services: Services, now: Now, body: DatasourceSearch
) -> StreamingResponse:
    """The entities whose last writer's user agent begins and ends so, a page at a time."""
    after = _place("from", body.from_)
    wanted = Datasource(body.datasource_prefix, body.datasource_suffix, body.before)
    found: _Source = wanted
    async with services.database.read() as session:
        mine = await readable.narrowed(services, session, caller, None, at=now)
        if mine is not None:
            asked = Query("and", (*wanted.rules, mine))
            found = await search.prepared(session, asked, at=now, caller=caller, complete=completing(services, now))
    return await _streamed(_pieces(services, found, Reading(), _next, after=after, limit=body.limit))


@router.post("/v1/blueprints/{blueprint}/entities/search", responses=responses(NotFound))
async def search_blueprint(
    blueprint: str, caller: Caller, services: Services, now: Now, reading: ReadingOptions, body: BlueprintSearch
) -> StreamingResponse:
    """The entities of the blueprint that the query finds, by identifier, a page at a time."""
    asked = queries.parsed(body.query, dialect=rules.BLUEPRINT_SEARCH, key="query")
    after = _place("from", body.from_, of=blueprint)
    reading = replace(
        reading, include=reading.include + tuple(body.include), exclude=reading.exclude + tuple(body.exclude)
    )
    async with services.database.read() as session:
        known = await blueprints.get(session, blueprint)
        await queries.require_known(session, asked, key="query", blueprint=blueprint)
        asked = await readable.narrowed(services, session, caller, asked, at=now, blueprint=blueprint)
        found = await search.prepared(
            session, asked, at=now, caller=caller, complete=completing(services, now), blueprint=blueprint
        )
    return await _streamed(_pieces(services, found, reading, _next, after=after, limit=body.limit, known=[known]))


async def _pieces(
    services: ApiServices,
    source: _Source,
    reading: Reading,
    ending: Callable[[Sequence[str], Place | None], Document],
    *,
    after: Place | None = None,
    limit: int | None = None,
    known: Sequence[Blueprint] = (),
) -> AsyncIterator[bytes]:
    # Each portion is read in a session of its own: a slow client keeps no connection to the database.
    met: dict[str, None] = {}
    left, lead = limit, b'{"ok":true,"entities":['
    while True:
        async with services.database.read() as session:
            portion = AT_ONCE if left is None else min(left, AT_ONCE)
            page = await source.page(session, after=after, limit=portion)
            documents = await shown(services, session, page.found, reading, known=known)
        met |= dict.fromkeys(one.blueprint for one in page.found)
        yield lead + b",".join(json_text(document).encode() for document in documents)
        lead, after = b",", page.next
        left = None if left is None else left - len(page.found)
        if after is None or left == 0:
            break
    rest = json_text(ending(list(met), after))[1:]
    yield (f"],{rest}" if len(rest) > 1 else "]}").encode()


async def _streamed(pieces: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer. Its first piece is made before it begins, so that most of what can fail still has a status."""
    first = await anext(pieces)

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(all_of_them(), media_type="application/json")


def _matching_blueprints(met: Sequence[str], _: Place | None) -> Document:
    return {"matchingBlueprints": list(met)}


def _next(_: Sequence[str], after: Place | None) -> Document:
    return {} if after is None else {"next": _cursor(after)}


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(json_text(list(place)).encode()).decode()


def _place(key: str, cursor: str | None, *, of: str | None = None) -> Place | None:
    """Where a page begins.

    Raises:
        InvalidRequest: the cursor is none of ours, or of another blueprint.
    """
    if cursor is None:
        return None
    try:
        match json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)):
            case [str(blueprint), str(identifier)] if of in (None, blueprint):
                # Neither database takes half characters or NUL.
                if "\x00" not in (blueprint + identifier).encode().decode():
                    return Place(blueprint, identifier)
    except (ValueError, RecursionError, binascii.Error):
        pass
    raise InvalidRequest(f"{key}: must be the `next` of an answer to this search")
