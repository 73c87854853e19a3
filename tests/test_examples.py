"""The examples: definitions that are accepted, and a backend that knows our signature."""

import json
import runpy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import backends
from domain.actions import Definition
from domain.signatures import SIGNATURE, TIMESTAMP, sign

EXAMPLES = Path(__file__).parents[1] / "examples"
SECRET = "a client secret of sufficient length"
Signed = Callable[[str, bytes, str, str], bool]


@pytest.fixture(scope="module")
def signed() -> Signed:
    """How the example backend checks a signature."""
    found: Signed = runpy.run_path(str(EXAMPLES / "backend.py"))["signed"]
    return found


def test_there_are_examples() -> None:
    assert {"hello.json", "rollback.json"} <= {file.name for file in EXAMPLES.glob("*.json")}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.json")), ids=lambda file: file.name)
def test_an_example_is_accepted_under_the_name_of_its_file(file: Path) -> None:
    definition = Definition.parse(json.loads(file.read_text(encoding="utf-8")))
    assert definition.identifier == file.stem
    assert backends.parse(definition.invocation_method).available


def test_the_backend_accepts_what_we_sign_and_nothing_else(signed: Signed) -> None:
    headers = sign(SECRET, b'{"a":1}', datetime.now(UTC))
    timestamp, signature = headers[TIMESTAMP], headers[SIGNATURE]

    assert signed(SECRET, b'{"a":1}', timestamp, signature)
    assert not signed(SECRET, b'{"a":2}', timestamp, signature)
    assert not signed("another secret", b'{"a":1}', timestamp, signature)
    assert not signed(SECRET, b'{"a":1}', timestamp, "")


def test_the_backend_refuses_what_is_old(signed: Signed) -> None:
    headers = sign(SECRET, b"{}", datetime.now(UTC) - timedelta(minutes=6))
    assert not signed(SECRET, b"{}", headers[TIMESTAMP], headers[SIGNATURE])
