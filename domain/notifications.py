"""Asking approvers: what they are told about a run that waits for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias
from urllib.parse import quote

from pydantic import JsonValue

from domain import slack_messages
from domain.actions import Action
from domain.approvals import Gate, OnTimeLimit
from domain.asking import Reason
from domain.documents import Document, canonical
from domain.runs import Run
from domain.shapes import one_line, shortened
from domain.templating import MASK
from domain.times import iso
from domain.waiting import Patience

_SUBJECT, _VALUE = 150, 200
_MOST_INPUTS = 10
_SLACK_HEADER, _SLACK_TEXT = 150, 3000
"""What Slack takes at most."""


@dataclass(frozen=True)
class Undelivered:
    """An email that was not accepted, and whether it never will be."""

    cause: str
    final: bool


Outcome: TypeAlias = Undelivered | None
"""What became of an email; None when it was accepted."""


def requester(run: Run) -> str | None:
    """The email address of who asked for the run; None for a machine."""
    by = run.interlock.trigger.get("by")
    user = by.get("user") if isinstance(by, dict) else None
    email = user.get("email") if isinstance(user, dict) else None
    return email if isinstance(email, str) else None


def approve_url(public_url: str, run_id: str) -> str:
    """The page that shows the run and asks for the decision."""
    return f"{public_url}/approvals/{quote(run_id, safe='')}"


def masked(run: Run, action: Action) -> Run:
    """The run without the values of secret inputs, encrypted as they are."""

    def without(values: Document) -> Document:
        return {name: MASK if name in action.encrypted_inputs else value for name, value in values.items()}

    raw = without(run.raw_properties) if run.raw_properties is not None else None
    return run.model_copy(update={"properties": without(run.properties), "raw_properties": raw})


@dataclass(frozen=True)
class Request:
    """What approvers read, in any form."""

    run: Run
    """Without secrets."""
    title: str
    requester: str
    """An email address, or the client id of a machine."""
    on: str
    """The entity, in words; empty where the action runs on none."""
    inputs: tuple[tuple[str, str], ...]
    """Names and values, some of them cut."""
    url: str
    until: str
    """When it is over for want of a decision; empty where the run waits for ever."""
    reason: Reason = Reason.REQUEST
    by: str = ""
    """The email address of who left it to them."""

    @classmethod
    def about(cls, run: Run, action: Action, *, public_url: str, reason: Reason = Reason.REQUEST, by: str = "") -> Self:
        """The request for a decision about the run."""
        run = masked(run, action)
        entity = run.entity
        gate = run.interlock.gate or Gate()
        end = Patience.of(run.interlock).end(gate.reopened_at or run.created_at)
        given = [(_line(name), _shown(value)) for name, value in run.properties.items()]
        if len(given) > _MOST_INPUTS:
            given[_MOST_INPUTS:] = [("…", f"and {len(given) - _MOST_INPUTS} more")]
        return cls(
            run=run,
            title=_line(run.action.title or run.action.identifier),
            requester=_line(requester(run) or run.created_by),
            on=_line(entity.title or entity.identifier) if entity else "",
            inputs=tuple(given),
            url=approve_url(public_url, run.id),
            until=iso(end) if end else "",
            reason=reason,
            by=_line(by),
        )

    @property
    def headline(self) -> str:
        """How it begins."""
        match self.reason:
            case Reason.REQUEST:
                return "Approval needed"
            case Reason.ESCALATION:
                return "Escalated to you, approval needed"
            case Reason.DELEGATION:
                return "Left to you, approval needed"
            case Reason.CHANGE:
                return "Approval needed again"
        return "Reminder, approval needed"

    @property
    def why(self) -> str:
        """Why they get it: one or two sentences."""
        match self.reason:
            case Reason.REQUEST:
                return "You get this because you may approve runs of this action."
            case Reason.ESCALATION:
                return "You get this because nobody has decided for some time, so you may decide, too."
            case Reason.DELEGATION:
                return f"You get this because {self.by} leaves the decision to you."
            case Reason.CHANGE:
                return "What would be sent has changed, so decisions from before count no more. Please decide about it."
        return "You get this again because nobody has heard from you."

    @property
    def end(self) -> str:
        """What becomes of it without a decision: one sentence; empty where the run waits for ever."""
        if not self.until:
            return ""
        gate = self.run.interlock.gate or Gate()
        approved = gate.on_time_limit is OnTimeLimit.APPROVE
        return f"Without a decision it is {'approved' if approved else 'declined'} at {self.until}."

    @property
    def summary(self) -> str:
        """One line."""
        on = f" on {self.on}" if self.on else ""
        return f"{self.title}{on}, requested by {self.requester}"

    @property
    def subject(self) -> str:
        """The subject of an email: one line, whatever the run's parts hold."""
        return shortened(f"{self.headline}: {self.summary}", _SUBJECT)

    def as_json(self, *recipients: str) -> Document:
        """What a webhook gets; with the email addresses of those it is for, unless it asks all approvers at first."""
        run = self.run.document()
        del run["interlock"]
        return {
            "type": "APPROVAL_REQUEST",
            "run": run,
            "action": {"identifier": self.run.action.identifier, "title": self.run.action.title},
            "requestedBy": {"email": requester(self.run)},
            "approveUrl": self.url,
            "inputs": self.run.properties,
            **self._for(recipients),
        }

    def _for(self, recipients: Sequence[str]) -> Document:
        if self.reason is Reason.REQUEST:
            return {}
        return {"reason": self.reason, "recipients": list[JsonValue](recipients)}

    def as_slack(self, *recipients: str, buttons: bool = False) -> Document:
        """What an incoming webhook of Slack gets; with `buttons`, one can decide in the message itself.

        Source: Slack, Block Kit; its text takes no HTML but `&`, `<` and `>` have to be escaped.
        """
        blocks: list[JsonValue] = [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": shortened(f"{self.headline}: {self.title}", _SLACK_HEADER - 1)},
            },
            {"type": "section", "fields": [_field(name, value) for name, value in self._facts(recipients)]},
        ]
        if self.inputs:
            lines = "\n".join(f"• *{_slack(name)}*: {_slack(value)}" for name, value in self.inputs)
            blocks.append(_section(_cut(lines)))
        blocks.append(_section(f"<{self.url}|See what would be run, and decide>"))
        if buttons:
            blocks.append(slack_messages.buttons(self.run.id))
        return {"text": _slack(f"{self.headline}: {self.summary}"), "blocks": blocks}

    def _facts(self, recipients: Sequence[str]) -> list[tuple[str, str]]:
        facts = [("Action", self.title), ("Requested by", self.requester)]
        facts += [("Entity", self.on)] if self.on else []
        return [*facts, ("For", _line(", ".join(recipients)))] if recipients else facts


def _field(name: str, value: str) -> JsonValue:
    return {"type": "mrkdwn", "text": f"*{name}*\n{_slack(value)}", "verbatim": True}


def _section(text: str) -> JsonValue:
    # Verbatim: what people have written becomes no link, and mentions nobody.
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _cut(text: str) -> str:
    """Whole lines, as many as Slack takes."""
    while len(text) > _SLACK_TEXT:
        text = text[: text.rindex("\n")]
    return text


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shown(value: JsonValue) -> str:
    return _line(value if isinstance(value, str) else canonical(value))


def _line(text: str) -> str:
    return one_line(text, _VALUE)
