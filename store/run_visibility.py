"""Which runs somebody sees who may not see all of them."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import col

from domain.runs import RunStatus
from store.tables import RunRow


@dataclass(frozen=True)
class Viewer:
    """Somebody who may not see everything."""

    id: str
    approvable: tuple[str, ...]
    """The ids of actions whose runs only some may see, and this person may."""
    judged: tuple[str, ...] = ()
    """The ids of those where this person sees the runs they were asked to approve: a policy said so of each."""


def visible_to(viewer: Viewer) -> ColumnElement[bool]:
    """Whether they may see a run: their own, of an unrestricted action, or one that they may approve.

    Where it was left to them, or escalated, they see it as long as it waits.
    """
    mine, may_decide = col(RunRow.created_by) == viewer.id, col(RunRow.action_id).in_(viewer.approvable)
    waits = col(RunRow.status) == RunStatus.WAITING_FOR_APPROVAL
    seen = or_(mine, may_decide, ~col(RunRow.restricted), and_(waits, _names("gate", viewer.id)))
    if not viewer.judged:
        return seen
    return or_(seen, and_(col(RunRow.action_id).in_(viewer.judged), _names("approvers", viewer.id)))


def _names(part: str, user_id: str) -> ColumnElement[bool]:
    """Whether a part of what drives the run has the id in it."""
    text: ColumnElement[str] = col(RunRow.document)["interlock"][part].as_string()
    return text.contains(f'"{user_id}"', autoescape=True)
