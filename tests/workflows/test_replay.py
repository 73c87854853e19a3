"""Histories of released versions: today's workflow code decides in them as it did then."""

import gzip
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from domain.runs import RunStatus
from tests.workflows.record import HISTORIES, WAYS
from workflows.action_run import ActionRun
from workflows.calls import LONG_HISTORY, ActionRunInput


def recorded() -> Iterator[Path]:
    """Every history there is."""
    yield from sorted(HISTORIES.glob("*.json*"))


def history(file: Path) -> WorkflowHistory:
    """A recorded history."""
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    return WorkflowHistory.from_json(file.name, text)


def way_of(file: Path) -> str:
    """Which way the run has gone."""
    return file.name.partition("-")[2].partition(".")[0]


@pytest.mark.parametrize("file", list(recorded()), ids=lambda file: file.name)
async def test_a_recorded_history_replays(file: Path) -> None:
    replayer = Replayer(workflows=[ActionRun], data_converter=pydantic_data_converter)
    result = await replayer.replay_workflow(history(file), raise_on_replay_failure=False)
    assert result.replay_failure is None


def test_every_way_a_run_can_go_is_recorded() -> None:
    assert {way_of(file) for file in recorded()} == {way.__name__ for way in WAYS}


def test_a_run_that_has_waited_for_long_has_gone_on_in_a_new_history() -> None:
    before, after = (history(file).events for file in recorded() if way_of(file) == "queued_for_long")
    assert before[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
    assert LONG_HISTORY <= len(before) < LONG_HISTORY + 50
    assert after[0].workflow_execution_started_event_attributes.continued_execution_run_id
    assert after[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED


def test_histories_name_no_machine_and_no_folder() -> None:
    for file in recorded():
        for event in history(file).events:
            assert not re.search(r"""File .{0,2}"/""", str(event)), file.name
            assert "site-packages" not in str(event), file.name


@workflow.defn(name="ActionRun")
class Changed:
    """The same workflow after a change that histories do not survive."""

    @workflow.run
    async def run(self, start: ActionRunInput) -> RunStatus:
        """Sleep first."""
        await workflow.sleep(timedelta(seconds=1))
        return RunStatus.SUCCESS


async def test_a_change_that_breaks_histories_is_noticed() -> None:
    replayer = Replayer(
        workflows=[Changed], data_converter=pydantic_data_converter, workflow_runner=UnsandboxedWorkflowRunner()
    )
    file = next(file for file in recorded() if way_of(file) == "synchronous")
    result = await replayer.replay_workflow(history(file), raise_on_replay_failure=False)
    assert result.replay_failure is not None
