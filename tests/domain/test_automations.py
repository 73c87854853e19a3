"""Automations: which changes they listen to, whether their conditions hold, and the runs that follow."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.actions import Action
from domain.automations import Caused, Judged, Judgement, caused, chain_in_words, judge, run_id_of, stopped, verdict
from domain.changes import Happening, Outcome
from domain.contexts import legacy_message, of_run
from domain.documents import Document
from domain.events import event_of
from domain.jq import Evaluator, Failed, Overran, Oversized, Value
from domain.jq import Outcome as Answer
from domain.runs import Link, RunStatus
from domain.users import User
from runtime.jq_pool import JqPool, Limits
from tests.support.automations import (
    AT,
    LATER,
    ORGANIZATION,
    action,
    automation,
    change,
    entity,
    entity_change,
    run,
    run_change,
    timer_change,
)  # fmt: skip

UPDATED = entity_change(entity(properties={"tier": "2"}), entity())
HOSTILE = "[limit(1e12; repeat(1))] | length"


@pytest.fixture
async def quick() -> AsyncIterator[Evaluator]:
    """A jq process whose patience is short."""
    async with JqPool(size=1, limits=Limits(seconds=0.3)) as pool:
        yield pool


@dataclass
class Asked:
    """An evaluator that knows its answers, and remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    company: Answer | None = None
    """What it answers instead to whatever is not asked alone."""
    calls: list[tuple[Sequence[str], JsonValue, datetime | None]] = field(default_factory=list)

    async def __call__(
        self, programs: Sequence[str], document: JsonValue, *, now: datetime | None = None
    ) -> list[Answer]:
        """See `domain.jq.Evaluator`."""
        self.calls.append((programs, document, now))
        if self.company and len(programs) > 1:
            return [self.company] * len(programs)
        return [self.answers[program] for program in programs]


async def judged(evaluate: Evaluator, *automations: Action, change: Document = UPDATED) -> list[Judgement]:
    """What the automations say to the change."""
    return await judge(automations, change, event_of(change, organization=ORGANIZATION), evaluate)


async def why(evaluate: Evaluator, *expressions: str, combinator: str | None = None) -> tuple[bool, str]:
    """Whether an automation with the condition fires, and what it says about it."""
    [judgement] = await judged(evaluate, automation(*expressions, combinator=combinator))
    return judgement.fires, judgement.why


def listening(kind: str, **more: str) -> Action:
    return automation(event={"type": kind, **more})


SERVICE = {"blueprintIdentifier": "service"}
CREATED, DELETED = entity_change(None, entity()), entity_change(entity(), None)
STARTED = run_change(None, run())
ENDED = run_change(run(), run().moved(RunStatus.SUCCESS, at=LATER, by="user_1"))
EXPIRED, WARNED = timer_change(), timer_change(Happening.TIMER_WARNING)
FIRED = change(
    resource_type="schedule", action=Happening.FIRED, context={"action": "notify"}, before=None, after={},
    subject="action_0123456789abcdef",
)  # fmt: skip
FAILED = entity_change(entity(), entity(), outcome=Outcome.FAILURE)
CHANGES = {
    "created": CREATED, "updated": UPDATED, "deleted": DELETED, "run started": STARTED, "run ended": ENDED,
    "expired": EXPIRED, "warned": WARNED, "fired": FIRED, "failed": FAILED,
}  # fmt: skip


@pytest.mark.parametrize(
    ("listener", "means"),
    [
        (listening("ENTITY_CREATED", **SERVICE), {"created"}),
        (listening("ENTITY_UPDATED", **SERVICE), {"updated"}),
        (listening("ENTITY_DELETED", **SERVICE), {"deleted"}),
        (listening("ANY_ENTITY_CHANGE", **SERVICE), {"created", "updated", "deleted"}),
        (listening("ANY_ENTITY_CHANGE", blueprintIdentifier="deploy"), set()),
        (listening("TIMER_PROPERTY_EXPIRED", **SERVICE, propertyIdentifier="ttl"), {"expired"}),
        (listening("TIMER_PROPERTY_EXPIRED", **SERVICE, propertyIdentifier="other"), set()),
        (listening("TIMER_PROPERTY_WARNING", **SERVICE, propertyIdentifier="ttl"), {"warned"}),
        (listening("RUN_CREATED", actionIdentifier="deploy"), {"run started"}),
        (listening("RUN_UPDATED", actionIdentifier="deploy"), {"run ended"}),
        (listening("ANY_RUN_CHANGE", actionIdentifier="deploy"), {"run started", "run ended"}),
        (listening("ANY_RUN_CHANGE", actionIdentifier="service"), set()),
        (listening("SCHEDULE", cron="0 8 * * *"), {"fired"}),
        (automation(event={"type": "SCHEDULE", "cron": "0 8 * * *"}, action_id="action_of_another"), set()),
    ],
)
async def test_an_event_means_certain_changes(listener: Action, means: set[str]) -> None:
    told = {name: (await judged(Asked(), listener, change=one))[0] for name, one in CHANGES.items()}

    assert {name for name, judgement in told.items() if judgement.listens} == means
    assert {name for name, judgement in told.items() if judgement.fires} == means
    for name, judgement in told.items():
        words = "It runs: it has no condition" if name in means else "does not mean this change"
        assert words in judgement.why


async def test_who_does_not_listen_is_not_asked_for_a_condition() -> None:
    elsewhere = automation("error", event={"type": "ENTITY_CREATED", "blueprintIdentifier": "other"})
    by_people = action(
        {
            "identifier": "deploy",
            "trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}},
            "invocationMethod": {"type": "KAFKA"},
        }
    )
    asked = Asked()
    first, second = await judged(asked, elsewhere, by_people)

    assert asked.calls == []
    assert (first.fires, second.fires) == (False, False)
    assert (first.why, second.why) == (
        "It does not run: its event ENTITY_CREATED does not mean this change",
        "It does not run: it is no automation",
    )


TRUE, FALSE = '.diff.after.properties.tier == "1"', '.diff.after.properties.tier == "9"'


@pytest.mark.parametrize(
    ("expressions", "combinator", "fires", "said"),
    [
        ((TRUE,), None, True, f"It runs: `{TRUE}` is true"),
        ((FALSE,), None, False, f"It does not run: `{FALSE}` is false"),
        ((TRUE, TRUE), None, True, f"It runs: `{TRUE}` is true, and so are the other expressions"),
        ((TRUE, FALSE), None, False, f"It does not run: `{FALSE}` is false"),
        ((TRUE, FALSE), "and", False, f"It does not run: `{FALSE}` is false"),
        ((FALSE, TRUE), "or", True, f"It runs: `{TRUE}` is true"),
        ((FALSE, ".none"), "or", False, f"It does not run: `{FALSE}` is false, and no other expression is true"),
        ((), "or", True, "It runs: it has no condition"),
        ((), "and", True, "It runs: it has no condition"),
        ((".none",), None, False, "It does not run: `.none` is null"),
        ((".action",), None, False, 'It does not run: `.action` is "UPDATE"'),
        (("1",), None, False, "It does not run: `1` is 1"),
        (("[true]",), None, False, "It does not run: `[true]` is [true]"),
        (("empty",), None, False, "It does not run: `empty` has no value: it has no output"),
        (("true, false",), None, True, "It runs: `true, false` is true"),
        (("false, true",), None, False, "It does not run: `false, true` is false"),
        ((".event.action == null",), None, True, "It runs: `.event.action == null` is true"),
        ((TRUE, 'error("no")'), "or", True, f"It runs: `{TRUE}` is true"),
    ],
)
async def test_an_expression_holds_when_it_is_exactly_true(
    evaluate: Evaluator, expressions: tuple[str, ...], combinator: str | None, fires: bool, said: str
) -> None:
    assert await why(evaluate, *expressions, combinator=combinator) == (fires, said)


@pytest.mark.parametrize("expression", ['error("no")', ".diff + 1", "this is no jq"])
async def test_an_expression_that_fails_is_false_and_says_why(evaluate: Evaluator, expression: str) -> None:
    [judgement] = await judged(evaluate, automation(TRUE, expression))

    assert not judgement.fires
    assert not judgement.overran
    assert judgement.expressions[0] == Judged(TRUE, True, None, holds=True)
    assert judgement.expressions[1].error
    assert judgement.why == f"It does not run: `{expression}` has no value: {judgement.expressions[1].error}"


async def test_what_is_told_is_never_long() -> None:
    expression, value = f'.diff == "{"x" * 5000}"', "y" * 5000
    _, said = await why(Asked({expression: Value(value)}), expression)
    assert said == f'It does not run: `{expression[:120]}…` is "{"y" * 119}…'


async def test_all_conditions_are_one_question_at_the_time_of_the_change() -> None:
    asked = Asked({TRUE: Value(True), FALSE: Value(False), ".a": Value(None)})
    fires = [
        judgement.fires
        for judgement in await judged(asked, automation(TRUE), automation(FALSE, TRUE), automation(".a"), automation())
    ]

    assert fires == [True, False, False, True]
    [(programs, document, now)] = asked.calls
    assert programs == [TRUE, FALSE, ".a"]
    assert document == event_of(UPDATED, organization=ORGANIZATION)
    assert now == AT


async def test_judging_again_says_the_same(evaluate: Evaluator) -> None:
    stamp = int(AT.timestamp())
    condition = automation(f"(now | floor) == {stamp}")
    assert [(await judged(evaluate, condition))[0].fires for _ in range(2)] == [True, True]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["true.", "false.", "one.", "failed.", "overran.", "oversized."]), max_size=3),
            st.sampled_from(["and", "or"]),
            st.sampled_from(["service", "deploy"]),
        )
    )
)
async def test_a_verdict_is_what_the_judgements_say(conditions: list[tuple[list[str], str, str]]) -> None:
    listeners = [
        automation(*said, combinator=how, event={"type": "ENTITY_UPDATED", "blueprintIdentifier": blueprint})
        for said, how, blueprint in conditions
    ]
    evaluate = Asked(
        {
            "true.": Value(True),
            "false.": Value(False),
            "one.": Value(1),
            "failed.": Failed("x"),
            "overran.": Overran("x"),
            "oversized.": Oversized("x"),
        }
    )
    found = await verdict(listeners, UPDATED, UPDATED, evaluate)
    judgements = await judge(listeners, UPDATED, UPDATED, evaluate)

    assert found.fires == [one.action for one in judgements if one.fires]
    assert found.overran == [one.action for one in judgements if one.overran]


async def test_conditions_that_never_end_decide_for_nobody_else(quick: Evaluator) -> None:
    hostile = [automation(TRUE, f"{HOSTILE} > {number}", identifier=f"bad_{number}") for number in range(4)]
    innocent = [automation(f"{TRUE} and {number} < 2", identifier=f"good_{number}") for number in range(4)]

    judgements = await judged(quick, *hostile, *innocent)

    assert [judgement.overran for judgement in judgements] == [True] * 4 + [False] * 4
    assert [judgement.fires for judgement in judgements] == [False] * 4 + [True, True, False, False]
    assert judgements[0].why == (f"It does not run: `{HOSTILE} > 0` has no value: the program took longer than 0.3 s")


async def test_an_overrun_makes_the_whole_condition_false_even_where_one_expression_is_enough() -> None:
    asked = Asked({TRUE: Value(True), HOSTILE: Overran("too long")})
    [judgement] = await judged(asked, automation(TRUE, HOSTILE, combinator="or"))

    assert (judgement.overran, judgement.fires) == (True, False)
    assert judgement.why == f"It does not run: `{HOSTILE}` has no value: too long"


async def test_only_what_overran_in_company_is_asked_again_and_no_more_than_is_needed() -> None:
    answers: dict[str, Answer] = {"a": Value(True), "b": Overran("b"), "c": Overran("c"), "d": Failed("d")}
    asked = Asked(answers, company=Overran("in company"))
    first, second, third = await judged(asked, automation("a", "b", "c"), automation("b"), automation("d", "a"))

    assert [programs for programs, _, _ in asked.calls] == [["a", "b", "c", "d"], ["a"], ["b"], ["d"]]
    assert [(one.overran, one.fires) for one in (first, second, third)] == [
        (True, False),
        (True, False),
        (False, False),
    ]
    assert all(now == AT for _, _, now in asked.calls)


async def test_what_overruns_alone_is_not_asked_again() -> None:
    asked = Asked({HOSTILE: Overran("too long")})
    [judgement] = await judged(asked, automation(HOSTILE))
    assert judgement.overran
    assert len(asked.calls) == 1


ids = st.text(max_size=6)


@given(st.tuples(ids, ids, ids), st.tuples(ids, ids, ids))
def test_the_id_of_a_run_follows_from_what_it_is_for(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (run_id_of(*one) == run_id_of(*other)) is (one == other)


def test_the_id_of_a_run_stays_what_it_is() -> None:
    """Another version must not make a second run of the same change."""
    assert run_id_of("event_0123456789abcdef", "action_0123456789abcdef") == "r_77L2asNRazqndCmM"
    assert run_id_of("event_0123456789abcdef", "action_0123456789abcdef", "replay_1") == "r_KIhpBIikVIRbrnzn"


ADA = User(id="user_1", email="ada@example.com", first_name="Ada", created_at=AT, updated_at=AT)
CAUSES = (Link(run="r_1", action="deploy"), Link(run="r_2", action="mirror"))


def of(actor: User | None = None, change: Document = UPDATED, **more: Any) -> Any:
    given = Caused(ORGANIZATION, LATER, actor, CAUSES, depth=2, **more)
    return caused(automation(interlock={"run": {"timeLimit": "PT1H"}}), change, given)


def test_the_run_of_an_automation_in_full() -> None:
    assert of(ADA).document() == {
        "id": run_id_of("event_0123456789abcdef", "action_0123456789abcdef"),
        "status": "IN_PROGRESS",
        "statusLabel": None,
        "action": {"identifier": "notify", "title": "Notify", "icon": None, "deleted": False},
        "source": "AUTOMATION",
        "properties": {},
        "requiredApproval": False,
        "approval": None,
        "link": [],
        "summary": "",
        "payload": None,
        "pendingExecution": False,
        "createdAt": "2026-01-02T03:04:06.678Z",
        "createdBy": "user_1",
        "updatedAt": "2026-01-02T03:04:06.678Z",
        "updatedBy": "user_1",
        "endedAt": None,
        "interlock": {
            "actionVersion": 3,
            "trigger": {
                "by": {"orgId": ORGANIZATION, "userId": "user_1", "user": ADA.as_trigger()},
                "origin": "AUTOMATION",
                "at": "2026-01-02T03:04:06.678Z",
            },
            "approvers": [],
            "asked": [],
            "approvalTimeLimit": None,
            "gate": None,
            "lastWord": None,
            "runTimeLimit": "PT1H",
            "synchronous": False,
            "backend": "WEBHOOK",
            "depth": 2,
            "causes": [{"run": "r_1", "action": "deploy"}, {"run": "r_2", "action": "mirror"}],
            "cause": "event_0123456789abcdef",
            "entity": None,
            "inputs": None,
            "stopped": False,
        },
    }


def test_machines_and_the_product_itself_are_no_people() -> None:
    by_machine = of(change=UPDATED | {"by": "client_1"})
    assert by_machine.interlock.trigger["by"] == {"orgId": ORGANIZATION, "userId": "client_1"}
    assert (by_machine.created_by, by_machine.updated_by) == ("client_1", "client_1")
    by_us = of(change=EXPIRED)
    assert by_us.interlock.trigger["by"] == {"orgId": ORGANIZATION, "byPort": True}
    assert by_us.created_by == "interlock"


def test_a_replay_is_another_run_each_time() -> None:
    assert len({of().id, of(replay="replay_1").id, of(replay="replay_2").id}) == 3
    assert of(replay="replay_1").id == of(replay="replay_1").id


def test_a_chain_is_told_from_its_beginning() -> None:
    assert chain_in_words(CAUSES, "notify") == "deploy (r_1) -> mirror (r_2) -> notify"
    assert chain_in_words((), "notify") == "notify"


def test_a_run_that_is_stopped_has_failed_from_the_beginning() -> None:
    one = stopped(of(), "Enough", LATER + timedelta(seconds=1))
    assert (one.status, one.summary, one.payload) == (RunStatus.FAILURE, "Enough", None)
    assert one.ended_at == one.updated_at == LATER + timedelta(seconds=1)
    assert (one.created_by, one.updated_by) == ("user_1", "interlock")


def test_templates_of_an_automation_see_the_event_and_no_inputs() -> None:
    one, event = of(ADA), event_of(UPDATED, organization=ORGANIZATION)
    assert of_run(one, automation(), event) == {
        "inputs": None,
        "trigger": {
            "by": {"orgId": ORGANIZATION, "userId": "user_1", "user": ADA.as_trigger()},
            "origin": "AUTOMATION",
            "at": "2026-01-02T03:04:06.678Z",
        },
        "event": event,
        "entity": None,
        "action": {"identifier": "notify"},
        "run": {"id": one.id},
    }


@pytest.mark.parametrize(
    ("change", "entity_told", "blueprint"), [(UPDATED, "cart", "service"), (ENDED, None, None), (FIRED, None, None)]
)
def test_a_webhook_without_a_body_gets_the_event_in_its_message(
    change: Document, entity_told: str | None, blueprint: str | None
) -> None:
    event = event_of(change, organization=ORGANIZATION)
    one = of(ADA, change)
    method: Document = {"type": "WEBHOOK", "url": "https://example.org", "headers": {"a": "b"}}
    assert legacy_message(one, automation(), method, event) == {
        "action": "notify",
        "resourceType": "run",
        "status": "TRIGGERED",
        "trigger": one.interlock.trigger,
        "context": {"entity": entity_told, "blueprint": blueprint, "runId": one.id},
        "payload": {
            "entity": None,
            "action": {
                "identifier": "notify",
                "invocationMethod": {"type": "WEBHOOK", "url": "https://example.org"},
                "trigger": None,
            },
            "properties": {},
            "censoredProperties": [],
            "event": event,
        },
    }
