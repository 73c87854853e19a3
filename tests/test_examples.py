"""The examples: definitions that are accepted, and a backend that knows our signature."""

import json
import runpy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import backends
from domain import actions, blueprints
from domain.documents import Document
from domain.signatures import SIGNATURE, TIMESTAMP, sign

EXAMPLES = Path(__file__).parents[1] / "examples"
SECRET = "a client secret of sufficient length"
Signed = Callable[[str, bytes, str, str], bool]


def example(name: str) -> Document:
    """The document in the file."""
    document: Document = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def signed() -> Signed:
    """How the example backend checks a signature."""
    found: Signed = runpy.run_path(str(EXAMPLES / "backend.py"))["signed"]
    return found


@pytest.mark.parametrize("name", ["deploy", "hello", "publish", "rollback"])
def test_an_action_is_accepted_under_the_name_of_its_file(name: str) -> None:
    definition = actions.Definition.parse(example(name))
    assert definition.identifier == name
    assert backends.parse(definition.invocation_method).available


def test_a_blueprint_is_accepted_under_the_name_of_its_file() -> None:
    assert blueprints.parsed(example("service")).identifier == "service"


def test_there_are_no_others() -> None:
    names = {"deploy", "hello", "publish", "rollback", "service"}
    assert {file.stem for file in EXAMPLES.glob("*.json")} == names


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
