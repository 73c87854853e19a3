"""Explanations: why an automation ran because of a change, or why it did not, for people."""

from pydantic import JsonValue

from domain.automations import Judgement, Outcome
from domain.documents import Document, canonical
from domain.shapes import shortened

LONGEST_VALUE = 2_000
"""How many characters of the value of an expression are told; of more, its JSON is, cut to so many."""

_BECAME = {
    Outcome.HELD: "It waits until nothing has happened to the same thing for a while",
    Outcome.MERGED: "It does not run: a later change of the same thing took its place",
    Outcome.THROTTLED: "It does not run: it had run for the same thing as often as it may",
    Outcome.STOPPED: "It does not run: a loop, or too many runs, paused it, or it stopped listening while it waited",
}


def judged(judgement: Judgement) -> Document:
    """What a condition says of a change: whether it passes, why, and each expression with its value."""
    return {
        "fires": judgement.fires,
        "why": judgement.why,
        "expressions": expressions(judgement),
    }


def expressions(judgement: Judgement) -> list[JsonValue]:
    """Each expression of the condition, and what it said of the change."""
    return [
        {"expression": one.expression, "value": _told(one.value), "error": one.error, "holds": one.holds}
        for one in judgement.expressions
    ]


def _told(value: JsonValue) -> JsonValue:
    text = canonical(value)
    return value if len(text) <= LONGEST_VALUE else shortened(text, LONGEST_VALUE)


def became(outcome: str, judgement: Judgement | None) -> str:
    """Why there is a run for a change that the automation let pass, or none."""
    if outcome == Outcome.RUN:
        return judgement.why if judgement and judgement.fires else "It ran"
    return _BECAME[Outcome(outcome)]


def not_run(judgement: Judgement, *, listened: bool, pending: bool) -> str:
    """Why there is no run.

    Args:
        judgement: of the version that was current when the change was made, or of the current one.
        listened: whether it was published then, with an event that means the change.
        pending: whether it has still to be asked.
    """
    if pending:
        return "It has still to be asked"
    if not listened:
        would = judgement.why if not judgement.fires else "Now it would run"
        return f"It did not listen when this happened. {would}"
    if not judgement.fires:
        return judgement.why
    return "It was not asked: it was paused, changed or unpublished before its turn came"


def paused(reason: Document) -> str:
    """Why there is no run of an automation that is paused; its condition is not asked, it may be what paused it."""
    return f"It is paused: {reason['reason']}"
