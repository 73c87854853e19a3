"""`interlock dev`: everything in one process tree over one data directory."""

import asyncio
import fcntl
import os
import secrets
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer

from cli.errors import CannotStart
from cli.loop import run_until_stopped
from cli.start import loaded, migrated
from runtime import keys, logs
from runtime.embedded import NAMESPACE, EmbeddedTemporal
from runtime.ports import PortInUse, listening
from runtime.settings import KEY_FILE, PREFIX, Settings, for_data_dir, http_url

ENVIRONMENT_FILE = "dev.env"
LOCK_FILE = "lock"


class Ports(NamedTuple):
    """Where things listen; 0 takes a free port."""

    api: int
    temporal: int
    temporal_ui: int

    def option(self, port: int) -> str:
        """The option that chose this port."""
        return f"--{self._fields[self.index(port)].replace('_', '-')}-port"


def start(directory: Path, host: str, ports: Ports) -> None:
    """Run until Ctrl-C or SIGTERM.

    Raises:
        cli.errors.CannotStart and the other expected problems: what is in the way, in one sentence.
    """
    chosen = [port for port in ports if port]
    if len(set(chosen)) < len(chosen):
        raise CannotStart("--api-port, --temporal-port and --temporal-ui-port must differ.")
    with _owned(directory):
        try:
            with listening(host, ports.api) as listener:
                settings = _settings(directory, host, listener.getsockname()[1])
                logs.configure(settings)
                run_until_stopped(partial(_run, settings, listener, ports))
        except PortInUse as problem:
            option = ports.option(problem.port)
            raise CannotStart(
                f"port {problem.port} is in use; choose another with {option}, or {option} 0 for a free one."
            ) from None


async def _run(settings: Settings, listener: socket.socket, ports: Ports, stop: asyncio.Event) -> None:
    temporal = EmbeddedTemporal(settings.data_dir, host=settings.host, port=ports.temporal, ui_port=ports.temporal_ui)
    async with temporal:
        from cli.processes import credentials, embedded

        loaded()  # before migrations, which may go over many rows
        # In a thread: migrations run on a loop of their own.
        await asyncio.to_thread(migrated, settings)
        client_id, client_secret = await credentials(settings)
        _only(temporal.address, settings.data_dir)
        reachable = http_url(settings.host, settings.port)
        values = {
            "BASE_URL": reachable,
            "CLIENT_ID": client_id,
            "CLIENT_SECRET": client_secret,
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_UI_URL": temporal.ui_url,
            "WEB_URL": reachable,
        }
        file = settings.data_dir / ENVIRONMENT_FILE
        _write(file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        await embedded(settings, sockets=[listener], stop=stop, on_ready=lambda: typer.echo(_banner(file, values)))


@contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """The data directory, made when it is missing, and nobody else's until the end."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / LOCK_FILE).open("wb")
    except FileExistsError:
        raise CannotStart(
            f"the data directory {directory} is not a directory; choose another with --data-dir."
        ) from None
    except OSError as problem:
        raise CannotStart(
            f"the data directory {directory} cannot be used ({problem.strerror}); choose another with --data-dir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another interlock dev is using {directory}; stop it, or choose another directory with --data-dir."
            ) from None
        yield


def _settings(directory: Path, host: str, port: int) -> Settings:
    environment: Mapping[str, str] = {
        f"{PREFIX}LOG_FORMAT": "text",
        f"{PREFIX}LOG_LEVEL": "warning",
        f"{PREFIX}PUBLIC_URL": http_url(host, port),
        f"{PREFIX}ALLOW_LOOPBACK_DESTINATIONS": "true",
        **os.environ,
        f"{PREFIX}HOST": host,
        f"{PREFIX}PORT": str(port),
    }
    # What a run before left behind names ports that may be others' by now.
    file = directory / ENVIRONMENT_FILE
    try:
        file.unlink(missing_ok=True)
    except OSError as problem:
        raise CannotStart(
            f"{file} cannot be replaced ({problem.strerror}); remove it, or choose another directory with --data-dir."
        ) from None
    if not environment.get(f"{PREFIX}SECRET_KEY"):
        keys.load_or_create(directory / KEY_FILE)
    return for_data_dir(directory.absolute(), environment)


def _only(address: str, directory: Path) -> None:
    """Make this process a client of the embedded Temporal and of no other, whatever its environment says."""
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        del os.environ[name]
    # A file that is not there, so that no profile in the home directory adds TLS or an API key.
    os.environ["TEMPORAL_CONFIG_FILE"] = str(directory / "temporal.toml")
    os.environ["TEMPORAL_ADDRESS"] = address
    os.environ["TEMPORAL_NAMESPACE"] = NAMESPACE


def _write(path: Path, text: str) -> None:
    """Write the file at once and for its owner only: it holds a secret."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _banner(file: Path, values: Mapping[str, str]) -> str:
    width = max(map(len, values))
    listed = "\n".join(f"  {name:{width}}  {value}" for name, value in values.items())
    return f"""
Interlock is ready; Ctrl-C stops it, the next start goes on where it stopped.

{listed}

The same is in {file}. Try next, in another terminal:

  . {shlex.quote(str(file))}; TOKEN=$(curl -sS "$BASE_URL/v1/auth/access_token" -H "content-type: application/json" \\
      -d '{{"clientId":"'"$CLIENT_ID"'","clientSecret":"'"$CLIENT_SECRET"'"}}' | grep -o '[^"]*\\.[^"]*\\.[^"]*')

  curl -sS "$BASE_URL/v1/actions" -H "authorization: Bearer $TOKEN" -H "content-type: application/json" \\
      -d @examples/hello.json

  curl -sS "$BASE_URL/v1/actions/hello/runs" -H "authorization: Bearer $TOKEN" -H "content-type: application/json" \\
      -d '{{"properties":{{}}}}'
"""
