"""Settings come from a mapping; what is wrong is told by the variable's name and without its value."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from runtime import keys, logs
from runtime.settings import KEY_FILE, InvalidSettings, Settings, for_data_dir

KEY = "k" * 32


def test_every_setting_has_a_default() -> None:
    settings = Settings.from_environment({})
    assert settings.public_url == "http://127.0.0.1:8080"
    assert settings.database_url == f"sqlite:///{Path.cwd() / '.interlock' / 'interlock.db'}"
    assert settings.access_token_lifetime == timedelta(hours=3)
    assert (settings.allow_private_destinations, settings.allow_loopback_destinations) == (True, False)


def test_the_environment_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_TASK_QUEUE", "elsewhere")
    assert Settings.from_environment({}).task_queue == "interlock"
    assert Settings.from_environment({"INTERLOCK_TASK_QUEUE": "here"}).task_queue == "here"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@db/i", "postgresql+asyncpg://u:p@db/i"),
        ("postgres://u:p@db/i", "postgresql+asyncpg://u:p@db/i"),
        ("sqlite:////var/i.db", "sqlite:////var/i.db"),
        ("postgresql+asyncpg://u:p@db/i", "postgresql+asyncpg://u:p@db/i"),
    ],
)
def test_database_addresses_get_our_drivers(given: str, used: str) -> None:
    assert Settings.from_environment({"INTERLOCK_DATABASE_URL": given}).database_url == used


def test_durations_are_iso_8601_or_seconds() -> None:
    assert Settings.from_environment({"INTERLOCK_AUDIT_RETENTION": "P90D"}).audit_retention == timedelta(days=90)
    for value in ("PT1M30S", "90"):
        settings = Settings.from_environment({"INTERLOCK_WEBHOOK_TIMEOUT": value})
        assert settings.webhook_timeout == timedelta(seconds=90)


def test_lists_are_separated_by_commas() -> None:
    settings = Settings.from_environment(
        {"INTERLOCK_NEVER_DESTINATIONS": "10.0.0.0/8, intranet", "INTERLOCK_PREVIOUS_SECRET_KEYS": f"{KEY}1,{KEY}2"}
    )
    assert settings.never_destinations == ("10.0.0.0/8", "intranet")
    assert [key.get_secret_value() for key in settings.previous_secret_keys] == [f"{KEY}1", f"{KEY}2"]


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert Settings.from_environment({"INTERLOCK_PREVIOUS_SECRET_KEYS": "", "INTERLOCK_PORT": ""}).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INTERLOCK_PORT", "wrong-value"),
        ("INTERLOCK_PORT", "70000"),
        ("INTERLOCK_DATABASE_URL", "mysql://wrong-value"),
        ("INTERLOCK_SECRET_KEY", "wrong-value"),
        ("INTERLOCK_PREVIOUS_SECRET_KEYS", f"{KEY},wrong-value"),
        ("INTERLOCK_JQ_TIME_LIMIT", "-1"),
        ("INTERLOCK_AUDIT_RETENTION", "wrong-value"),
        ("INTERLOCK_AUDIT_RETENTION", "P0D"),
        ("INTERLOCK_AUDIT_RETENTION", "90"),
        ("INTERLOCK_AUDIT_RETENTION", "P40000D"),
        ("INTERLOCK_LOG_LEVEL", "wrong-value"),
        ("INTERLOCK_PUBLIC_URL", "wrong-value"),
        ("INTERLOCK_PAYLOAD_CODEC", "wrong-value"),
        ("INTERLOCK_SLACK_API_URL", "ftp://wrong-value"),
        ("INTERLOCK_TEAMS_SECURITY_TOKEN", "wrong-value!"),
        ("INTERLOCK_GITLAB_WEBHOOK_SECRET", "whsec_wrong-value!"),
        ("INTERLOCK_TEAMS_GRAPH_URL", "wrong-value"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence_without_it(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as told:
        Settings.from_environment({name: value})
    assert str(told.value).startswith(f"{name} is wrong: it ")
    assert "\n" not in str(told.value)
    assert "wrong-value" not in str(told.value)


def test_a_missing_master_key_is_told_when_it_is_needed() -> None:
    with pytest.raises(InvalidSettings, match="INTERLOCK_SECRET_KEY is missing"):
        _ = Settings.from_environment({}).keys


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_environment(
        {"INTERLOCK_SECRET_KEY": KEY, "INTERLOCK_DATABASE_URL": "postgresql://u:hush@db/i"}
    )
    assert "interlock" in repr(settings), "the search can find what is there"
    assert KEY not in repr(settings)
    assert "hush" not in repr(settings)


def test_everyone_on_a_data_directory_has_its_database_and_its_key(tmp_path: Path) -> None:
    key = keys.load_or_create(tmp_path / KEY_FILE)
    settings = for_data_dir(tmp_path, {})
    assert settings.secret_key == key
    assert settings.database_url == f"sqlite:///{tmp_path}/interlock.db"
    assert for_data_dir(tmp_path, {"INTERLOCK_SECRET_KEY": KEY}).keys.master.get_secret_value() == KEY


def test_logs_are_one_json_object_a_line_with_the_facts_beside_the_sentence() -> None:
    record = logging.makeLogRecord({"msg": "run started", "levelname": "INFO", "name": "here", "run_id": "r_1"})
    line = logs.JsonFormatter().format(record)
    assert '"message": "run started"' in line
    assert '"run_id": "r_1"' in line
    assert "\n" not in line
    assert logs.TextFormatter().format(record).endswith("info    here: run started run_id=r_1")
