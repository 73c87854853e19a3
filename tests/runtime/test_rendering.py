"""What a run will send: rendered over its context, secrets masked, and refused where it cannot work."""

from typing import Any

import pytest

from domain.automations import Caused, caused
from domain.errors import InvalidInvocation, PrivateDestination, TemplateFault
from domain.events import event_of
from domain.jq import Evaluator
from domain.runs import Run
from runtime.rendering import rendered
from runtime.settings import Settings
from tests.support.automations import AT, ORGANIZATION, automation, entity, entity_change

CHANGE = entity_change(None, entity())
EVENT = event_of(CHANGE, organization=ORGANIZATION)
SETTINGS = Settings.from_environment(
    {"INTERLOCK_SECRET_KEY": "a master key for tests, long enough", "INTERLOCK_ALLOW_LOOPBACK_DESTINATIONS": "true"}
)


async def made(evaluate: Evaluator, method: dict[str, Any], settings: Settings = SETTINGS) -> tuple[Run, list[str]]:
    """The rendered run of an automation with the invocation method, and what is logged."""
    action = automation(invocationMethod=method)
    run = caused(action, CHANGE, Caused(ORGANIZATION, AT, None, (), 0))
    run, lines = await rendered(run, action, evaluate, settings, event=EVENT)
    return run, list(lines)


def webhook(url: str = "http://127.0.0.1:1/hook", **more: Any) -> dict[str, Any]:
    return {"type": "WEBHOOK", "url": url, **more}


async def test_templates_see_the_event_and_the_time_of_the_run(evaluate: Evaluator) -> None:
    body = {
        "entity": "{{ .event.diff.after.identifier }}",
        "teams": "{{ .event.diff.after.team }}",
        "now": "{{ now | floor }}",
        "inputs": "{{ .inputs }}",
    }
    run, lines = await made(evaluate, webhook(synchronized=True, headers={"run": "{{ .run.id }}"}, body=body))

    assert run.payload is not None
    assert run.payload["body"] == {
        "entity": "cart",
        "teams": ["Rocket"],
        "now": int(AT.timestamp()),
        "inputs": None,
    }
    assert run.payload["headers"] == {"run": run.id}
    assert run.interlock.synchronous
    assert lines == []


async def test_a_template_that_fails_is_null_and_a_line_of_the_log(evaluate: Evaluator) -> None:
    run, lines = await made(evaluate, webhook(body={"x": '{{ error("no") }}'}))

    assert run.payload is not None
    assert run.payload["body"] == {"x": None}
    [line] = lines
    assert line.startswith('the template {{ error("no") }} failed and was rendered as null')


async def test_secrets_are_masked_and_what_fails_is_told_at_the_delivery(evaluate: Evaluator) -> None:
    body = {"x": '{{ error("no") }}', "token": "{{ .secrets.TOKEN }}"}
    run, lines = await made(evaluate, webhook(body=body))

    assert run.payload is not None
    assert run.payload["body"] == {"x": None, "token": "********"}
    assert lines == []


async def test_what_only_a_secret_decides_is_left_to_the_delivery(evaluate: Evaluator) -> None:
    run, _ = await made(evaluate, webhook("no url at all", synchronized="{{ .secrets.WAIT }}"))
    assert run.payload == {"type": "WEBHOOK", "url": "no url at all", "synchronized": "********"}


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        (webhook("{{ .event.diff.after.identifier }}"), InvalidInvocation),
        ({"{{ spreadValue() }}": "{{ .inputs }}", **webhook()}, TemplateFault),
        (webhook(body={"x": "{{ .open"}), TemplateFault),
    ],
)
async def test_what_cannot_work_is_refused(evaluate: Evaluator, method: dict[str, Any], fault: type[Exception]) -> None:
    with pytest.raises(fault):
        await made(evaluate, method)


async def test_loopback_is_refused_unless_somebody_allows_it(evaluate: Evaluator) -> None:
    with pytest.raises(PrivateDestination, match="loopback"):
        await made(evaluate, webhook(), SETTINGS.model_copy(update={"allow_loopback_destinations": False}))


async def test_private_destinations_are_refused_where_they_are_not_allowed(evaluate: Evaluator) -> None:
    allowed, forbidden = (SETTINGS.model_copy(update={"allow_private_destinations": value}) for value in (True, False))

    run, _ = await made(evaluate, webhook(), allowed)
    assert run.payload is not None
    with pytest.raises(PrivateDestination):
        await made(evaluate, webhook(), forbidden)
    run, _ = await made(evaluate, webhook(), forbidden.model_copy(update={"always_destinations": ("127.0.0.0/8",)}))
    assert run.payload is not None
    never = {"always_destinations": ("127.0.0.1",), "never_destinations": ("127.0.0.0/8",)}
    with pytest.raises(PrivateDestination, match="never calls"):
        await made(evaluate, webhook(), allowed.model_copy(update=never))
