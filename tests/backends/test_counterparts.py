"""Who does the work: what goes to the same place shares its budgets and its circuit."""

from typing import Any

import pytest

from backends import METHODS, parse_rendered

UPSERT = {"type": "UPSERT_ENTITY", "blueprintIdentifier": "service", "mapping": {"identifier": "cart"}}
CLAIMED = {
    "type": "INTEGRATION_ACTION",
    "installationId": "ocean-1",
    "integrationActionType": "dispatch_workflow",
    "integrationActionExecutionProperties": {},
}


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ({"type": "WEBHOOK", "url": "https://ada:pw@CI.example.com:443/hook?token=1"}, "https://ci.example.com"),
        ({"type": "WEBHOOK", "url": "http://ci.example.com:8080/a", "agent": True}, "http://ci.example.com:8080"),
        ({"type": "SLACK", "url": "https://hooks.slack.com/services/T/B/x"}, "https://hooks.slack.com"),
        ({"type": "KAFKA", "payload": {"a": 1}}, "KAFKA"),
        ({"type": "GITHUB", "org": "acme", "repo": "shop", "workflow": "a.yml"}, "GITHUB acme/shop"),
        ({"type": "GITLAB", "groupName": "acme/web", "projectName": "shop"}, "GITLAB acme/web/shop"),
        ({"type": "AZURE_DEVOPS", "webhook": "hook", "org": "acme"}, "AZURE_DEVOPS acme"),
        (CLAIMED, "INTEGRATION_ACTION ocean-1"),
        (UPSERT, "UPSERT_ENTITY service"),
    ],
)
def test_where_a_delivery_goes(method: dict[str, Any], place: str) -> None:
    assert parse_rendered(method).counterpart() == place


@pytest.mark.parametrize("name", METHODS)
def test_what_says_where_a_delivery_goes_is_a_field(name: str) -> None:
    assert set(METHODS[name].goes_to) <= set(METHODS[name].model_fields)
