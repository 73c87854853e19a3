"""Azure DevOps: trigger pipelines that listen to an incoming webhook."""

from typing import ClassVar, Literal

from pydantic import Field

from backends.base import InvocationMethod, Payload


class AzureDevOps(InvocationMethod):
    """Posts the payload to the service connection `webhook` of `org`; the pipeline reports."""

    available: ClassVar[bool] = False

    type: Literal["AZURE_DEVOPS"]
    webhook: str
    org: str
    payload: Payload = Field(default_factory=dict)
