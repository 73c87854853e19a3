"""Events: what automations see of each kind of change, in full."""

from typing import Any

import pytest
from pydantic import JsonValue

from domain.changes import Happening
from domain.documents import Document
from domain.events import event_of
from domain.runs import Driving, Link, RunStatus
from tests.support.automations import (
    LATER,
    ORGANIZATION,
    action,
    change,
    entity,
    entity_change,
    run,
    run_change,
    timer_change,
)  # fmt: skip

BEFORE = entity(properties={"tier": "2"})
AFTER = entity()
BY_ADA = {"orgId": ORGANIZATION, "userId": "user_1"}
BY_US = {"orgId": ORGANIZATION, "byPort": True}


@pytest.mark.parametrize(
    ("before", "after", "happened"), [(None, AFTER, "CREATE"), (BEFORE, AFTER, "UPDATE"), (BEFORE, None, "DELETE")]
)
def test_an_entity_is_told_in_full_before_and_after(before: Any, after: Any, happened: str) -> None:
    assert event_of(entity_change(before, after), organization=ORGANIZATION) == {
        "id": "event_0123456789abcdef",
        "action": happened,
        "resourceType": "entity",
        "trigger": {"by": BY_ADA, "origin": "UI", "at": "2026-01-02T03:04:05.678Z"},
        "context": {"blueprintIdentifier": "service", "entityIdentifier": "cart", "propertyIdentifier": None},
        "diff": {"before": before, "after": after},
    }


@pytest.mark.parametrize(("written", "told"), [("Rocket", ["Rocket"]), (None, []), ([], []), (["A", "B"], ["A", "B"])])
def test_teams_are_an_array_however_few_they_are(written: JsonValue, told: JsonValue) -> None:
    event = event_of(entity_change(entity(team=written), entity(team=written)), organization=ORGANIZATION)
    assert event["diff"] == {"before": entity(team=told), "after": entity(team=told)}


def test_a_change_that_we_made_ourselves_is_by_port() -> None:
    event = event_of(entity_change(BEFORE, AFTER, by="interlock", origin="AUTOMATION"), organization=ORGANIZATION)
    assert event["trigger"] == {"by": BY_US, "origin": "AUTOMATION", "at": "2026-01-02T03:04:05.678Z"}


def test_a_timer_tells_its_time_as_it_was_written() -> None:
    assert event_of(timer_change() | {"origin": "API"}, organization=ORGANIZATION) == {
        "id": "event_0123456789abcdef",
        "action": "TIMER_EXPIRED",
        "resourceType": "entity",
        "trigger": {"by": BY_US, "origin": "API", "at": "2026-01-02T05:04:00+02:00"},
        "context": {"blueprintIdentifier": "service", "entityIdentifier": "cart", "propertyIdentifier": "ttl"},
        "diff": {"before": None, "after": AFTER},
    }


def test_a_warning_tells_when_it_came_and_what_gives_more_time() -> None:
    warning = timer_change(Happening.TIMER_WARNING, extendAction="extend_ttl") | {"origin": "API"}
    assert event_of(warning, organization=ORGANIZATION) == {
        "id": "event_0123456789abcdef",
        "action": "TIMER_WARNING",
        "resourceType": "entity",
        "trigger": {"by": BY_US, "origin": "API", "at": "2026-01-02T03:04:05.678Z"},
        "context": {
            "blueprintIdentifier": "service",
            "entityIdentifier": "cart",
            "propertyIdentifier": "ttl",
            "extendActionIdentifier": "extend_ttl",
        },
        "diff": {"before": None, "after": AFTER},
    }
    without = event_of(timer_change(Happening.TIMER_WARNING), organization=ORGANIZATION)
    assert without["context"] == {
        "blueprintIdentifier": "service",
        "entityIdentifier": "cart",
        "propertyIdentifier": "ttl",
    }


DEPLOY: Document = {
    "identifier": "deploy",
    "trigger": {"type": "self-service", "operation": "CREATE", "userInputs": {"properties": {}}},
    "invocationMethod": {"type": "WEBHOOK", "url": "https://example.org/{{ .run.id }}"},
}


def test_a_run_is_told_with_the_definition_that_it_executes_and_without_our_own_section() -> None:
    chain = Driving(causes=(Link(run="r_1", action="a"),), depth=1)
    before = run(interlock=chain, payload={"type": "WEBHOOK", "url": "https://example.org/r_0123456789abcdef"})
    after = before.moved(RunStatus.FAILURE, at=LATER, by="interlock", summary="It broke")

    event = event_of(run_change(before, after), organization=ORGANIZATION, action=action(DEPLOY))

    told: Document = {
        "id": "r_0123456789abcdef",
        "status": "IN_PROGRESS",
        "statusLabel": None,
        "action": {"identifier": "deploy", "title": "Deploy", "icon": None, "deleted": False},
        "source": "API",
        "properties": {},
        "requiredApproval": False,
        "approval": None,
        "link": [],
        "summary": "",
        "payload": {"type": "WEBHOOK", "url": "https://example.org/r_0123456789abcdef"},
        "pendingExecution": False,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "createdBy": "user_1",
        "updatedAt": "2026-01-02T03:04:05.678Z",
        "updatedBy": "user_1",
        "endedAt": None,
    }
    end = "2026-01-02T03:04:06.678Z"
    assert event == {
        "id": "event_0123456789abcdef",
        "action": "UPDATE",
        "resourceType": "run",
        "trigger": {"by": BY_US, "origin": "API", "at": end},
        "context": {
            "action": {
                **DEPLOY,
                "id": "action_0123456789abcdef",
                "createdAt": "2026-01-02T03:04:05.678Z",
                "createdBy": "user_1",
                "updatedAt": "2026-01-02T03:04:05.678Z",
                "updatedBy": "user_2",
            }
        },
        "diff": {
            "before": told,
            "after": {
                **told, "status": "FAILURE", "summary": "It broke", "updatedAt": end, "updatedBy": "interlock",
                "endedAt": end,
            },
        },
    }  # fmt: skip


def test_a_run_that_was_created_has_no_before_and_a_definition_that_is_gone_has_a_name() -> None:
    event = event_of(run_change(None, run()), organization=ORGANIZATION)
    diff: Any = event["diff"]
    assert event["action"] == "CREATE"
    assert diff["before"] is None
    assert diff["after"]["id"] == "r_0123456789abcdef"
    assert event["context"] == {"action": {"identifier": "deploy"}}


def test_a_schedule_tells_its_time() -> None:
    after = {"scheduledAt": "2026-01-02T03:04:00.000Z", "cron": "4 * * * *", "timezone": "UTC"}
    fired = change(
        resource_type="schedule",
        action=Happening.FIRED,
        by="interlock",
        origin="AUTOMATION",
        context={"action": "nightly"},
        before=None,
        after=after,
        subject="action_0123456789abcdef",
    )
    assert event_of(fired, organization=ORGANIZATION) == {
        "id": "event_0123456789abcdef",
        "action": "FIRED",
        "resourceType": "schedule",
        "trigger": {"by": BY_US, "origin": "AUTOMATION", "at": "2026-01-02T03:04:05.678Z"},
        "context": {"actionIdentifier": "nightly"},
        "diff": {"before": None, "after": after},
    }
