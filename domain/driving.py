"""What drives a run: what its workflow has to know of it, our own addition to the run object."""

from typing import Any, Literal, Self

from pydantic import Field

from domain.approvals import Channel, Gate
from domain.documents import Document
from domain.models import Kept
from domain.times import Duration, Instant


class Link(Kept):
    """One run in a chain of runs that cause each other."""

    run: str
    action: str
    """The identifier of the action it executed."""


REQUEST, REMINDER = "request", "reminder"
"""How the names of messages begin: of the first one, and of those that later ones of their kind replace."""


class Asked(Kept):
    """People who were told that a run waits for them: when, by which channel, and by which message."""

    user_ids: tuple[str, ...]
    channel: Literal["email", "webhook"]
    at: Instant
    message: str = REQUEST
    """Its name: nobody is told the same twice."""


class LastWord(Kept):
    """Who said what is in the run's `approval`: by what name, and by which door."""

    by: str
    channel: Channel


class Driving(Kept):
    """What the run's workflow needs to know."""

    action_version: int = 1
    """The version of the definition this run executes."""
    trigger: Document = Field(default_factory=dict)
    """Who asked, how and when, as templates see it."""
    approvers: tuple[str, ...] = ()
    """The user ids asked when the run was made."""
    asked: tuple[Asked, ...] = ()
    """Who of them was told of it, and how; a webhook is told for all."""
    approval_time_limit: Duration | None = None
    """How long the run waits for a verdict. None: for ever."""
    gate: Gate | None = None
    """What else the verdict depends on. None: nothing else."""
    last_word: LastWord | None = None
    """Whose word counted last. None: nobody's did, or it was before that was kept."""
    run_time_limit: Duration | None = None
    """How long the run may be IN_PROGRESS before it fails. None: for ever."""
    synchronous: bool = False
    """Whether the backend's answer ends the run, so that reports are refused."""
    backend: str = ""
    """What does the work, in words."""
    depth: int = 0
    """How many runs caused each other before this one."""
    causes: tuple[Link, ...] = ()
    """Those runs, the first one first; as far as they are known."""
    cause: str | None = None
    """The change that started it, when an automation did: what its templates see as the event."""
    entity: Document | None = None
    """The entity it runs on, as it was when the run was made: what was approved is what is rendered."""
    inputs: Document | None = None
    """The inputs that name entities, with these as they were then; the other inputs are the run's properties."""
    stopped: bool = False
    """Whether it did not end by itself: its backend, if it has one at work, is told to stop."""

    def told(self, asked: Asked) -> Self:
        """With people who were told; of the reminders, which may be a hundred, only the last one is kept."""
        known = self.asked
        if asked.message.startswith(REMINDER):
            known = tuple(one for one in known if one.message == asked.message or not one.message.startswith(REMINDER))
        return self.model_copy(update={"asked": (*known, asked)})

    def stopping(self) -> Self:
        """Of a run that is stopped."""
        return self.model_copy(update={"stopped": True})

    def gated(self, **values: Any) -> Self:
        """With other values of its gate, which it gets if it has none."""
        return self.model_copy(update={"gate": (self.gate or Gate()).model_copy(update=values)})
