"""A test process that is killed takes the processes of its tests with it."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, eventually

psutil = pytest.importorskip("psutil")

PARENT = """
import sys
import time
from pathlib import Path
from tests.support.processes import Process

child = Process("child", ("sh", "-c", "exec sleep 600"), {"PATH": "/usr/bin:/bin"}, Path(sys.argv[1]))
child.start()
print(child._child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
async def test_nothing_outlives_a_test_process_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "out")), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    try:
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
        await parent.wait()

        async def gone() -> bool | None:
            return True if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE else None

        await eventually("the child is gone", gone, within=20)
    finally:
        if child.is_running():
            child.kill()
