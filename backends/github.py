"""GitHub Actions: dispatch a workflow."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from backends.base import InvocationMethod, Switch


class GitHub(InvocationMethod):
    """Dispatches `workflow` of `org/repo`; with `reportWorkflowStatus` the run ends as that workflow ends."""

    available: ClassVar[bool] = False
    leftovers: ClassVar[frozenset[str]] = InvocationMethod.leftovers | {"branch"}

    type: Literal["GITHUB"]
    org: str
    repo: str
    workflow: str
    """A file name under `.github/workflows`, or the workflow's number as text."""
    workflow_inputs: dict[str, JsonValue] = Field(default_factory=dict)
    report_workflow_status: Switch = True
