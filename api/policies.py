"""Policies decided: queries are asked of the catalog by the product's own rights, and then conditions are judged."""

import logging
from datetime import datetime

from pydantic import JsonValue
from sqlmodel.ext.asyncio.session import AsyncSession

from api.completing import completing
from api.reading import shown
from api.services import ApiServices
from domain import policies
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.permissions import Policy
from domain.users import Caller
from store import search

log = logging.getLogger(__name__)

_PRODUCT = Caller(organization="", client="")


async def permits(
    services: ApiServices, session: AsyncSession, policy: Policy, seen: Document, *, at: datetime
) -> bool:
    """Whether the policy lets through whom `domain.policies.context` is about. The session only reads.

    Raises:
        Unavailable: no process could be had to run its templates and conditions.
    """
    asked, failed = await policies.queries(policy, seen, services.evaluate, at=at)
    results: dict[str, JsonValue] = {}
    for name, query in asked.items():
        try:
            found = await search.prepared(session, query, at=at, caller=_PRODUCT, complete=completing(services, at))
        except InvalidRequest as fault:
            failed[name] = str(fault)
            continue
        page = await found.page(session, limit=policies.MOST_FOUND)
        documents = await shown(services, session, [one.entity for one in page.found]) if page.found else []
        results[name] = {"entities": list[JsonValue](documents)}
    for name, why in failed.items():
        # A condition such as `.results.q.entities | length == 0` holds then, which nobody may have meant.
        log.warning("a query of a policy is left out", extra={"query": name, "cause": why[:200]})
    return await policies.permits(policy, seen, results, services.evaluate, at=at)
