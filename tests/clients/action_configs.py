"""Configurations of `port_action`: every method, trigger and approval of the provider's schema; forms are beside."""

from typing import Any

from tests.clients.go import Json, text

BLUEPRINT = "volume"
"""Has a timer property `expires`, a text `tier` and a relation `host` to itself."""
RUNNABLE = "grow"
"""A self-service action that exists, for events of its runs."""


def self_service(operation: str = "DAY-2", blueprint: str | None = BLUEPRINT, **trigger: Any) -> Json:
    """A self-service trigger, and the shortest method."""
    attributes = {"operation": operation, "blueprint_identifier": blueprint, **trigger}
    given = {name: value for name, value in attributes.items() if value is not None}
    return {"self_service_trigger": given, "kafka_method": {}}


def form(properties: Json, **trigger: Any) -> Json:
    """A self-service trigger with inputs."""
    return self_service(user_properties=properties, **trigger)


def strings(**inputs: Json) -> Json:
    """Inputs that are text."""
    return {"string_props": inputs}


def automation(event: str, jq_condition: Json | None = None, **subject: str) -> Json:
    """An automation trigger, and the shortest method."""
    condition = {} if jq_condition is None else {"jq_condition": jq_condition}
    return {"automation_trigger": {event: subject, **condition}, "kafka_method": {}}


def calls(name: str, **method: Any) -> Json:
    """An action with this method."""
    return {"self_service_trigger": {"operation": "CREATE"}, name: method}


def _search(*rules: Json, combinator: str = "and") -> str:
    return text({"type": "SEARCH", "combinator": combinator, "rules": list(rules)})


NESTED: list[Any] = [1.5, 7, True, None, "x", {"empty": [], "none": {}}, ["{{ .inputs.size }}"]]
METHODS: dict[str, Json] = {
    "kafka": calls("kafka_method"),
    "kafka-with-an-object": calls("kafka_method", payload=text({"run": "{{ .run.id }}", "mixed": NESTED})),
    "kafka-with-a-list": calls("kafka_method", payload=text(["{{ .run.id }}", {}])),
    "webhook-with-a-url-only": calls("webhook_method", url="https://hooks.example.org/volumes"),
    "webhook": calls(
        "webhook_method",
        url="https://hooks.example.org/{{ .trigger.operation }}",
        agent="true",
        synchronized="false",
        method="PATCH",
        headers={"X-Volume": "{{ .action.identifier }}", "x-empty": ""},
        body=text({"run": "{{ .run.id }}", "nested": NESTED}),
    ),
    "webhook-synchronized": calls(
        "webhook_method",
        url="http://10.0.0.7:8080/volumes?dry=1",
        agent="false",
        synchronized="true",
        method="DELETE",
        body=text([{"a": 1}, 2.5]),
    ),
    "webhook-with-templates-for-switches": calls(
        "webhook_method",
        url="{{ .inputs.address }}",
        agent=text('{{ .inputs.address | startswith("http://10.") }}'),
        synchronized=text("{{ .inputs.wait }}"),
        body=text({"{{ .run.id }}": "{{ spreadValue() }}", "<&>": "é"}),
    ),
    "github": calls("github_method", org="acme", repo="storage", workflow="grow.yaml"),
    "github-with-everything": calls(
        "github_method",
        org="acme",
        repo="storage",
        workflow="{{ .inputs.workflow }}",
        workflow_inputs=text({"values": NESTED, "{{ .run.id }}": "{{ .inputs }}"}),
        report_workflow_status="false",
    ),
    "github-reports-by-template": calls(
        "github_method",
        org="acme",
        repo="storage",
        workflow="grow.yaml",
        report_workflow_status=text("{{ .inputs.report }}"),
    ),
    "gitlab": calls("gitlab_method", project_name="storage", group_name="acme/infra"),
    "gitlab-with-everything": calls(
        "gitlab_method",
        project_name="storage",
        group_name="acme",
        default_ref="release-7",
        pipeline_variables=text({"VALUES": NESTED}),
    ),
    "azure-devops": calls("azure_method", org="acme", webhook="grow-hook"),
    "azure-devops-with-a-payload": calls(
        "azure_method", org="acme", webhook="https://dev.example.org", payload=text({"run": "{{ .run.id }}"})
    ),
    "upsert-with-teams": {
        **self_service(),
        "kafka_method": None,
        "upsert_entity_method": {
            "title": "A volume",
            "blueprint_identifier": BLUEPRINT,
            "mapping": {
                "identifier": "v-{{ .run.id }}",
                "teams": ["storage", "sre"],
                "icon": "Disk",
                "properties": text({"tier": "{{ .inputs.tier }}", "unknown": 1}),
                "relations": text({"no-such-relation": "somewhere", "host": ["h1"]}),
            },
        },
    },
    "upsert-without-teams": calls(
        "upsert_entity_method", blueprint_identifier=BLUEPRINT, mapping={"identifier": "v-1", "teams": []}
    ),
    "upsert-with-teams-by-template": calls(
        "upsert_entity_method", blueprint_identifier=BLUEPRINT, mapping={"teams_jq": "{{ .inputs.teams }}"}
    ),
    "upsert-with-an-empty-mapping": calls("upsert_entity_method", blueprint_identifier=BLUEPRINT, mapping={}),
    "integration-action": calls(
        "integration_method",
        installation_id="github-ocean-1",
        integration_action_type="dispatch_workflow",
        integration_action_execution_properties={
            "org": "acme",
            "repo": "storage",
            "workflow": "grow.yaml",
            "workflow_inputs": text({"size": "{{ .inputs.size }}"}),
            "report_workflow_status": "true",
        },
    ),
}

TRIGGERS: dict[str, Json] = {
    **{f"operation-{name}": self_service(name) for name in ("CREATE", "DAY-2", "DELETE")},
    **{f"operation-{name}-of-nothing": self_service(name, None) for name in ("CREATE", "DAY-2", "DELETE")},
    "empty-user-properties": form({}),
    "buttons": self_service("CREATE", action_card_button_text="Grow it", execute_action_button_text="Do"),
    "a-condition": self_service(condition=_search({"property": "$title", "operator": "=", "value": "Data"})),
    "a-condition-with-groups": self_service(
        "DELETE",
        condition=_search(
            {"property": "tier", "operator": "in", "value": ["gold", "silver"]},
            {
                "combinator": "and",
                "rules": [
                    {"property": "$identifier", "operator": "contains", "value": "prod"},
                    {"property": "tier", "operator": "isNotEmpty"},
                ],
            },
            combinator="or",
        ),
    ),
    **{
        f"a-condition-without-rules-{combinator}": self_service(
            condition=text({"type": "SEARCH", "combinator": combinator})
        )
        for combinator in ("and", "or")
    },
    "a-condition-with-an-empty-group": self_service(condition=_search({"combinator": "or", "rules": []})),
    **{
        name.replace("_", "-"): automation(name, blueprint_identifier=BLUEPRINT)
        for name in ("entity_created_event", "entity_updated_event", "entity_deleted_event", "any_entity_change_event")
    },
    "timer-property-expired-event": automation(
        "timer_property_expired_event", blueprint_identifier=BLUEPRINT, property_identifier="expires"
    ),
    **{
        name.replace("_", "-"): automation(name, action_identifier=RUNNABLE)
        for name in ("run_created_event", "run_updated_event", "any_run_change_event")
    },
    "event-of-things-that-are-not-there": automation("run_created_event", action_identifier="not-there-yet"),
    "jq-condition": automation(
        "any_run_change_event",
        {"expressions": ['.diff.after.status == "FAILURE"', ".diff.before | not"], "combinator": "or"},
        action_identifier=RUNNABLE,
    ),
    "jq-condition-without-expressions": automation(
        "entity_updated_event", {"expressions": [], "combinator": "and"}, blueprint_identifier=BLUEPRINT
    ),
    "unpublished-automation": {
        **automation("entity_created_event", blueprint_identifier=BLUEPRINT),
        "publish": False,
    },
    "unpublished-action": {**self_service("CREATE"), "publish": False},
}

APPROVALS: dict[str, Json] = {
    **{f"required-{word}": {**self_service(), "required_approval": word} for word in ("true", "false", "ANY", "ALL")},
    "by-email": {**self_service(), "required_approval": "true", "approval_email_notification": {}},
    "by-webhook": {
        **self_service(),
        "required_approval": "ANY",
        "approval_webhook_notification": {"url": "https://hooks.example.org/approve"},
    },
    **{
        f"by-webhook-{kind}": {
            **self_service(),
            "required_approval": "true",
            "approval_webhook_notification": {"url": "https://hooks.example.org/approve", "format": kind},
        }
        for kind in ("json", "slack")
    },
    "email-though-none-is-required": {**self_service(), "approval_email_notification": {}},
    "runs-are-for-everybody": {**self_service(), "allow_anyone_to_view_runs": True},
    "runs-are-for-approvers": {**self_service(), "allow_anyone_to_view_runs": False},
}
