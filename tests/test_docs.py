"""The documentation says what the code does: compared where it can be, executed where it is code.

Longer than a file should be: it is read page by page, and the README's session at its end is one story.
"""

import asyncio
import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import typer
from pydantic import TypeAdapter
from pydantic_core import PydanticUndefined
from temporalio import workflow

import backends
from api.app import document
from api.errors import STATUS, status_of
from cli.main import app
from domain import errors, incoming_webhooks, rules, scorecards
from domain.encryption import encrypted
from domain.errors import InterlockError
from domain.jq import Evaluator
from domain.runs import MOVES
from domain.signatures import SIGNATURE, sign
from domain.templating import Template
from domain.triggers import SearchCondition
from runtime.azure_devops_settings import AzureDevOpsSettings
from runtime.egress_settings import EgressSettings
from runtime.kafka_settings import KafkaSettings
from runtime.settings import PREFIX, Settings
from runtime.temporal import SEARCH_ATTRIBUTES
from tests.support.processes import Process, eventually, free_ports
from workflows.action_run import ActionRun

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")), *sorted(DOCS.rglob("*.md"))]
SECRET = "0123456789abcdef0123456789abcdef"
SCREEN = 60
PARTS = (KafkaSettings, AzureDevOpsSettings, EgressSettings)
"""Settings that have a class of their own; the table has each of them in one place."""


def text(page: str) -> str:
    """A page of the documentation."""
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def marked(page: str, kind: str) -> dict[str, str]:
    """The fenced blocks that a comment names, in order."""
    found = re.findall(rf"^<!-- {kind}: (\w+) -->\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found, f"no block is marked with {kind}"
    return dict(found)


def rows(page: str) -> Iterator[list[str]]:
    """The rows of all tables, cell by cell."""
    for line in page.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def anchors(page: Path) -> set[str]:
    """What links into the page may name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# What there is has its place.


def documented_default(field: Any) -> str | None:
    """How the table writes the default of a setting; None where it is made of others."""
    match field.default:
        case value if value is PydanticUndefined:
            return None
        case None | ():
            return "none"
        case timedelta() as length:
            return f"`{TypeAdapter(timedelta).dump_python(length, mode='json')}`"
        case bool() as switch:
            return f"`{str(switch).lower()}`"
        case value:
            return f"`{value}`"


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = {
        cells[0].strip("`"): cells[1] for cells in rows(text("operations.md")) if cells[0].startswith(f"`{PREFIX}")
    }
    inherited = [part.model_fields.keys() for part in PARTS]
    own = [name for name in Settings.model_fields if not any(name in part for part in inherited)]
    for names in (*inherited, own):
        variables = [f"{PREFIX}{name}".upper() for name in names]
        assert [name for name in table if name in variables] == variables
    assert len(table) == len(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default = documented_default(field)
        assert default is None or table[f"{PREFIX}{name}".upper()].startswith(default), name


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command and subcommand that does something, by its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word, each in (inner or {}).items():
        yield from commands(each, f"{name} {word}")


def test_every_command_is_described_and_the_options_of_dev_too() -> None:
    found = dict(commands(typer.main.get_command(app), "interlock"))
    assert "interlock users create" in found, "the search can find what is there"
    for name in found:
        assert f"| `{name}` |" in text("operations.md"), name
    for parameter in found["interlock dev"].params:
        assert f"`{parameter.opts[0]}`" in text("operations.md")


def test_every_error_code_is_in_the_table_with_its_status() -> None:
    table = {cells[0].strip("`"): cells[1] for cells in rows(text("runs.md")) if re.fullmatch(r"\d\d\d|4xx", cells[1])}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InterlockError)]
    expected = {kind.code: status_of(kind.__new__(kind)) for kind in kinds if kind is not InterlockError}
    expected |= {InterlockError.code: HTTPStatus.INTERNAL_SERVER_ERROR, "method_not_allowed": HTTPStatus(405)}
    assert len(expected) > len(STATUS)
    assert table == {code: str(int(status)) for code, status in expected.items()} | {"bad_request": "4xx"}


def routes() -> list[str]:
    """Every route that the OpenAPI document has, as `METHOD path`."""
    paths: dict[str, dict[str, Any]] = json.loads(document())["paths"]
    return [f"{method.upper()} {path}" for path, operations in paths.items() for method in operations]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_described(route: str) -> None:
    assert any(re.search(rf"`{re.escape(route)}[`?]", page.read_text(encoding="utf-8")) for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("key", SEARCH_ATTRIBUTES, ids=lambda key: key.name)
def test_every_search_attribute_is_described(key: Any) -> None:
    assert f"| `{key.name}` |" in text("operations.md")


def test_every_signal_is_described() -> None:
    signals = workflow._Definition.must_from_class(ActionRun).signals
    assert {"decide", "cancel"} <= set(signals)
    for name in signals:
        assert f"signal `{name}`" in text("approvals.md") or f"signal, `{name}`" in text("approvals.md"), name


def test_every_status_is_in_the_table_with_where_it_goes() -> None:
    table = {cells[0]: cells[2] for cells in rows(text("runs.md")) if cells[0].strip("`") in MOVES}
    for status, moves in MOVES.items():
        assert set(re.findall(r"`(\w+)`", table[f"`{status}`"])) == set(moves), status


@pytest.mark.parametrize("name", backends.METHODS)
def test_every_backend_is_named(name: str) -> None:
    assert f"`{name}`" in text("webhooks.md") or f'"type": "{name}"' in text("webhooks.md")
    assert backends.METHODS[name].available


# What is written holds.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    content = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", content):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_json_in_the_pages_is_json(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "json"):
        json.loads(block)


def test_the_webhook_at_the_top_of_its_page_is_one() -> None:
    method = backends.parse(json.loads(blocks(text("webhooks.md"), "json")[0]))
    assert method.type == "WEBHOOK"


def test_the_definitions_of_the_catalog_in_their_pages_are_accepted() -> None:
    first = {page: json.loads(blocks(text(page), "json")[0]) for page in ("scorecards.md", "incoming-webhooks.md")}
    assert scorecards.parsed(first["scorecards.md"], blueprint="service").identifier == "readiness"
    assert incoming_webhooks.parsed(first["incoming-webhooks.md"]).title == "GitHub"
    query, request = (json.loads(block) for block in blocks(text("search.md"), "json"))
    assert len(rules.parsed(query, dialect=rules.SEARCH).rules) == 3
    assert rules.parsed(request["relations"]["service"], dialect=rules.SEARCH)
    [condition] = [json.loads(block) for block in blocks(text("actions.md"), "json") if '"SEARCH"' in block]
    assert SearchCondition.model_validate(condition).query().rules


@pytest.mark.parametrize("number", range(1, len(DECISIONS) + 1))
def test_a_decision_is_one_screen_with_its_three_parts(number: int) -> None:
    record = DECISIONS[number - 1]
    content = record.read_text(encoding="utf-8")
    assert record.name.startswith(f"{number:04}-")
    assert content.startswith(f"# {number:04}. ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", content, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(content.splitlines()) <= SCREEN


def test_every_test_that_a_guarantee_names_exists() -> None:
    named = re.findall(r"`(tests/\S+)::(\w+)`", text("guarantees.md"))
    assert len(named) > 10
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_picture_is_one_a_reader_can_wait_for() -> None:
    picture = (DOCS / "images/run.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 400_000


# What is code runs.


def test_the_python_sample_verifies_what_we_sign() -> None:
    scope: dict[str, Any] = {}
    exec(marked(text("webhooks.md"), "python")["verify"], scope)  # noqa: S102 - our own page
    body = '{"a":"ü"}'.encode()
    headers = sign(SECRET, body, datetime.now(UTC))
    old = sign(SECRET, body, datetime.now(UTC) - timedelta(minutes=6))

    assert scope["is_genuine"](SECRET, headers, body)
    assert not scope["is_genuine"](SECRET, headers, body + b" ")
    assert not scope["is_genuine"](SECRET, old, body)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js here")
def test_the_javascript_sample_verifies_what_we_sign() -> None:
    body = '{"a":"ü"}'.encode()
    headers = {name.lower(): value for name, value in sign(SECRET, body, datetime.now(UTC)).items()}
    given = f"{json.dumps(SECRET)}, {json.dumps(headers)}"
    asked = [
        f"isGenuine({given}, Buffer.from({json.dumps(base64.b64encode(sent).decode())}, 'base64'))"
        for sent in (body, b"{}")
    ]
    program = f"{marked(text('webhooks.md'), 'js')['verify']}\nconsole.log({', '.join(asked)})"
    answer = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["true", "false"]


def test_the_vector_in_the_page_is_ours() -> None:
    assert sign(SECRET, b"{}", datetime.fromtimestamp(1700000000, UTC))[SIGNATURE] in text("webhooks.md")


def test_the_sample_decrypts_a_secret_input() -> None:
    scope: dict[str, Any] = {}
    exec(marked(text("actions.md"), "python")["decrypt"], scope)  # noqa: S102 - our own page
    sealed = encrypted({"password": "aes256-gcm"}, {"password": "hush"}, client_secret=SECRET)
    assert scope["decrypt"](SECRET, sealed["password"]) == "hush"


def test_the_credentials_can_be_had_as_the_page_says(sqlite_url: str) -> None:
    assert "api interlock credentials" in text("operations.md")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        f"{PREFIX}DATABASE_URL": sqlite_url,
        f"{PREFIX}SECRET_KEY": SECRET,
    }
    command = [sys.executable, "-m", "cli.main", "credentials"]
    said = [subprocess.check_output(command, text=True, env=environment, cwd=ROOT) for _ in range(2)]
    assert said[0] == said[1], "they are made once"
    assert [line.partition("=")[0] for line in said[0].splitlines()] == ["CLIENT_ID", "CLIENT_SECRET"]


async def test_every_golden_case_in_the_page_renders_as_it_says(evaluate: Evaluator) -> None:
    page = text("webhooks.md")
    context = json.loads(re.search(r"With the context `(.*)`:", page)[1])  # type: ignore[index]
    table = page.partition("<!-- golden -->")[2].partition("\n\n")[0]
    cases = [[json.loads(cell.strip("`")) for cell in cells] for cells in rows(table) if cells[0].startswith("`")]
    assert len(cases) > 10
    for written, expected in cases:
        assert (await Template.parse(written).rendered(context, evaluate, secrets=None)).value == expected, written


# The README, as pasted.


class Shell:
    """One bash in which blocks run one after the other, as in a terminal."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._how: dict[str, Any] = {"cwd": directory, "env": environment}

    async def __aenter__(self) -> Self:
        self._bash = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "--noprofile"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=2**20,
            **self._how,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        await self._bash.wait()

    async def __call__(self, block: str) -> str:
        """Run the block; what it prints."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{\n{block}\n}} < /dev/null\nprintf '\\n-- %s\\n' end\n".encode())
        return (await self._bash.stdout.readuntil(b"\n-- end\n")).removesuffix(b"\n-- end\n").decode().strip()


def checkout(directory: Path, api: int, temporal: int, ui: int, backend: int) -> Path:
    """What the README's commands find in a checkout, with other ports; where `scripts/dev` is."""
    shutil.copytree(ROOT / "examples", directory / "examples")
    for file in (directory / "examples").glob("*.json"):
        file.write_text(file.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{backend}"))
    (directory / ".venv/bin").mkdir(parents=True)
    (directory / ".venv/bin/temporal").symlink_to(Path(sys.prefix, "bin/temporal"))
    dev = directory / "scripts/dev"
    dev.parent.mkdir()
    here, root, python = (shlex.quote(str(place)) for place in (directory, ROOT, sys.executable))
    product = f"#!/bin/sh\ncd {here}\nPYTHONPATH={root} exec {python} -m cli.main"
    dev.write_text(f"{product} dev --api-port {api} --temporal-port {temporal} --temporal-ui-port {ui}\n")
    (directory / ".venv/bin/interlock").write_text(f'{product} "$@"\n')
    for script in (dev, directory / ".venv/bin/interlock"):
        script.chmod(0o755)
    return dev


@pytest.mark.whole
@pytest.mark.timeout(240)
async def test_the_commands_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    block = marked((ROOT / "README.md").read_text(encoding="utf-8"), "runs")
    assert list(block) == ["backend", "token", "hello", "catalog", "person", "approval", "kill", "signal"]
    ports = free_ports(4)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    dev = Process("dev", (str(checkout(tmp_path, *ports)),), environment, tmp_path / "dev.out")
    asked = block["backend"].replace("examples/backend.py", f"examples/backend.py {ports[3]}")
    backend = Process("backend", ("bash", "-c", f"cd {tmp_path}\n{asked}"), environment, tmp_path / "backend.out")
    assert block["kill"].count('kill -9 $(pgrep -of "cli.main dev")') == 1

    try:
        kill = f"kill -9 {await started(dev, ports[0])}"
        backend.start()
        async with Shell(tmp_path, environment) as shell, httpx.AsyncClient() as http:
            await shell(block["token"])
            http.base_url = httpx.URL(await shell("echo $BASE_URL"))
            http.headers["Authorization"] = "Bearer " + await shell("echo $TOKEN")

            async def ended() -> dict[str, Any] | None:
                answer = await http.get("/v1/actions/runs/" + await shell("echo $RUN"))
                run: dict[str, Any] = answer.json()["run"]
                return run if run["endedAt"] else None

            await shell(block["hello"])
            hello = await eventually("the greeting", ended)
            await shell(block["catalog"])
            service = (await http.get("/v1/blueprints/service/entities/checkout")).json()["entity"]
            await shell(block["person"])
            await shell(block["approval"])
            approved = await eventually("the approved rollback", ended)
            await shell(block["kill"].replace('kill -9 $(pgrep -of "cli.main dev")', kill))
            await eventually("the kill", gone(dev))
            await started(dev, ports[0])
            signalled = await shell(block["signal"])
            again = await eventually("the rollback after the crash", ended)
            decided = (await http.get(f"/v1/actions/runs/{again['id']}/approvers")).json()["approvers"]
    except BaseException as error:
        error.add_note(dev.last_words())
        error.add_note(backend.last_words())
        raise
    finally:
        await backend.kill()
        await dev.kill()

    assert (hello["status"], hello["response"]) == ("SUCCESS", {"greeting": "Hello, Ada!"})
    assert (service["title"], service["properties"]["tier"]) == ("Checkout", 1)
    assert (approved["status"], approved["approval"]["description"]) == ("SUCCESS", "Go ahead")
    assert signalled.startswith("WAITING_FOR_APPROVAL")
    assert again["status"] == "SUCCESS"
    assert again["id"] != approved["id"]
    assert [one["state"] for one in decided] == ["APPROVED"]
    printed = (tmp_path / "backend.out").read_text()
    assert printed.count("POST /hello, signature right") == 1
    assert printed.count("POST /rollback, signature right") == 2
    assert printed.count('"service":"checkout","tier":1,') == 2


async def started(dev: Process, port: int) -> int:
    """Start it; the id of its process, once it answers."""
    dev.start()
    async with httpx.AsyncClient() as http:

        async def ready() -> int | None:
            answer = await http.get(f"http://127.0.0.1:{port}/readyz")
            return answer.status_code if answer.status_code == HTTPStatus.OK else None

        await eventually("interlock dev answers", ready, within=90)
    assert dev._child is not None
    return dev._child.pid


def gone(dev: Process) -> Callable[[], Awaitable[bool | None]]:
    """Whether the process has ended, to wait for it."""

    async def look() -> bool | None:
        return None if dev.is_running else True

    return look
