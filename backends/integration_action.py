"""Integration action: work that an installed integration claims."""

from typing import ClassVar, Literal

from pydantic import JsonValue

from backends.base import InvocationMethod


class IntegrationAction(InvocationMethod):
    """Waits for the integration `installationId` to claim it; the integration reports."""

    available: ClassVar[bool] = False

    type: Literal["INTEGRATION_ACTION"]
    installation_id: str
    integration_action_type: str
    integration_action_execution_properties: dict[str, JsonValue]
