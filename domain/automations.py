"""Automations: which changes they listen to, whether their conditions hold, and the run that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from pydantic import JsonValue

from domain import identifiers
from domain.actions import Action
from domain.changes import Key, key_of
from domain.documents import Document, canonical
from domain.events import maker_of
from domain.identifiers import RunId
from domain.jq import Evaluator, Failed, Nothing, Overran, Oversized, Value
from domain.jq import Outcome as Answer
from domain.runs import PLATFORM, Driving, Link, Ref, Run, RunStatus, Source
from domain.shapes import shortened
from domain.timer_names import is_known_as
from domain.times import iso
from domain.triggers import EntityEvent, JqCondition, RunEvent, ScheduleEvent, TimerEvent
from domain.users import User

_HAPPENINGS = {
    "ENTITY_CREATED": ("CREATE",),
    "ENTITY_UPDATED": ("UPDATE",),
    "ENTITY_DELETED": ("DELETE",),
    "ANY_ENTITY_CHANGE": ("CREATE", "UPDATE", "DELETE"),
    "TIMER_PROPERTY_EXPIRED": ("TIMER_EXPIRED",),
    "TIMER_PROPERTY_WARNING": ("TIMER_WARNING",),
    "RUN_CREATED": ("CREATE",),
    "RUN_UPDATED": ("UPDATE",),
    "ANY_RUN_CHANGE": ("CREATE", "UPDATE"),
}
_NO_CONDITION = JqCondition(type="JQ", expressions=[])
_LONGEST = 120
"""How many characters of an expression or a value are told."""


def keys_of_event(event: Document) -> list[Key]:
    """What changes that the event of a definition means are found by; none for schedules."""
    of_run = event.get("actionIdentifier")
    of = of_run or event.get("blueprintIdentifier")
    kind = "run" if of_run else "entity"
    return [(kind, happening, str(of)) for happening in _HAPPENINGS.get(str(event["type"]), ())]


class Outcome(StrEnum):
    """What became of a change that an automation's condition let pass."""

    RUN = "run"
    HELD = "held"
    """It waits for its subject to calm down."""
    MERGED = "merged"
    """A later change of the subject took its place."""
    THROTTLED = "throttled"
    STOPPED = "stopped"
    """The run was recorded as a failure, because of a loop or too many runs."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One expression of a condition, and what it said."""

    expression: str
    value: JsonValue
    """Its first output; None also where there is none."""
    error: str | None
    """Why there is no value."""
    holds: bool
    """Whether the value is exactly true."""
    overran: bool = False
    """Whether it ran into a limit, so that nobody knows what it says."""

    def __str__(self) -> str:
        """What it says, shortened."""
        expression = f"`{shortened(self.expression, _LONGEST)}`"
        if self.error is not None:
            return f"{expression} has no value: {shortened(self.error)}"
        return f"{expression} is {shortened(canonical(self.value), _LONGEST)}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an automation has to run because of a change, and why."""

    action: Action
    listens: bool
    """Whether its event means the change."""
    fires: bool
    """Whether it has to run."""
    expressions: tuple[Judged, ...] = ()
    overran: bool = False
    """Whether an expression ran into a limit: the whole condition counts as not fulfilled then."""

    @property
    def why(self) -> str:
        """Why it has to run or not, in one sentence."""
        automation = self.action.definition.automation
        if automation is None:
            return "It does not run: it is no automation"
        if not self.listens:
            return f"It does not run: its event {automation.event.type} does not mean this change"
        if not self.expressions:
            return "It runs: it has no condition"
        fires = self.fires
        told = next(
            judged for judged in self.expressions if (judged.overran if self.overran else judged.holds is fires)
        )
        all_agree = len(self.expressions) > 1 and not self.overran and fires is not self._one_is_enough
        if fires:
            return f"It runs: {told}{', and so are the other expressions' if all_agree else ''}"
        return f"It does not run: {told}{', and no other expression is true' if all_agree else ''}"

    @property
    def _one_is_enough(self) -> bool:
        return _condition(self.action).combinator == "or"


async def judge(actions: Sequence[Action], change: Document, event: Document, evaluate: Evaluator) -> list[Judgement]:
    """Whether each of the actions has to run because of the change, in their order.

    Judging the same change again has the same answers: conditions see nothing but the event, and `now` is its time.
    Conditions of all are evaluated together; what overruns in company is asked again alone, so that no condition is
    decided by its neighbours.

    Args:
        actions: automations; published or not, and whenever they began to listen.
        change: as `Change.document()` has it.
        event: of the change, see `domain.events.event_of`.
        evaluate: runs their conditions.

    Raises:
        Unavailable: no process could be had to run the conditions.
    """
    conditions, answers = await _answered(actions, change, event, evaluate)
    judged = {program: _judged(program, answer) for program, answer in answers.items()}
    return [_judgement(action, condition, judged) for action, condition in zip(actions, conditions, strict=True)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What matters of many judgements. Who is in none of the lists does not have to run."""

    fires: list[Action]
    overran: list[Action]


async def verdict(actions: Sequence[Action], change: Document, event: Document, evaluate: Evaluator) -> Verdict:
    """The same as `judge` in short: of a thousand actions that are asked about each change, few have to run.

    Raises:
        Unavailable: no process could be had to run the conditions.
    """
    conditions, answers = await _answered(actions, change, event, evaluate)
    holds = {program for program, answer in answers.items() if isinstance(answer, Value) and answer.value is True}
    overran = {program for program, answer in answers.items() if _overran(answer)}
    found = Verdict([], [])
    for action, condition in zip(actions, conditions, strict=True):
        if condition is None:
            continue
        asked = condition.expressions
        if not overran.isdisjoint(asked):
            found.overran.append(action)
        elif not asked or (not holds.isdisjoint(asked) if condition.combinator == "or" else holds.issuperset(asked)):
            found.fires.append(action)
    return found


def listens(action: Action, change: Document) -> bool:
    """Whether the event of an automation means the change."""
    return _listens(action, change, key_of(change))


async def _answered(
    actions: Sequence[Action], change: Document, event: Document, evaluate: Evaluator
) -> tuple[list[JqCondition | None], dict[str, Answer]]:
    """The conditions of those whom the change concerns, and what their expressions say."""
    now = datetime.fromisoformat(str(change["at"]))
    key = key_of(change)
    conditions = [_condition(action) if _listens(action, change, key) else None for action in actions]
    asked = (condition.expressions for condition in conditions if condition)
    programs = list(dict.fromkeys(program for expressions in asked for program in expressions))
    answers = dict(zip(programs, await evaluate(programs, event, now=now) if programs else (), strict=True))
    if len(programs) > 1 and any(isinstance(answer, Overran) for answer in answers.values()):
        await _ask_alone(conditions, answers, event, evaluate, now)
    return conditions, answers


async def _ask_alone(
    conditions: Sequence[JqCondition | None],
    answers: dict[str, Answer],
    event: Document,
    evaluate: Evaluator,
    now: datetime,
) -> None:
    alone: set[str] = set()
    for condition in conditions:
        for program in condition.expressions if condition else ():
            if isinstance(answers[program], Overran) and program not in alone:
                alone.add(program)
                [answers[program]] = await evaluate([program], event, now=now)
            if isinstance(answers[program], Overran):
                break  # enough is known of this condition


def _judgement(action: Action, condition: JqCondition | None, judged: Mapping[str, Judged]) -> Judgement:
    if condition is None:
        return Judgement(action, listens=False, fires=False)
    expressions = tuple([judged[program] for program in condition.expressions])
    overran, holds = False, []
    for one in expressions:
        overran = overran or one.overran
        holds.append(one.holds)
    fires = not overran and (not holds or (any(holds) if condition.combinator == "or" else all(holds)))
    return Judgement(action, True, fires, expressions, overran)


def _judged(expression: str, answer: Answer) -> Judged:
    match answer:
        case Value(value):
            return Judged(expression, value, None, holds=value is True)
        case Nothing():
            return Judged(expression, None, "it has no output", holds=False)
        case Failed(reason):
            return Judged(expression, None, reason, holds=False, overran=_overran(answer))
    assert_never(answer)


def _overran(answer: Answer) -> bool:
    """Whether the expression itself ran into a limit."""
    return isinstance(answer, Overran) and not isinstance(answer, Oversized)


def _condition(action: Action) -> JqCondition:
    automation = action.definition.automation
    return (automation.condition if automation else None) or _NO_CONDITION


def _listens(action: Action, change: Document, key: Key | None) -> bool:
    automation = action.definition.automation
    if automation is None or (key is None and change["resourceType"] != "schedule"):
        return False
    match automation.event:
        case EntityEvent() as event:  # most are
            meant = "entity", event.blueprint_identifier
        case ScheduleEvent():
            return change["resourceType"] == "schedule" and change.get("subject") == action.id
        case RunEvent() as event:
            meant = "run", event.action_identifier
        case TimerEvent() as event:
            if not is_known_as(change, event.property_identifier):
                return False
            meant = "entity", event.blueprint_identifier
        case event:
            assert_never(event)
    return key is not None and key[1] in _HAPPENINGS[event.type] and (key[0], key[2]) == meant


@dataclass(frozen=True)
class Caused:
    """What an automation's run is made of, beside the change that causes it."""

    organization: str
    at: datetime
    actor: User | None
    """The person who made the change; None for machines and the product itself."""
    causes: tuple[Link, ...]
    """The runs that led to it, the first one first."""
    depth: int
    """How many runs caused each other before it."""
    replay: str = ""
    """The replay that asks for it; empty for what has just happened."""


def caused(action: Action, change: Document, given: Caused) -> Run:
    """The run of an automation that the change causes, not recorded yet; its invocation method is not rendered yet."""
    definition = action.definition
    by = maker_of(change, given.organization)
    if given.actor is not None:
        by["user"] = given.actor.as_trigger()
    maker = str(change["by"])
    return Run(
        id=run_id_of(str(change["id"]), action.id, given.replay),
        status=RunStatus.IN_PROGRESS,
        action=Ref(identifier=action.identifier, title=definition.title, icon=definition.icon),
        source=Source.AUTOMATION,
        created_at=given.at,
        created_by=maker,
        updated_at=given.at,
        updated_by=maker,
        interlock=Driving(
            action_version=action.version,
            trigger={"by": by, "origin": Source.AUTOMATION, "at": iso(given.at)},
            run_time_limit=definition.run_time_limit,
            backend=str(definition.invocation_method["type"]),
            depth=given.depth,
            causes=given.causes,
            cause=str(change["id"]),
        ),
    )


def run_id_of(change_id: str, action_id: str, replay: str = "") -> RunId:
    """The id of the run that the change causes for the automation: always the same, so that there is but one."""
    return RunId(identifiers.derived("r", change_id, action_id, replay))


def chain_in_words(causes: tuple[Link, ...], action: str) -> str:
    """The chain of runs up to one of the action, for people.

    >>> chain_in_words((Link(run="r_1", action="deploy"),), "notify")
    'deploy (r_1) -> notify'
    """
    return " -> ".join([*(f"{link.action} ({link.run})" for link in causes), action])


def stopped(run: Run, reason: str, at: datetime) -> Run:
    """The run as a failure from the beginning: its backend is never called."""
    return run.cancelled(reason, at=at, by=PLATFORM)
