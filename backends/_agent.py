"""Requests that the execution agent sends from another network: how they come to it."""

from backends._topics import for_agent, publish_run
from backends.base import Delivery, Receipt, Resources
from domain.claims import AGENT
from domain.documents import Document
from domain.errors import BackendFault


async def hand_to_agent(payload: Document, delivery: Delivery, using: Resources) -> Receipt:
    """Leave the request to the agent: it claims the run, or reads of it in a topic, sends the request and reports.

    `payload` is the rendered method as the agent reads it; it is rendered again when the run is claimed, so that no
    secret waits anywhere. An agent that reads the topic is told right away.

    Raises:
        BackendUnavailable: it cannot have been told.
        BackendRefused: it may have been told, or never will be.
    """
    if using.kafka is None or await using.streamer() != "KAFKA":
        return Receipt(claim=AGENT)
    try:
        await publish_run(delivery, for_agent(payload, delivery, using), using, {})
    except BackendFault as fault:
        raise type(fault)(f"Failed to hand the webhook to the agent: {fault}") from None
    return Receipt()
