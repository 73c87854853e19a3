"""The product for tests as real processes: each is killed with SIGKILL and started again, none outlives its test."""

import asyncio
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import pytest
from dotenv import dotenv_values
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from cli.processes import credentials
from runtime import keeper
from runtime.embedded import DEV_SERVER_FLAGS, FILE_FLAGS, SEARCH_ATTRIBUTE_FLAGS
from runtime.settings import Settings
from store import migrate

psutil = pytest.importorskip("psutil")

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
_INTERLOCK = (sys.executable, "-m", "cli.main")
_LAST_WORDS = 6000

Found = TypeVar("Found")


async def eventually(what: str, look: Callable[[], Awaitable[Found | None]], *, within: float = 60) -> Found:
    """What `look` finds, once it is not None; outages while it looks only cost time."""
    deadline, problem = time.monotonic() + within, ""
    while True:
        try:
            if (found := await look()) is not None:
                return found
        except (httpx.TransportError, RPCError, RuntimeError, OSError) as outage:
            problem = f" ({type(outage).__name__}: {outage})"
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}{problem}"
        await asyncio.sleep(0.05)


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on, from below those that outgoing connections take: they stay free between two starts."""
    found: list[int] = []
    while len(found) < number:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex((LOOPBACK, port)) != 0:
                found.append(port)
    return found


def dying_with_us() -> Callable[[], None] | None:
    """What a child does before its command begins, so that it is killed when this process ends, however it ends.

    For children that the main thread starts. None where the system has nothing of the kind.
    """
    return keeper._die_with_parent() if sys.platform == "linux" else None


class Process:
    """One child with its output in a file; it does not outlive whoever started it, even one that is killed."""

    def __init__(self, name: str, command: tuple[str, ...], environment: Mapping[str, str], output: Path) -> None:
        self.name = name
        self._command, self._environment, self._output = command, environment, output
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it, again if it was killed."""
        assert not self.is_running, f"{self.name} runs already"
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_us(),
            )

    async def kill(self) -> None:
        """SIGKILL to this one process; it is gone when this returns."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._child.wait)

    def children(self) -> list[Any]:
        """What it has started itself, at any depth."""
        if not self.is_running or self._child is None:
            return []
        found: list[Any] = psutil.Process(self._child.pid).children(recursive=True)
        return found

    def last_words(self) -> str:
        """The end of what it wrote."""
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        return f"--- {self.name} ---\n{text[-_LAST_WORDS:]}"


class Stack:
    """Processes that make up the product, over one data directory and its SQLite file or another database."""

    def __init__(self, directory: Path, database_url: str = "") -> None:
        self.directory = directory
        self.database_url = database_url or f"sqlite:///{directory / 'interlock.db'}"
        self.processes: dict[str, Process] = {}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONUNBUFFERED": "1",
            "INTERLOCK_LOG_FORMAT": "text",
            "INTERLOCK_LOG_LEVEL": "info",
        }
        self._children: list[Any] = []

    @property
    def url(self) -> str:
        """Where the API is."""
        raise NotImplementedError

    @property
    def temporal_address(self) -> str:
        """Where Temporal is."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """What the processes are configured with."""
        raise NotImplementedError

    async def open(self) -> None:
        """Start everything."""
        raise NotImplementedError

    async def start(self, name: str) -> None:
        """Start one process (again); it answers when this returns."""
        raise NotImplementedError

    async def kill(self, name: str) -> None:
        """SIGKILL one process."""
        process = self.processes[name]
        self._children += process.children()
        await process.kill()

    async def __aenter__(self) -> Self:
        """Start everything."""
        try:
            await self.open()
        except BaseException as error:
            await self._end(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill everything; what the processes said goes with the failure."""
        await self._end(error)

    async def _end(self, error: BaseException | None) -> None:
        for name in self.processes:
            await self.kill(name)
        _, left = await asyncio.to_thread(psutil.wait_procs, self._children, 10)
        for process in left:
            process.kill()
        if error is not None:
            for one in self.processes.values():
                error.add_note(one.last_words())
        else:
            assert not left, f"these outlived whoever started them: {left}"

    async def temporal(self) -> Client:
        """A client of the stack's Temporal, once it answers."""

        async def connected() -> Client:
            return await Client.connect(self.temporal_address, data_converter=pydantic_data_converter)

        return await eventually("temporal answers", connected)

    async def answers(self, path: str = "/readyz") -> None:
        """Wait until the API says 200 there."""
        # To read all the certificates of the world, which nobody shows here, takes longer than to ask.
        async with httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as http:

            async def asked() -> bool | None:
                return (await http.get(self.url + path)).status_code == 200 or None

            await eventually(f"{path} answers 200", asked)

    def _add(self, name: str, *command: str) -> None:
        self.processes[name] = Process(name, command, self.environment, self.directory / f"{name}.out")


class Parts(Stack):
    """A Temporal server, the API and a worker, each by itself: `temporal`, `api`, `worker`."""

    def __init__(self, directory: Path, database_url: str = "", **settings: str) -> None:
        super().__init__(directory, database_url)
        self._api_port, self._temporal_port = free_ports(2)
        self.environment |= {
            "INTERLOCK_DATABASE_URL": self.database_url,
            "INTERLOCK_SECRET_KEY": "a master key for tests, long enough",
            "INTERLOCK_PORT": str(self._api_port),
            "INTERLOCK_ALLOW_LOOPBACK_DESTINATIONS": "true",
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": "default",
            **{f"INTERLOCK_{name.upper()}": value for name, value in settings.items()},
        }
        self._add(
            "temporal",
            *(str(Path(sys.prefix, "bin", "temporal")), "server", "start-dev", "--headless", "--log-level", "error"),
            *("--ip", LOOPBACK, "--port", str(self._temporal_port)),
            *("--db-filename", str(directory / "temporal.db"), *FILE_FLAGS),
            *(*DEV_SERVER_FLAGS, *SEARCH_ATTRIBUTE_FLAGS),
        )
        self._add("api", *_INTERLOCK, "api")
        self._add("worker", *_INTERLOCK, "worker")

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{LOOPBACK}:{self._api_port}"

    @property
    def temporal_address(self) -> str:
        """Where Temporal is."""
        return f"{LOOPBACK}:{self._temporal_port}"

    @property
    def settings(self) -> Settings:
        """What the processes are configured with."""
        return Settings.from_environment(self.environment)

    async def open(self) -> None:
        """Start everything."""
        self.processes["temporal"].start()
        await asyncio.to_thread(migrate.upgrade, self.database_url)
        await credentials(self.settings)
        self.processes["worker"].start()
        self.processes["api"].start()
        await self.answers()

    async def start(self, name: str) -> None:
        """Start one process (again); it answers when this returns, the worker whenever it is ready."""
        self.processes[name].start()
        match name:
            case "api":
                await self.answers("/healthz")
            case "temporal":
                await self.temporal()


class Dev(Stack):
    """`interlock dev`: everything in one process tree, called `dev`."""

    def __init__(self, directory: Path, **settings: str) -> None:
        super().__init__(directory)
        self.environment |= {f"INTERLOCK_{name.upper()}": value for name, value in settings.items()}
        self._add(
            "dev",
            *(*_INTERLOCK, "dev", "--data-dir", str(directory)),
            *("--api-port", "0", "--temporal-port", "0", "--temporal-ui-port", "0"),
        )

    @property
    def url(self) -> str:
        """Where the API is; another port after every start."""
        return self._said("BASE_URL")

    @property
    def temporal_address(self) -> str:
        """Where Temporal is; another port after every start."""
        return self._said("TEMPORAL_ADDRESS")

    @property
    def settings(self) -> Settings:
        """What the process is configured with."""
        return Settings.from_environment(
            {
                **self.environment,
                "INTERLOCK_DATABASE_URL": self.database_url,
                "INTERLOCK_SECRET_KEY": (self.directory / "secret.key").read_text().strip(),
            }
        )

    async def open(self) -> None:
        """Start everything."""
        await self.start("dev")

    async def start(self, name: str) -> None:
        """Start it (again); it answers when this returns."""
        (self.directory / "dev.env").unlink(missing_ok=True)
        self.processes[name].start()
        await self.answers()

    def server(self) -> Any:
        """The process of the Temporal server in the tree."""
        [server] = [child for child in self.processes["dev"].children() if child.name() == "temporal"]
        return server

    def _said(self, name: str) -> str:
        file = self.directory / "dev.env"
        if not file.exists():
            raise OSError(f"{file.name} is not there yet")
        return dotenv_values(file)[name] or ""
