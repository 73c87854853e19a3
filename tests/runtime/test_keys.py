"""One master key, everything derived from it, and rotation that loses nothing."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime import keys
from runtime.keys import KeyFault, Keys

OLD, NEW, OTHER = (SecretStr(letter * 32) for letter in "onx")


def test_every_purpose_has_its_own_key() -> None:
    derived = {keys.derived("m" * 32, purpose) for purpose in ("access tokens", "vault", "payloads")}
    assert len(derived) == 3
    assert all(len(key) == 32 for key in derived)
    assert Keys(OLD).token_key == Keys(OLD).token_key != Keys(NEW).token_key


def test_the_vault_gives_back_what_it_was_given() -> None:
    vault = Keys(OLD).vault
    closed = vault.encrypt("påssword")
    assert "påssword" not in closed
    assert vault.encrypt("påssword") != closed, "nobody sees that two secrets are the same"
    assert vault.decrypt(closed) == "påssword"


def test_a_rotated_key_still_opens_what_it_closed() -> None:
    closed = Keys(OLD).vault.encrypt("hush")
    both = Keys(NEW, previous=(OLD,))
    assert both.vault.decrypt(closed) == "hush"
    assert Keys(NEW).vault.decrypt(both.vault.rotated(closed)) == "hush"
    assert both.token_keys == (Keys(NEW).token_key, Keys(OLD).token_key)
    assert list(both.payload_keys) == [*Keys(NEW).payload_keys, *Keys(OLD).payload_keys]


@pytest.mark.parametrize("operation", ["decrypt", "rotated"])
def test_a_secret_of_another_key_is_a_fault_that_does_not_show_it(operation: str) -> None:
    closed = Keys(OLD).vault.encrypt("hush")
    with pytest.raises(KeyFault) as told:
        getattr(Keys(OTHER).vault, operation)(closed)
    assert closed not in str(told.value)
    assert told.value.__suppress_context__


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    assert keys.load(path) is None
    key = keys.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load_or_create(path) == keys.load(path) == key
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"], "no draft is left behind"


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_broken_key_file_is_told_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    with pytest.raises(KeyFault, match="key file"):
        keys.load_or_create(path)
    assert path.read_bytes() == content


def test_a_key_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="cannot be written"):
        keys.load_or_create(tmp_path / "missing" / "secret.key")
