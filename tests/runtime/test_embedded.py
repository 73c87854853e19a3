"""The embedded Temporal against its real binary: it is tuned, it comes back, and it never outlives its parent."""

import asyncio
import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from runtime.embedded import EmbeddedFault, EmbeddedTemporal
from runtime.ports import PortInUse
from runtime.temporal import RETENTION, SEARCH_ATTRIBUTES, core

psutil = pytest.importorskip("psutil")


@pytest.fixture
async def temporal(tmp_path: Path) -> AsyncIterator[EmbeddedTemporal]:
    async with EmbeddedTemporal(tmp_path) as server:
        yield server


def server_process(pid: int) -> Any:
    """The server below this process (there is a keeper between)."""
    found = [each for each in psutil.Process(pid).children(recursive=True) if each.name() == "temporal"]
    assert len(found) == 1
    return found[0]


def own_server() -> Any:
    return server_process(os.getpid())


async def connected(server: EmbeddedTemporal) -> Client:
    return await Client.connect(server.address, runtime=core())


async def test_half_of_the_cpus_are_left_to_us(temporal: EmbeddedTemporal) -> None:
    half = str(max(1, (os.cpu_count() or 1) // 2))
    assert own_server().environ()["GOMAXPROCS"] == os.environ.get("GOMAXPROCS", half)


async def test_it_keeps_histories_for_30_days_and_knows_the_search_attributes(temporal: EmbeddedTemporal) -> None:
    client = await connected(temporal)
    namespace = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert namespace.config.workflow_execution_retention_ttl.ToTimedelta() == RETENTION == timedelta(days=30)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert {key.name for key in SEARCH_ATTRIBUTES} <= set(known.custom_attributes)


async def test_the_web_ui_answers(temporal: EmbeddedTemporal) -> None:
    host, port = temporal.ui_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()


async def test_it_comes_back_on_the_same_ports_with_what_it_acknowledged(
    temporal: EmbeddedTemporal, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connected(temporal)
    await client.start_workflow("Parked", id="parked", task_queue="nobody")
    first = own_server()
    first.kill()

    deadline = time.monotonic() + 20
    while True:
        try:
            description = await client.get_workflow_handle("parked").describe(rpc_timeout=timedelta(seconds=2))
            break
        except RPCError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert description.id == "parked"
    assert own_server().pid != first.pid
    assert "embedded temporal ended and is started again" in caplog.messages


async def test_stopping_leaves_nothing_behind(tmp_path: Path) -> None:
    async with EmbeddedTemporal(tmp_path):
        process = own_server()
    assert not process.is_running()


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from runtime.embedded import EmbeddedTemporal

    async def main() -> None:
        async with EmbeddedTemporal(Path(sys.argv[1]), port=int(sys.argv[2])):
            print("ready", flush=True)
            await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_it_dies_with_its_parent_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path), str(port)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert parent.stdout is not None
        assert await parent.stdout.readline() == b"ready\n"
        orphan = server_process(parent.pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()

    async with EmbeddedTemporal(tmp_path, port=port) as server:
        assert server.address == f"127.0.0.1:{port}"
        assert not orphan.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
async def test_it_dies_even_with_its_keeper(temporal: EmbeddedTemporal) -> None:
    process = own_server()
    keeper = process.parent()
    assert keeper is not None
    keeper.kill()
    await asyncio.to_thread(psutil.wait_procs, [process], 5)
    assert not process.is_running()
    await asyncio.sleep(0.5)  # it is being started again; the fixture stops that one as well


async def test_a_port_of_somebody_else_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as told:
            await EmbeddedTemporal(tmp_path, port=port).start()
    assert told.value.port == port


async def test_a_broken_database_is_told_in_the_servers_words(tmp_path: Path) -> None:
    (tmp_path / "temporal.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(EmbeddedFault, match="not a database"):
        await EmbeddedTemporal(tmp_path).start()
