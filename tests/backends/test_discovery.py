"""A backend exists by being there: one file in the package, or one entry point of another package."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backends
from domain.documents import Document
from domain.errors import InvalidInvocation, InvalidRequest

ECHO = '''
from typing import Literal

from backends.base import Delivery, InvocationMethod, Receipt, Resources
from backends.webhook import Webhook  # only imported, so not defined here

class Shared(InvocationMethod):
    """Has no type of its own."""

class Echo(Shared):
    type: Literal["{type}"]
    text: str

    async def invoke(self, delivery: Delivery, using: Resources) -> Receipt:
        return Receipt(response=self.text)
'''


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is part of the package, and on the path."""
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def test_one_file_is_a_backend(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "echo.py").write_text(ECHO.format(type="ECHO"))
    (elsewhere / "_hidden.py").write_text(ECHO.format(type="HIDDEN"))

    found = backends.discover()
    assert set(found.methods) == {*backends.METHODS, "ECHO"}
    assert not found.refused

    monkeypatch.setattr(backends, "METHODS", found.methods)
    method = backends.parse({"type": "ECHO", "text": "hi"})
    receipt = await method.invoke(backends.Delivery("r_1", {}), backends.Resources(signing_secret="s"))
    assert receipt.response == "hi"
    assert "ECHO" in backends.schema()["discriminator"]["mapping"]
    assert backends.components()["Echo"]["required"] == ["type", "text"]


class Elsewhere:
    """Packages that are installed beside ours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def install(self, package: str, entry_points: dict[str, str], **modules: str) -> None:
        """A package, as pip leaves it."""
        for module, content in modules.items():
            (self.directory / f"{module}.py").write_text(content)
        info = self.directory / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[interlock.backends]", *lines, ""]))


@pytest.fixture
def installed(elsewhere: Path) -> Elsewhere:
    """The folder on the path; what is in it is not ours."""
    backends.__path__.pop()
    return Elsewhere(elsewhere)


@pytest.mark.parametrize("value", ["their_echo", "their_echo:Echo"])
def test_one_entry_point_is_a_backend(installed: Elsewhere, value: str) -> None:
    installed.install("their-backends", {"echo": value}, their_echo=ECHO.format(type="THEIRS"))

    found = backends.discover()
    assert found.methods["THEIRS"].__module__ == "their_echo"
    assert not found.refused


def test_a_package_may_show_what_its_modules_define(installed: Elsewhere) -> None:
    (installed.directory / "theirs").mkdir()
    (installed.directory / "theirs/__init__.py").write_text("from theirs.echo import Echo, Webhook\n")
    (installed.directory / "theirs/echo.py").write_text(ECHO.format(type="THEIRS"))
    installed.install("their-backends", {"all": "theirs"})

    assert set(backends.discover().methods) == {*backends.METHODS, "THEIRS"}


FIRST = "first of bad-backends 1.0"
UNUSABLE = [
    ("import nothing_like_it", "it cannot be loaded: ModuleNotFoundError: No module named 'nothing_like_it'"),
    ("raise SystemExit(3)", "it cannot be loaded: SystemExit: 3"),
    ("class Broken(", "it cannot be loaded: SyntaxError: '(' was never closed (bad.py, line 1)"),
    ("from backends.webhook import Webhook", "it has no subclass of backends.InvocationMethod whose type is a literal"),
    (ECHO.format(type="echo"), "bad.Echo: the type 'echo' must be capital letters, digits and underscores"),
    (ECHO.format(type="BAD").replace("async def", "def"), "bad.Echo: invoke must be async"),
    (ECHO.format(type="WEBHOOK"), "WEBHOOK is also backends.webhook.Webhook"),
]


@pytest.mark.parametrize(("content", "why"), UNUSABLE, ids=[why for _, why in UNUSABLE])
def test_what_cannot_be_used_is_left_out_alone(
    installed: Elsewhere,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: str,
    why: str,
) -> None:
    installed.install("bad-backends", {"first": "bad"}, bad=content)
    installed.install("good-backends", {"second": "good"}, good=ECHO.format(type="GOOD"))

    found = backends.discover()
    assert found.methods == {**backends.METHODS, "GOOD": found.methods["GOOD"]}
    [refused] = found.refused
    assert (refused.plugin, refused.why) == (FIRST, why)

    monkeypatch.setattr(backends, "METHODS", found.methods)
    monkeypatch.setattr(backends, "REFUSED", found.refused)
    with caplog.at_level(logging.ERROR):
        backends.tell()
    [record] = caplog.records
    assert record.getMessage() == "a backend plugin is not used"
    assert (vars(record)["plugin"], vars(record)["why"]) == (FIRST, why)
    assert bool(record.exc_info) == why.startswith("it cannot be loaded")

    definition: Document = {"type": "BAD", "text": "hi"}
    with pytest.raises(InvalidRequest, match=rf"not used, the log of the start says why: {FIRST}\)"):
        backends.parse(definition)
    with pytest.raises(InvalidInvocation, match=FIRST):
        backends.parse_rendered(definition)


def test_of_a_type_that_two_packages_have_neither_is_used(installed: Elsewhere) -> None:
    installed.install("one", {"echo": "one"}, one=ECHO.format(type="ECHO"))
    installed.install("two", {"echo": "two"}, two=ECHO.format(type="ECHO"))
    installed.install("three", {"echo": "three"}, three=ECHO.format(type="OTHER"))

    found = backends.discover()
    assert set(found.methods) == {*backends.METHODS, "OTHER"}
    assert [(refused.plugin, refused.why) for refused in found.refused] == [
        ("echo of one 1.0", "ECHO is also two.Echo"),
        ("echo of two 1.0", "ECHO is also one.Echo"),
    ]


def test_one_class_under_two_names_is_one_backend(installed: Elsewhere) -> None:
    installed.install("one", {"a": "one", "b": "one:Echo"}, one=ECHO.format(type="ECHO"))

    found = backends.discover()
    assert found.methods["ECHO"].__module__ == "one"
    assert not found.refused


def test_fields_without_a_schema_are_found_at_once(installed: Elsewhere) -> None:
    content = "from collections.abc import Callable\n" + ECHO.format(type="ECHO")
    content = content.replace("text: str", "text: Callable[[], str]")
    installed.install("one", {"echo": "one"}, one=content)

    [refused] = backends.discover().refused
    assert refused.why.startswith("one.Echo: its fields have no JSON schema: ")


def test_classes_may_be_called_like_ours(installed: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ECHO.format(type="THEIRS").replace("class Echo(", "class Webhook(")
    installed.install("one", {"echo": "one"}, one=content.replace("from backends.webhook import Webhook", ""))
    monkeypatch.setattr(backends, "METHODS", backends.discover().methods)

    places = backends.schema()["discriminator"]["mapping"]
    prefix = "#/components/schemas/"
    assert (places["WEBHOOK"], places["THEIRS"]) == (f"{prefix}Webhook", f"{prefix}one.Webhook")
    assert {place.removeprefix(prefix) for place in places.values()} <= set(backends.components())
    assert set(backends.components()["one.Webhook"]["properties"]) == {"type", "text"}


def test_a_type_cannot_be_used_twice(elsewhere: Path) -> None:
    (elsewhere / "second.py").write_text(ECHO.format(type="WEBHOOK"))
    with pytest.raises(RuntimeError, match=r"both backends\.\w+\.\w+ and backends\.\w+\.\w+ are the backend WEBHOOK"):
        backends.discover()
