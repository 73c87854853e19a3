"""Queries that requests bring: read, and held to the blueprints and relations there are."""

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from domain import rules
from domain.errors import InvalidRequest
from domain.query_faults import follows, nowhere
from domain.rule_readers import below
from domain.rule_values import Query
from domain.rules import Dialect
from store import definitions


def parsed(written: dict[str, Any] | None, *, dialect: Dialect, key: str = "") -> Query | None:
    """The query in the request, below the key; None if there is none, or nothing in it.

    Raises:
        InvalidRequest: it is none; the message begins with the path of the fault.
    """
    if not written:
        return None
    try:
        return rules.parsed(written, dialect=dialect)
    except InvalidRequest as fault:
        raise _below(key, fault) from None


async def require_known(
    session: AsyncSession, query: Query | None, *, key: str = "", blueprint: str | None = None
) -> None:
    """Nothing, if every relation and blueprint is there that its rules follow. The session only reads.

    Args:
        session: reads the blueprints.
        query: as it was `parsed`.
        key: of the request, where the query is.
        blueprint: the one whose entities are searched; None: those of any.

    Raises:
        InvalidRequest: something is not there; the message begins with its path.
    """
    if query is None or not follows(query):
        return
    if fault := nowhere(query, (await definitions.current(session)).all, blueprint):
        raise _below(key, fault)


def _below(key: str, fault: InvalidRequest) -> InvalidRequest:
    return InvalidRequest(below(key, fault)) if key else fault
