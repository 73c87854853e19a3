"""What decided about a run: the rules that were looked at, what each of them saw, and who was asked to approve."""

from pydantic import Field

from domain.models import Kept


class QueryAnswer(Kept):
    """What came of one query of a policy."""

    query: str
    """Its name."""
    found: int | None = None
    """How many entities. None: it could not be asked."""
    failed: str | None = None
    """Why not."""


class ConditionAnswer(Kept):
    """What one condition of a policy said."""

    condition: str
    value: str | None = None
    """Its value as JSON, cut where it is long. None: it failed, or said nothing."""
    failed: str | None = None
    """Why."""


class Ruling(Kept):
    """One rule, and whether it lets the caller go on."""

    rule: str
    """Which: `depth`, `execute`, `condition`, `inputs`, `execute.policy` or `approve.policy`."""
    allowed: bool
    why: str
    queries: tuple[QueryAnswer, ...] = ()
    conditions: tuple[ConditionAnswer, ...] = ()


class Approver(Kept):
    """Somebody who is asked to approve."""

    user_id: str
    email: str
    why: str


class Explanation(Kept):
    """Everything that decided about the request for a run, in the order it was looked at."""

    decisions: tuple[Ruling, ...] = Field(default=())
    approvers: tuple[Approver, ...] = Field(default=())
