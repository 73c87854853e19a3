"""The `interlock` command: what there is to run, and with which options."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it from a checkout with an older Python is told so
    sys.exit(f"interlock: Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")

# After the check: an older Python has neither StrEnum nor our packages.
import asyncio
import gc
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# Nothing that is imported is garbage; to look for some in it takes a fifth of the time. See `cli.start.loaded`.
gc.disable()


class Commands(TyperGroup):
    """The commands. What an option must be is told in the product's own words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as refusal:
            from pydantic import ValidationError

            from domain.expectations import expected

            if isinstance(refusal.__cause__, ValidationError):
                refusal.message = expected(refusal.__cause__.errors()[0])
            raise


app = typer.Typer(
    name="interlock",
    cls=Commands,
    help="Self-service actions and automations; every run is one durable workflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it prints local variables, and those hold secrets
)
users = typer.Typer(no_args_is_help=True, help="The people and machines of the organization.")
app.add_typer(users, name="users")
audit = typer.Typer(no_args_is_help=True, help="The audit log.")
app.add_typer(audit, name="audit")
secrets = typer.Typer(no_args_is_help=True, help="What is encrypted in SQL.")
app.add_typer(secrets, name="secrets")


class Role(StrEnum):
    """What somebody may do in the organization."""

    ADMIN = "Admin"
    MEMBER = "Member"


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Take the database and the key of the `interlock dev` that uses this directory."),
]


@app.command()
def dev(
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.", envvar="INTERLOCK_DATA_DIR")] = Path(
        ".interlock"
    ),
    host: Annotated[str, typer.Option(help="The address to listen on.", envvar="INTERLOCK_HOST")] = "127.0.0.1",
    api_port: Annotated[
        int, typer.Option(help="0 takes a free one.", envvar="INTERLOCK_PORT", min=0, max=65535)
    ] = 8080,
    temporal_port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 7233,
    temporal_ui_port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8233,
) -> None:
    """Run everything in one process tree: Temporal with its Web UI, SQLite, API, worker and relay."""
    from cli.dev import Ports, start
    from cli.errors import told

    with told():
        start(data_dir, host, Ports(api_port, temporal_port, temporal_ui_port))


@app.command()
def api(data_dir: DataDir = None) -> None:
    """Serve the HTTP API (production: any number of these)."""
    from api.serve import serve
    from cli.errors import told
    from cli.loop import run_until_stopped
    from cli.start import started

    with told():
        settings = started(data_dir)
        run_until_stopped(lambda stop: serve(settings, stop=stop))


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run workflows and their activities, and the relay (production: any number of these)."""
    from cli.errors import told
    from cli.loop import run_until_stopped
    from cli.start import started
    from worker.main import run

    with told():
        settings = started(data_dir)
        run_until_stopped(lambda stop: run(settings, stop))


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the shape this version needs; safe to run again."""
    from cli.errors import told
    from cli.start import migrated, started

    with told():
        migrated(started(data_dir))


@app.command()
def credentials(data_dir: DataDir = None) -> None:
    """Print the organization's client id and secret; made at the first start, and the same ever after."""
    from cli import processes
    from cli.errors import told
    from cli.start import started

    with told():
        client_id, client_secret = asyncio.run(processes.credentials(started(data_dir)))
    typer.echo(f"CLIENT_ID={client_id}\nCLIENT_SECRET={client_secret}")


@users.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="Who it is.")],
    role: Annotated[list[Role] | None, typer.Option(help="May be repeated; Member when none is given.")] = None,
    team: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    first_name: Annotated[str, typer.Option()] = "",
    last_name: Annotated[str, typer.Option()] = "",
    data_dir: DataDir = None,
) -> None:
    """Add a user and print the client id and secret it gets tokens with."""
    from cli import processes
    from cli.errors import told
    from cli.start import started

    with told():
        settings = started(data_dir)
        client_id, client_secret = asyncio.run(
            processes.create_user(
                settings,
                email,
                roles=role or [Role.MEMBER],
                teams=team or [],
                first_name=first_name,
                last_name=last_name,
            )
        )
    typer.echo(f"CLIENT_ID={client_id}\nCLIENT_SECRET={client_secret}")


@audit.command("purge")
def purge_audit(
    older_than: Annotated[str, typer.Option(help="A duration in ISO 8601, such as P90D.")],
    data_dir: DataDir = None,
) -> None:
    """Delete the audit records that are older, and print how many; what is waited for stays."""
    from cli import processes
    from cli.errors import told
    from cli.start import started

    with told():
        age = processes.duration("--older-than", older_than)
        deleted = asyncio.run(processes.purge_audit(started(data_dir), older_than=age))
    typer.echo(f"{deleted} deleted")


@secrets.command("rotate")
def rotate_secrets(data_dir: DataDir = None) -> None:
    """Encrypt what is stored again with the newest key, and print how much; then older keys are not needed for it."""
    from cli.errors import CannotStart, told
    from cli.rotation import rotate_secrets as rotate
    from cli.start import started

    with told():
        done = asyncio.run(rotate(started(data_dir)))
        typer.echo(f"{done.renewed} encrypted again, {done.current} had the newest key already")
        if done.unreadable:
            names = ", ".join(done.unreadable)
            raise CannotStart(f"no configured key opens these, and they stay as they are: {names}.")


if __name__ == "__main__":
    app(prog_name="interlock")
