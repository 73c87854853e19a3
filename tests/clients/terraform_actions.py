"""`port_action` as the provider writes and reads it."""

from typing import Any

from tests.clients import go, terraform_forms
from tests.clients.go import ANY, BOOLEAN, STRING, Json, Map
from tests.clients.terraform import Wire, segment

ACTION: Json = {
    "id": STRING,
    "identifier": STRING,
    "title": STRING,
    "icon": STRING,
    "description": STRING,
    "trigger": {
        "type": STRING,
        "blueprintIdentifier": STRING,
        "operation": STRING,
        "userInputs": terraform_forms.USER_INPUTS,
        "event": {
            "type": STRING,
            "blueprintIdentifier": STRING,
            "propertyIdentifier": STRING,
            "actionIdentifier": STRING,
        },
        "condition": {"expressions": [STRING], "combinator": STRING, "rules": [ANY], "type": STRING},
        "actionCardButtonText": STRING,
        "executeActionButtonText": STRING,
    },
    "invocationMethod": {
        "type": STRING,
        "payload": ANY,
        "url": STRING,
        "agent": ANY,
        "synchronized": ANY,
        "method": STRING,
        "headers": Map(STRING),
        "body": ANY,
        "org": STRING,
        "repo": STRING,
        "workflow": STRING,
        "workflowInputs": Map(ANY),
        "reportWorkflowStatus": ANY,
        "projectName": STRING,
        "groupName": STRING,
        "defaultRef": STRING,
        "pipelineVariables": Map(ANY),
        "webhook": STRING,
        "blueprintIdentifier": STRING,
        "mapping": {
            "identifier": STRING,
            "title": STRING,
            "team": ANY,
            "icon": STRING,
            "properties": Map(ANY),
            "relations": Map(ANY),
        },
        "installationId": STRING,
        "integrationActionType": STRING,
        "integrationActionExecutionProperties": {
            "org": STRING,
            "repo": STRING,
            "workflow": STRING,
            "workflowInputs": Map(ANY),
            "reportWorkflowStatus": ANY,
        },
    },
    "requiredApproval": ANY,
    "approvalNotification": {"type": STRING, "url": STRING, "format": STRING},
    "publish": BOOLEAN,
    "allowAnyoneToViewRuns": BOOLEAN,
}

_EVENTS = {
    "entity_created_event": "ENTITY_CREATED",
    "entity_updated_event": "ENTITY_UPDATED",
    "entity_deleted_event": "ENTITY_DELETED",
    "any_entity_change_event": "ANY_ENTITY_CHANGE",
    "timer_property_expired_event": "TIMER_PROPERTY_EXPIRED",
    "run_created_event": "RUN_CREATED",
    "run_updated_event": "RUN_UPDATED",
    "any_run_change_event": "ANY_RUN_CHANGE",
}
_SUBJECTS = {
    "blueprint_identifier": "blueprintIdentifier",
    "property_identifier": "propertyIdentifier",
    "action_identifier": "actionIdentifier",
}
_BUTTONS = {
    "action_card_button_text": "actionCardButtonText",
    "execute_action_button_text": "executeActionButtonText",
}

_Names = dict[str, str]
_METHODS: dict[str, tuple[str, _Names, _Names]] = {
    # Attribute: type, attributes as they are, attributes that are JSON in a string.
    "kafka_method": ("KAFKA", {}, {"payload": "payload"}),
    "webhook_method": (
        "WEBHOOK",
        {"url": "url", "method": "method", "headers": "headers"},
        {"agent": "agent", "synchronized": "synchronized", "body": "body"},
    ),
    "github_method": (
        "GITHUB",
        {"org": "org", "repo": "repo", "workflow": "workflow"},
        {"workflow_inputs": "workflowInputs", "report_workflow_status": "reportWorkflowStatus"},
    ),
    "gitlab_method": (
        "GITLAB",
        {"project_name": "projectName", "group_name": "groupName", "default_ref": "defaultRef"},
        {"pipeline_variables": "pipelineVariables"},
    ),
    "azure_method": ("AZURE_DEVOPS", {"org": "org", "webhook": "webhook"}, {"payload": "payload"}),
}
_EXECUTION = "integration_action_execution_properties"
_NEEDED = {
    "WEBHOOK": ("url",),
    "GITHUB": ("org", "repo", "workflow"),
    "GITLAB": ("projectName", "groupName"),
    "AZURE_DEVOPS": ("org", "webhook"),
    "UPSERT_ENTITY": ("blueprintIdentifier", "mapping"),
    "INTEGRATION_ACTION": ("installationId", "integrationActionType", "integrationActionExecutionProperties"),
}
"""What is followed without a look whether it is there: the provider would crash."""


def _to(attributes: Json, plain: _Names, encoded: _Names) -> Json:
    written = {key: attributes.get(name) for name, key in plain.items()}
    written |= {key: go.parsed(attributes.get(name)) for name, key in encoded.items()}
    return go.without_empty(written)


def _from(found: Json, plain: _Names, encoded: _Names, before: Json) -> Json:
    attributes = {name: found.get(key) for name, key in plain.items()}
    return attributes | {name: go.encoded(found.get(key), before=before.get(name)) for name, key in encoded.items()}


def _method_written(plan: Json) -> Json | None:
    for name, (kind, plain, encoded) in _METHODS.items():
        if plan.get(name) is not None:
            return {"type": kind, **_to(plan[name], plain, encoded)}
    if (upsert := plan.get("upsert_entity_method")) is not None:
        mapping = upsert["mapping"]
        team = mapping.get("teams_jq") if mapping.get("teams_jq") is not None else mapping.get("teams")
        written = _to(
            mapping,
            {"identifier": "identifier", "icon": "icon"},
            {"properties": "properties", "relations": "relations"},
        )
        more = go.without_empty({"title": upsert.get("title"), "team": team})
        return {
            "type": "UPSERT_ENTITY",
            "blueprintIdentifier": upsert["blueprint_identifier"],
            "mapping": written | more,
        }
    if (integration := plan.get("integration_method")) is not None:
        _, plain, encoded = _METHODS["github_method"]
        return {
            "type": "INTEGRATION_ACTION",
            "installationId": integration["installation_id"],
            "integrationActionType": integration["integration_action_type"],
            "integrationActionExecutionProperties": _to(integration[_EXECUTION], plain, encoded),
        }
    return None


def _method_read(found: Json, before: Json) -> Json:
    for key in _NEEDED.get(found["type"], ()):
        assert key in found, f"invocationMethod.{key} is followed without a look"
    for name, (kind, plain, encoded) in _METHODS.items():
        if found["type"] == kind:
            return {name: _from(found, plain, encoded, before.get(name) or {})}
    if found["type"] == "UPSERT_ENTITY":
        old = (before.get("upsert_entity_method") or {}).get("mapping") or {}
        mapping = found["mapping"]
        team = mapping.get("team")
        attributes = _from(
            mapping,
            {"identifier": "identifier", "icon": "icon"},
            {"properties": "properties", "relations": "relations"},
            old,
        )
        attributes["teams_jq" if isinstance(team, str) else "teams"] = team
        return {
            "upsert_entity_method": {
                "title": mapping.get("title"),
                "blueprint_identifier": found["blueprintIdentifier"],
                "mapping": attributes,
            }
        }
    assert found["type"] == "INTEGRATION_ACTION"
    _, plain, encoded = _METHODS["github_method"]
    old = (before.get("integration_method") or {}).get(_EXECUTION) or {}
    return {
        "integration_method": {
            "installation_id": found["installationId"],
            "integration_action_type": found["integrationActionType"],
            _EXECUTION: _from(found["integrationActionExecutionProperties"], plain, encoded, old),
        }
    }


def _without_empty_lists(condition: Json | None) -> Json | None:
    """A condition by way of the provider's struct, which is the same for both triggers and drops lists of nothing."""
    return condition and {key: value for key, value in condition.items() if value != []}


def _trigger_written(plan: Json) -> Json:
    if (form := plan.get("self_service_trigger")) is not None:
        trigger = {
            "type": "self-service",
            "blueprintIdentifier": form.get("blueprint_identifier"),
            "operation": form["operation"],
            "userInputs": terraform_forms.written(form),
            "condition": _without_empty_lists(go.parsed(form.get("condition"))),
            **{key: form.get(name) for name, key in _BUTTONS.items()},
        }
        return {key: value for key, value in trigger.items() if value is not None}
    automation = plan["automation_trigger"]
    trigger = {"type": "automation"}
    condition = automation.get("jq_condition")
    if condition is not None and condition["expressions"]:  # an empty one is not sent
        trigger["condition"] = {"type": "JQ", **condition}
    for name, kind in _EVENTS.items():
        if (event := automation.get(name)) is not None:
            trigger["event"] = {"type": kind, **_to(event, _SUBJECTS, {})}
    return trigger


def _trigger_read(found: Json, before: Json) -> Json:
    if found["type"] == "self-service":
        old = before.get("self_service_trigger") or {}
        return {
            "self_service_trigger": {
                "blueprint_identifier": found.get("blueprintIdentifier"),
                "operation": found["operation"],
                **terraform_forms.attributes(found["userInputs"], old),
                "condition": go.encoded(_without_empty_lists(found.get("condition"))),
                **{name: found.get(key) for name, key in _BUTTONS.items()},
            }
        }
    old = (before.get("automation_trigger") or {}).get("jq_condition")
    condition = found.get("condition")
    if condition is not None:
        condition = {"expressions": condition.get("expressions", []), "combinator": condition.get("combinator")}
    elif old is not None and not old["expressions"]:
        condition = old
    event = found["event"]
    name = next(name for name, kind in _EVENTS.items() if kind == event["type"])
    subjects = {attribute: event.get(key) for attribute, key in _SUBJECTS.items()}
    return {"automation_trigger": {name: subjects, "jq_condition": condition}}


def _approval(value: str | None) -> Any:
    return {"true": True, "false": False, None: None}.get(value, {"type": value})


class Action:
    """`port_action`."""

    def planned(self, config: Json) -> Json:
        """Published, where nothing else is said; entities are sorted upwards."""
        return {"publish": True, **config}

    def body(self, plan: Json) -> Json:
        """What is sent."""
        notification: Json | None = None
        if plan.get("approval_email_notification") is not None:
            notification = {"type": "email"}
        elif (webhook := plan.get("approval_webhook_notification")) is not None:
            notification = {"type": "webhook", **webhook}
        body = {
            **{key: plan.get(key) for key in ("identifier", "title", "icon", "description", "publish")},
            "trigger": _trigger_written(plan),
            "invocationMethod": _method_written(plan),
            "requiredApproval": _approval(plan.get("required_approval")),
            "approvalNotification": notification,
            "allowAnyoneToViewRuns": plan.get("allow_anyone_to_view_runs"),
        }
        return {key: value for key, value in body.items() if value is not None}

    def attributes(self, found: Json, before: Json) -> Json:
        """The state that an action gives."""
        approval = found.get("requiredApproval")
        notification = dict(found.get("approvalNotification") or {})
        kind = notification.pop("type", None)
        return {
            "id": found["identifier"],
            **{key: found.get(key) for key in ("identifier", "title", "icon", "description", "publish")},
            **_trigger_read(found["trigger"], before),
            **_method_read(found["invocationMethod"], before),
            "required_approval": approval["type"]
            if isinstance(approval, dict)
            else {True: "true", False: "false", None: None}[approval],
            "approval_email_notification": {} if kind == "email" else None,
            "approval_webhook_notification": notification if kind == "webhook" else None,
            "allow_anyone_to_view_runs": found.get("allowAnyoneToViewRuns"),
        }

    async def create(self, wire: Wire, plan: Json) -> str:
        """POST it."""
        answer = await wire.call("POST", "/v1/actions", self.body(plan))
        return str(go.read(ACTION, answer["action"])["identifier"])

    async def update(self, wire: Wire, state: Json, plan: Json) -> str:
        """PUT it to where it was."""
        path = f"/v1/actions/{segment(state['identifier'])}"
        answer = await wire.call("PUT", path, self.body(plan))
        return str(go.read(ACTION, answer["action"])["identifier"])

    async def read(self, wire: Wire, state: Json) -> Json:
        """GET it."""
        answer = await wire.call("GET", f"/v1/actions/{segment(state['identifier'])}")
        return self.attributes(go.read(ACTION, answer["action"]), state)

    async def delete(self, wire: Wire, state: Json) -> None:
        """DELETE it."""
        await wire.call("DELETE", f"/v1/actions/{segment(state['identifier'])}")

    def imported(self, given: str) -> Json:
        """An import is given the identifier."""
        return {"identifier": given}
