"""A backend exists by being there: one file in the package, or one entry point of another distribution."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backends

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
    assert set(found) == {*backends.METHODS, "ECHO"}

    monkeypatch.setattr(backends, "METHODS", found)
    method = backends.parse({"type": "ECHO", "text": "hi"})
    receipt = await method.invoke(backends.Delivery("r_1", {}), backends.Resources(signing_secret="s"))
    assert receipt.response == "hi"
    assert "ECHO" in backends.schema()["discriminator"]["mapping"]
    assert backends.components()["Echo"]["required"] == ["type", "text"]


@pytest.mark.parametrize("value", ["their_echo", "their_echo:Echo"])
def test_one_entry_point_is_a_backend(elsewhere: Path, value: str) -> None:
    (elsewhere / "their_echo.py").write_text(ECHO.format(type="THEIRS"))
    backends.__path__.pop()  # it is their module, not one of ours
    theirs = elsewhere / "their_backends-1.0.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.1\nName: their-backends\nVersion: 1.0\n")
    (theirs / "entry_points.txt").write_text(f"[interlock.backends]\necho = {value}\n")

    assert backends.discover()["THEIRS"].__module__ == "their_echo"


def test_a_type_cannot_be_used_twice(elsewhere: Path) -> None:
    (elsewhere / "second.py").write_text(ECHO.format(type="WEBHOOK"))
    with pytest.raises(RuntimeError, match=r"both backends\.\w+\.\w+ and backends\.\w+\.\w+ are the backend WEBHOOK"):
        backends.discover()
