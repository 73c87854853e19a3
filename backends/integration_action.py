"""Integration action: work that an installed integration claims."""

from typing import ClassVar, Literal

from pydantic import JsonValue

from backends.base import Delivery, InvocationMethod, Receipt, Resources
from domain.documents import Document
from domain.errors import InvalidInvocation

_DISPATCH_WORKFLOW, _REPORTS = "dispatch_workflow", "reportWorkflowStatus"


class IntegrationAction(InvocationMethod):
    """Waits for the integration `installationId` to claim it; the integration reports."""

    goes_to: ClassVar[tuple[str, ...]] = ("installation_id",)

    type: Literal["INTEGRATION_ACTION"]
    installation_id: str
    integration_action_type: str
    integration_action_execution_properties: dict[str, JsonValue]

    @classmethod
    def completed(cls, document: Document) -> Document:
        """With `reportWorkflowStatus`: where it is not said it is true by the documentation, and false for Ocean."""
        key = "integrationActionExecutionProperties"
        properties = document.get(key)
        if document.get("integrationActionType") != _DISPATCH_WORKFLOW or not isinstance(properties, dict):
            return document
        if properties.get(_REPORTS) is not None:
            return document
        return {**document, key: {**properties, _REPORTS: True}}

    def verify(self) -> None:
        """Refuse to wait for nobody.

        Raises:
            InvalidInvocation: no installation is named.
        """
        if not self.installation_id:
            raise InvalidInvocation("invocationMethod.installationId: must not be empty once it is rendered")

    def handed_out(self, message: Document) -> Document:
        """What Ocean reads: all four members, the last one an object."""
        return self.completed(
            {
                "type": self.type,
                "installationId": self.installation_id,
                "integrationActionType": self.integration_action_type,
                "integrationActionExecutionProperties": self.integration_action_execution_properties,
            }
        )

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Nothing is sent: the run waits for the installation."""
        return Receipt(claim=self.installation_id)
