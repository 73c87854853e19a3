"""What an option or a setting cannot be is told in the words of the product."""

from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from store import migrate
from tests.support.wording import LEAKED

ADA = ("users", "create", "ada@example.com")


@pytest.fixture
def environment(sqlite_url: str) -> dict[str, str | None]:
    """What a command needs."""
    migrate.upgrade(sqlite_url)
    return {"INTERLOCK_DATABASE_URL": sqlite_url, "INTERLOCK_SECRET_KEY": "k" * 32}


def run(environment: dict[str, str | None], *arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, env={**environment, "TERMINAL_WIDTH": "200", "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*ADA, "--role", "Boss"), "Invalid value for '--role': 'Boss' is not one of 'Admin', 'Member'."),
        (("dev", "--temporal-port", "x"), "Invalid value for '--temporal-port': must be an integer"),
        (
            ("dev", "--temporal-port", "70000"),
            "Invalid value for '--temporal-port': must be less than or equal to 65535",
        ),
        (("dev", "--temporal"), "No such option: --temporal"),
    ],
)
def test_a_wrong_option_is_told(environment: dict[str, str | None], arguments: tuple[str, ...], said: str) -> None:
    told = run(environment, *arguments)
    assert told.exit_code == 2
    assert said in told.stderr
    assert not [word for word in LEAKED if word in told.stderr]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AUDIT_RETENTION", "PT0S", "must be greater than PT0S"),
        ("AUDIT_RETENTION", "P90000D", "must be less than or equal to P100Y"),
        ("WEBHOOK_TIMEOUT", "PT11M", "must be less than or equal to PT10M"),
        ("ACCESS_TOKEN_LIFETIME", "soon", "must be an ISO 8601 duration such as PT30M or P1D"),
        ("PORT", "x", "must be an integer"),
        ("TASK_QUEUE", "", None),
        ("LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        ("PAYLOAD_CODEC", "perhaps", "must be true or false"),
    ],
)
def test_a_wrong_setting_is_told(environment: dict[str, str | None], name: str, value: str, said: str | None) -> None:
    told = run({**environment, f"INTERLOCK_{name}": value}, "migrate")
    if said is None:  # what is empty is not set
        assert told.exit_code == 0
    else:
        assert (told.exit_code, told.stderr) == (1, f"interlock: INTERLOCK_{name} is wrong: it {said}\n")


@pytest.mark.parametrize(
    ("team", "said"),
    [
        ("a/b", r"it must match ^[^\s/]([^/]*[^\s/])?$."),
        (" a", r"it must match ^[^\s/]([^/]*[^\s/])?$."),
        ("", "it must not be empty."),
        ("x" * 101, "it must have at most 100 characters."),
        ("..", "it must not be . or ..: programs that call us take them for places in a path."),
    ],
)
def test_a_team_is_called_as_teams_can_be(environment: dict[str, str | None], team: str, said: str) -> None:
    told = run(environment, *ADA, "--team", "web", "--team", team)
    assert (told.exit_code, told.stderr) == (1, f"interlock: --team {team} is no name of a team: {said}\n")
    made = run(environment, *ADA, "--team", "web", "--team", "site reliability")  # nobody has the address yet
    assert made.exit_code == 0, made.stderr
