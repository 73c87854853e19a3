"""Search queries in place of identifiers: what a write calls `the service whose repository is x` gets its name here."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from domain.documents import Document
from domain.entities import RELATED_AT_MOST, EntityRequest, Kind
from domain.errors import InvalidRequest, NotFound
from domain.people_entities import name_of
from domain.query_faults import follows, nowhere
from domain.query_parts import leaves
from domain.rule_readers import WHOLE, below
from domain.rules import SEARCH, parsed
from domain.shapes import json_path, shortened
from domain.users import Caller
from store.definitions import current
from store.derived import Completing
from store.search import prepared

_TEAMS: Final = "_team"
_RULES: Final = 20
_COUNTED: Final = 100
"""How many a message counts at most."""

_Names = Callable[[str, Document, str, int], Awaitable[list[str]]]


async def resolved(
    session: AsyncSession,
    kind: Kind,
    request: EntityRequest,
    *,
    at: datetime,
    caller: Caller,
    complete: Completing,
) -> EntityRequest:
    """The request with identifiers where it has queries; the very same if it has none.

    `identifier` and a relation to one entity must find exactly one. A relation to many, and `team`, take all that is
    found.

    Raises:
        NotFound: there is none where there must be one.
        InvalidRequest: there are several, or it is no query; the message begins with the key.
    """

    async def names(where: str, query: Document, blueprint: str, limit: int) -> list[str]:
        try:
            asked = parsed(query, dialect=SEARCH)
            if len(list(leaves(asked))) > _RULES:
                raise InvalidRequest(f"{WHOLE}: may have at most {_RULES} rules in place of an identifier")
            if follows(asked) and (absent := nowhere(asked, (await current(session)).all, blueprint)):
                raise absent
            search = await prepared(session, asked, at=at, caller=caller, complete=complete, blueprint=blueprint)
        except InvalidRequest as fault:
            raise InvalidRequest(below(where, fault)) from None
        page = await search.page(session, limit=limit)
        if page.next is not None and limit > _COUNTED:
            raise InvalidRequest(f"{where}: the query finds more than {limit} entities of {blueprint}")
        return [name_of(one.entity) if where == "team" else one.entity.identifier for one in page.found]

    said: dict[str, object] = {}
    if isinstance(request.identifier, dict):
        said["identifier"] = await _one(names, "identifier", request.identifier, kind.identifier)
    if isinstance(request.team, dict):
        said["team"] = await names("team", request.team, _TEAMS, RELATED_AT_MOST)
    relations: dict[str, object] = {}
    for name, value in request.relations.items():
        relation = kind.definition.relations.get(name)
        if not isinstance(value, dict) or relation is None:  # what the blueprint does not have is refused later
            continue
        where = json_path(["relations", name])
        if relation.many:
            relations[name] = await names(where, value, relation.target, RELATED_AT_MOST)
        else:
            relations[name] = await _one(names, where, value, relation.target)
    if relations:
        said["relations"] = {**request.relations, **relations}
    return request.model_copy(update=said) if said else request


async def _one(names: _Names, where: str, query: Document, blueprint: str) -> str:
    found = await names(where, query, blueprint, _COUNTED)
    if not found:
        rules = json.dumps(query.get("rules"), ensure_ascii=False)
        raise NotFound(f"Entity of {blueprint}, which {where} searches for,", shortened(rules))
    if len(found) > 1:
        number = f"at least {_COUNTED}" if len(found) == _COUNTED else str(len(found))
        raise InvalidRequest(f"{where}: the query must find exactly one entity of {blueprint}, and finds {number}")
    return found[0]
