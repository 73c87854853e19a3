"""Kafka: a message to the organization's topic of runs."""

from typing import Literal

from pydantic import Field

from backends._topics import publish_run
from backends.base import Delivery, InvocationMethod, Payload, Receipt, Resources
from domain.documents import canonical
from domain.errors import BackendFault, BackendRefused
from domain.signatures import sign


class Kafka(InvocationMethod):
    """Publishes the payload; whoever consumes it reports. Without a payload: the message older consumers expect.

    Beside it, as headers of the record: the run, the action, and the signature that webhooks have, of its very bytes.

    Source: Kafka backend of the API reference; what is not the payload stays out of it.
    """

    type: Literal["KAFKA"]
    payload: Payload = Field(default_factory=dict)

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        """Publish, and wait until the brokers have the message.

        Raises:
            BackendUnavailable: no broker can have taken it.
            BackendRefused: one may have, or none ever will.
        """
        payload: Payload = self.payload
        if "payload" not in self.model_fields_set:
            payload = delivery.legacy_message if using.default_body == "legacy" else {}
        try:
            message = canonical(payload).encode()
        except ValueError:
            raise BackendRefused("invocationMethod.payload: cannot be written as JSON") from None
        try:
            await publish_run(delivery, message, using, sign(using.signing_secret, message, using.now()))
        except BackendFault as fault:
            raise type(fault)(f"Failed to publish the message: {fault}") from None
        return Receipt()
