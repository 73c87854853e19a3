"""Kafka: a message to the organization's topic of runs."""

from typing import ClassVar, Literal

from pydantic import Field

from backends.base import InvocationMethod, Payload


class Kafka(InvocationMethod):
    """Publishes the payload; whoever consumes it reports. Without a payload: the message older consumers expect."""

    available: ClassVar[bool] = False

    type: Literal["KAFKA"]
    payload: Payload = Field(default_factory=dict)
