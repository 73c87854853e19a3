"""docker-compose.yml without a container engine: it follows the schema, and what it names exists."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from compose_spec import PyCompose, PyOptions

from cli.main import app
from runtime.settings import PREFIX, Settings
from runtime.temporal import RETENTION, SEARCH_ATTRIBUTES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<how>:[-?])?(?P<rest>[^}]*)\}")
SECRETS = {
    "INTERLOCK_SECRET_KEY": "s" * 32,
    "POSTGRES_PASSWORD": "p",
    "TEMPORAL_POSTGRES_PASSWORD": "t",
}


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """The text as Compose reads it: variables filled in, a missing one that is required is a LookupError."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, how, rest = found["name"], found["how"], found["rest"]
        if given := environment.get(name):
            return given
        if how == ":-":
            return rest
        raise LookupError(f"{name} {rest}")

    return VARIABLE.sub(value, text)


def parsed(text: str) -> PyCompose:
    """The file as the schema sees it; raises ValueError with the place when it does not follow it."""
    compose = PyOptions(apply_merge=True).from_yaml(text)
    compose.validate()
    return compose


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(TEXT, SECRETS))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOBS = {
    needed
    for service in SERVICES.values()
    for needed, how in service.get("depends_on", {}).items()
    if how["condition"] == "service_completed_successfully"
}


def mounts() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            yield name, volume.split(":")[0]


def test_it_follows_the_compose_schema() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        parsed("services: {x: {image: 'y:1', ports: [nonsense]}}")

    assert sorted(parsed(interpolated(TEXT, SECRETS)).service_names()) == sorted(SERVICES)


def test_it_has_every_part() -> None:
    assert {"postgres", "temporal", "temporal-ui", "migrate", "api", "worker"} <= set(SERVICES)
    assert {"temporal-schema", "temporal-namespace", "migrate"} == JOBS


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert re.fullmatch(r"\d+(\.\d+){1,2}", tag), f"{image} needs a full version"


def test_the_base_image_is_pinned() -> None:
    (base,) = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+", base)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - JOBS))
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_exist_and_says_for_what(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in JOBS else "service_healthy"
        assert how == {"condition": wanted}
        assert needed in SERVICES


@pytest.mark.parametrize("name", ["migrate", "api", "worker"])
def test_every_command_of_ours_is_one_that_exists(name: str) -> None:
    program, command = SERVICES[name]["command"]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert program == "interlock"
    assert command in commands


@pytest.mark.parametrize("name", ["migrate", "api", "worker"])
def test_our_variables_are_settings_with_right_values(name: str) -> None:
    environment = SERVICES[name]["environment"]
    ours = {variable for variable in environment if variable.startswith(PREFIX)}
    assert ours <= {f"{PREFIX}{field}".upper() for field in Settings.model_fields}
    settings = Settings.from_environment(environment)
    assert settings.database_url.startswith("postgresql+asyncpg://")


@pytest.mark.parametrize("name", ["migrate", "api", "worker"])
def test_every_other_setting_can_be_given_in_a_file_that_may_be_missing(name: str) -> None:
    assert SERVICES[name]["env_file"] == [{"path": "interlock.env", "required": False}]
    assert not (ROOT / "interlock.env").exists()


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default(name: str) -> None:
    with pytest.raises(LookupError, match=f"{name} is the "):
        interpolated(TEXT, {other: value for other, value in SECRETS.items() if other != name})


def test_every_mounted_file_exists_and_every_volume_is_named() -> None:
    assert len(list(mounts())) > 3
    for name, source in mounts():
        if source.startswith("./"):
            assert (ROOT / source).is_file(), name
        else:
            assert source in COMPOSE["volumes"], name


def test_the_namespace_is_the_one_the_product_works_with() -> None:
    script = (ROOT / "deploy/temporal/namespace.sh").read_text()
    attributes = re.search(r'^attributes="(.*)"$', script, re.MULTILINE)
    retention = re.search(r"^retention=(\d+)d$", script, re.MULTILINE)
    assert attributes is not None
    assert retention is not None
    assert attributes[1].split() == [key.name for key in SEARCH_ATTRIBUTES]
    assert timedelta(days=int(retention[1])) == RETENTION


def test_replicas_can_be_chosen() -> None:
    more = interpolated(TEXT, {**SECRETS, "INTERLOCK_WORKER_REPLICAS": "3", "INTERLOCK_API_PORTS": "8080-8082"})
    parsed(more)
    assert yaml.safe_load(more)["services"]["worker"]["deploy"]["replicas"] == 3
