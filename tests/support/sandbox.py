"""The sandbox in which tests run workflow code."""

from typing import Any

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

_tried: set[type] = set()


class Sandbox(SandboxedWorkflowRunner):
    """The SDK's. Each worker that begins tries out its workflows there, which is enough once for all workers."""

    def prepare_workflow(self, defn: Any) -> None:
        """Find out whether the workflow can be executed."""
        if defn.cls not in _tried:
            super().prepare_workflow(defn)
            _tried.add(defn.cls)
