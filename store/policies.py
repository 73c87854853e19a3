"""Policies asked: queries by the product's own rights, and then conditions of what they found."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from pydantic import JsonValue
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain import policies
from domain.documents import Document
from domain.errors import InvalidRequest
from domain.jq import Evaluator
from domain.permissions import Policy
from domain.policies import Said
from domain.query_faults import undeclared, unknown
from domain.query_parts import blueprints_of
from domain.rule_values import Query
from domain.users import Caller, User
from store import definitions, search, shown
from store.catalog_tables import EntityRow, EntityValueRow
from store.completing import completing

log = logging.getLogger(__name__)


async def said(
    session: AsyncSession,
    policy: Policy,
    seen: Document,
    user: User,
    *,
    evaluate: Evaluator,
    at: datetime,
    fail_closed: bool,
    secrets: Sequence[str] = (),
) -> Said:
    """What the policy says about the person that `domain.policies.context` is about. The session only reads.

    Raises:
        Unavailable: no process could be had to run its templates and conditions.
    """
    asked, failed, overran = await policies.queries(policy, seen, evaluate, at=at)
    if asked:
        known = (await definitions.current(session)).all
        for name, query in list(asked.items()):
            # It would find nothing, which is no answer.
            if absent := unknown(query, known, await _held(session, query, undeclared(query, known))):
                failed[name] = absent
                del asked[name]
    results: dict[str, JsonValue] = {}
    caller = Caller(organization="", client="", user=user)
    for name, query in asked.items():
        try:
            found = await search.prepared(session, query, at=at, caller=caller, complete=completing(evaluate, at))
        except InvalidRequest as fault:
            failed[name] = str(fault)
            continue
        page = await found.page(session, limit=policies.MOST_FOUND)
        entities = await shown.documents(session, page.found, evaluate=evaluate, at=at)
        results[name] = {"entities": list[JsonValue](entities)}
    answer = await policies.said(
        policy, seen, results, failed, evaluate, at=at, fail_closed=fail_closed, secrets=secrets, overran=overran
    )
    for name, why in failed.items():
        log.warning("a query of a policy failed", extra={"query": name, "cause": why[:200]})
    if failed and (answer.permits or answer.emails):
        # A condition such as `.results.q.entities | length == 0` holds then, which nobody may have meant.
        log.error(
            "a policy let somebody through although a query failed; INTERLOCK_POLICY_FAIL_CLOSED=true refuses instead",
            extra={"queries": sorted(failed)},
        )
    return answer


async def _held(session: AsyncSession, query: Query, names: Collection[str]) -> set[str]:
    """Those of the undeclared properties that an entity has which the query may find."""
    found: set[str] = set()
    blueprints = blueprints_of(query)
    for name in names:
        asked = select(EntityValueRow.name).where(EntityValueRow.name == name).limit(1)
        if blueprints is not None:
            asked = asked.join(EntityRow, col(EntityRow.id) == col(EntityValueRow.entity_id))
            asked = asked.where(col(EntityRow.blueprint).in_(blueprints))
        found.update(await session.exec(asked))
    return found
