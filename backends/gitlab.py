"""GitLab: start a pipeline."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from backends.base import InvocationMethod


class GitLab(InvocationMethod):
    """Starts a pipeline of `groupName/projectName`; the pipeline reports."""

    available: ClassVar[bool] = False
    leftovers: ClassVar[frozenset[str]] = InvocationMethod.leftovers | {"agent"}

    type: Literal["GITLAB"]
    project_name: str
    group_name: str
    """May name subgroups, with slashes."""
    default_ref: str = "main"
    pipeline_variables: dict[str, JsonValue] = Field(default_factory=dict)
