"""Which runs somebody sees who may not see all of them."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import col

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
    """Whether they may see a run: their own, of an unrestricted action, or one that they may approve."""
    mine, may_decide = col(RunRow.created_by) == viewer.id, col(RunRow.action_id).in_(viewer.approvable)
    seen = or_(mine, may_decide, ~col(RunRow.restricted))
    if not viewer.judged:
        return seen
    asked = col(RunRow.document)["interlock"]["approvers"].as_string()
    named = asked.contains(f'"{viewer.id}"', autoescape=True)
    return or_(seen, and_(col(RunRow.action_id).in_(viewer.judged), named))
