"""The HTTP application: routes, errors and the OpenAPI document, over what it is handed."""

import json
from typing import Any

from fastapi import FastAPI

import backends
from api import (
    actions,
    approval_page,
    approvals,
    audit,
    auth,
    automations,
    azure_devops_events,
    blueprint_permissions,
    blueprint_renames,
    blueprints,
    cancelling,
    catalog_migrations,
    claims,
    entities,
    errors,
    explaining,
    forms,
    github_events,
    gitlab_events,
    health,
    home,
    incoming_webhooks,
    ingest,
    integration_reports,
    integrations,
    kafka,
    organization,
    people,
    queues,
    run_timelines,
    runs,
    scorecards,
    search,
    slack,
    statistics,
    system_blueprints,
    teams,
    workflow_nodes,
)
from api.middleware import Door
from api.services import ApiServices
from domain.actions import Definition

_DESCRIPTION = """\
Self-service actions and automations. Every success has `"ok": true`; every failure is
`{"ok": false, "error": "<code>", "message": "<what and why>"}`. Get a token from `POST /v1/auth/access_token` and
send it as `Authorization: Bearer <accessToken>`.
"""


def create_app(services: ApiServices) -> FastAPI:
    """The application. Whoever makes it owns the services and closes them."""
    app = _routed()
    app.state.services = services
    app.add_middleware(Door, limit=services.settings.max_body_bytes)
    return app


def document() -> str:
    """The OpenAPI document as text, as it is kept in `docs/openapi.json`."""
    return json.dumps(_routed().openapi(), indent=2, ensure_ascii=False, sort_keys=True)


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the JSON of actions and backends that routes take as it comes."""
        if self.openapi_schema:
            return self.openapi_schema
        document = super().openapi()
        schemas = document["components"]["schemas"]
        definition = Definition.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
        schemas |= definition.pop("$defs", {}) | backends.components()
        definition["properties"]["invocationMethod"] = backends.schema()
        schemas["Action"] = definition
        schemas[errors.ErrorBody.__name__] = errors.ErrorBody.model_json_schema()
        _drop_nested_discriminators(schemas)
        for path, method in (("/v1/actions", "post"), ("/v1/actions/{action_id}", "put")):
            content = document["paths"][path][method]["requestBody"]["content"]
            content["application/json"]["schema"] = {"$ref": "#/components/schemas/Action"}
        return document


def _routed() -> FastAPI:
    app = _Application(title="Interlock", version="0.1.0", description=_DESCRIPTION, redoc_url=None)
    # A request tries them in this order, so what is asked for most is early. Runs and approvals come before actions:
    # `/v1/actions/runs` is no action called `runs`. `ack` is no run, either.
    for module in (
        auth,
        claims,
        runs,
        system_blueprints,
        search,
        statistics,
        entities,
        cancelling,
        approvals,
        explaining,
        run_timelines,
        queues,
        actions,
        forms,
        automations,
        blueprints,
        blueprint_permissions,
        blueprint_renames,
        catalog_migrations,
        scorecards,
        organization,
        integrations,
        kafka,
        integration_reports,
        workflow_nodes,
        people,
        incoming_webhooks,
        ingest,
        github_events,
        gitlab_events,
        azure_devops_events,
        audit,
        slack,
        teams,
        health,
        home,
        approval_page,
    ):
        # As they are: `include_router` makes a second one of each, which takes as long as everything else at start-up.
        app.router.routes.extend(module.router.routes)
    errors.install(app)
    return app


def _drop_nested_discriminators(schema: Any) -> None:
    """OpenAPI discriminates between references only; where pydantic nests a union in a union, `oneOf` has to do."""
    if isinstance(schema, list):
        for part in schema:
            _drop_nested_discriminators(part)
    elif isinstance(schema, dict):
        mapping = schema.get("discriminator", {}).get("mapping", {}) if "oneOf" in schema else {}
        if not all(isinstance(target, str) for target in mapping.values()):
            del schema["discriminator"]
        for part in schema.values():
            _drop_nested_discriminators(part)
