"""Lists of runs in SQL."""

from dataclasses import dataclass

from sqlalchemy import and_, or_, select, true
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.runs import Run, RunStatus
from store.run_rows import as_run
from store.run_visibility import Viewer, visible_to
from store.tables import ActionRow, ClaimRow, RunRow


@dataclass(frozen=True)
class Filters:
    """Which runs to list; all that are set must hold."""

    entity: str | None = None
    blueprint: str | None = None
    action: str | None = None
    active: bool | None = None
    user_ids: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    external_run_id: str | None = None
    limit: int = 50
    viewer: Viewer | None = None
    """Only runs this person may see. None sees all."""


async def listed(session: AsyncSession, filters: Filters) -> list[Run]:
    """The runs that pass every filter, newest first."""
    of_action = select(col(ActionRow.id)).where(col(ActionRow.identifier) == filters.action)
    conditions = [
        filters.entity is None or col(RunRow.entity) == filters.entity,
        filters.blueprint is None or col(RunRow.blueprint) == filters.blueprint,
        filters.action is None or or_(col(RunRow.action) == filters.action, col(RunRow.action_id).in_(of_action)),
        not filters.active or col(RunRow.status).in_([status for status in RunStatus if not status.is_terminal]),
        filters.user_ids is None or col(RunRow.created_by).in_(filters.user_ids),
        filters.sources is None or col(RunRow.source).in_(filters.sources),
        filters.external_run_id is None or col(RunRow.external_run_id) == filters.external_run_id,
        filters.viewer is None or visible_to(filters.viewer),
    ]
    rows = await session.exec(  # type: ignore[call-overload]
        select(
            col(RunRow.document),
            col(ActionRow.id),
            col(ClaimRow.queue),
            col(ClaimRow.claimed_until),
            col(RunRow.turn),
        )
        .join(ActionRow, col(ActionRow.id) == col(RunRow.action_id), isouter=True)
        .join(ClaimRow, col(ClaimRow.run_id) == col(RunRow.id), isouter=True)
        .where(and_(true(), *(condition for condition in conditions if condition is not True)))
        .order_by(col(RunRow.created_at).desc(), col(RunRow.id))
        .limit(filters.limit)
    )
    return [as_run(*row) for row in rows]
