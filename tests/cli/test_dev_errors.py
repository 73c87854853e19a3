"""What stands in the way of `interlock dev` is told in one sentence, without a traceback."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def refused(*arguments: str, **environment: str) -> str:
    """Runs a command that must refuse to work; what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    said = ended.stderr.strip()
    assert said.startswith("interlock: ")
    assert "\n" not in said
    return said.removeprefix("interlock: ")


def dev(directory: Path, *arguments: str, **environment: str) -> str:
    free = ("--api-port", "0", "--temporal-port", "0", "--temporal-ui-port", "0")
    return refused("dev", "--data-dir", str(directory), *free, *arguments, **environment)


@pytest.mark.parametrize("option", ["--api-port", "--temporal-port", "--temporal-ui-port"])
def test_a_busy_port_is_told_with_the_option_to_change(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = dev(tmp_path, option, str(port))
    assert said == f"port {port} is in use; choose another with {option}, or {option} 0 for a free one."


def test_two_things_on_one_port_are_told(tmp_path: Path) -> None:
    assert "must differ" in dev(tmp_path, "--api-port", "9000", "--temporal-port", "9000")


def test_a_host_that_is_not_ours_is_told(tmp_path: Path) -> None:
    assert "nothing can listen on 192.0.2.1:0" in dev(tmp_path, "--host", "192.0.2.1")


def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert dev(file) == f"the data directory {file} is not a directory; choose another with --data-dir."
    assert f"the data directory {file / 'below'} cannot be used (Not a directory)" in dev(file / "below")
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be used (Permission denied)" in dev(tmp_path)


def test_a_second_dev_on_the_same_directory_is_told(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = dev(tmp_path)
    assert said.startswith(f"another interlock dev is using {tmp_path};")


@pytest.mark.parametrize("name", ["secret.key", "temporal.db", "interlock.db"])
def test_a_broken_file_in_the_data_directory_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xffbroken" * 1000)
    said = dev(tmp_path)
    assert {"secret.key": str(tmp_path / name), "temporal.db": "Temporal", "interlock.db": "database"}[name] in said


def test_an_environment_file_that_cannot_be_replaced_is_told(tmp_path: Path) -> None:
    file = tmp_path / "dev.env"
    file.mkdir()
    assert dev(tmp_path).startswith(f"{file} cannot be replaced (Is a directory); remove it, or choose another")


@pytest.mark.parametrize("email", ["ada", "a/da@example.com"])
def test_a_person_without_an_email_address_is_not_made(tmp_path: Path, email: str) -> None:
    (tmp_path / "secret.key").write_text("k" * 64)
    said = refused("users", "create", email, "--data-dir", str(tmp_path))
    assert said == f"{email} is no email address; write one such as ada@example.com."
    assert not (tmp_path / "interlock.db").exists(), "nothing is asked of a database"


def test_a_wrong_setting_is_told_by_its_variable(tmp_path: Path) -> None:
    assert dev(tmp_path, INTERLOCK_JQ_PROCESSES="many").startswith("INTERLOCK_JQ_PROCESSES is wrong: it ")


def test_a_missing_master_key_is_told(tmp_path: Path) -> None:
    said = refused("migrate", INTERLOCK_DATA_DIR=str(tmp_path))
    assert said.startswith("INTERLOCK_SECRET_KEY is missing")


def test_a_data_directory_that_nobody_made_is_told(tmp_path: Path) -> None:
    assert "does not exist" in refused("migrate", "--data-dir", str(tmp_path / "nobody"))
