"""Secret inputs: the published wire format, the refusals, and that plaintext shows nowhere."""

import base64
import os
import traceback
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.documents import canonical
from domain.encryption import ClientSide, decrypted, encrypted, sealed_problem
from domain.errors import InvalidInputs

SECRET = "s3cr3t-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
IV = bytes(range(16))
MODULUS = 256


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RSA = ClientSide(
    algorithm="client-side", key=_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
)


def _fixed(length: int) -> bytes:
    return IV[:length]


@pytest.mark.parametrize(
    ("value", "sealed"),
    [
        ("hunter2", "AAECAwQFBgcICQoLDA0OD2xbwNyjhbSgJJaeMKCeNWxYQAfFZgFP"),
        (
            {"user": "bob", "pw": "x"},
            "AAECAwQFBgcICQoLDA0OD38M29ujhaQ4wvPtNM8bFFk/P2/zVNMBinyP+hzikB/myS/x7TXX7A==",
        ),
    ],
)
def test_the_published_vectors(value: JsonValue, sealed: str) -> None:
    assert encrypted({"pw": "aes256-gcm"}, {"pw": value}, client_secret=SECRET, random=_fixed) == {"pw": sealed}
    assert decrypted(sealed, client_secret=SECRET) == (value if isinstance(value, str) else canonical(value))


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text()))
def test_what_was_encrypted_can_be_decrypted(value: JsonValue) -> None:
    sealed = encrypted({"pw": "aes256-gcm"}, {"pw": value}, client_secret=SECRET)["pw"]
    assert isinstance(sealed, str)
    assert decrypted(sealed, client_secret=SECRET) == (value if isinstance(value, str) else canonical(value))


def test_the_same_value_twice_gives_two_ciphertexts() -> None:
    first, second = (encrypted({"pw": "aes256-gcm"}, {"pw": "x"}, client_secret=SECRET) for _ in range(2))
    assert first != second


def test_the_other_values_and_their_order_stay() -> None:
    values: dict[str, JsonValue] = {"b": 1, "pw": "x", "a": [1]}
    sealed = encrypted({"pw": "aes256-gcm", "absent": "aes256-gcm"}, values, client_secret=SECRET)
    assert list(sealed) == ["b", "pw", "a"]
    assert (sealed["b"], sealed["a"]) == (1, [1])
    assert values["pw"] == "x"


@pytest.mark.parametrize("secret", [SECRET[:32], SECRET[:32] + "other tail", "ä" * 16])
def test_the_first_32_bytes_are_the_key(secret: str) -> None:
    sealed = encrypted({"pw": "aes256-gcm"}, {"pw": "x"}, client_secret=secret)["pw"]
    assert isinstance(sealed, str)
    assert decrypted(sealed, client_secret=secret.encode()[:32].decode()) == "x"


def test_a_short_client_secret_is_refused_without_being_named() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes") as caught:
        encrypted({"pw": "aes256-gcm"}, {"pw": "x"}, client_secret="tooshort")
    assert "tooshort" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "no base64!", base64.b64encode(bytes(31)).decode(), "A" * 60, "ä"])
def test_what_is_not_ours_cannot_be_decrypted(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypted(value, client_secret=SECRET)


def test_another_client_secret_cannot_decrypt() -> None:
    sealed = encrypted({"pw": "aes256-gcm"}, {"pw": "x"}, client_secret=SECRET)["pw"]
    assert isinstance(sealed, str)
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypted(sealed, client_secret="0" * 32)


@pytest.mark.parametrize(
    "value", ["pl4int3xt \ud800", {"k": "pl4int3xt \ud800"}, ["pl4int3xt"], 4711, {"k": float("inf"), "x": "pl4int3xt"}]
)
def test_a_refusal_never_shows_the_plaintext(value: JsonValue) -> None:
    with pytest.raises(InvalidInputs) as caught:
        encrypted({"pw": "aes256-gcm"}, {"pw": value}, client_secret=SECRET)
    assert "/pw" in str(caught.value), "the search can find what is there"
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "pl4int3xt" not in shown
    assert "4711" not in shown.replace(str(__file__), "")


def _sealed(length: int) -> str:
    return base64.b64encode(os.urandom(length)).decode()


def test_what_the_client_encrypted_is_passed_on_as_it_is() -> None:
    value = _sealed(12 + MODULUS + 17)
    assert encrypted({"pw": RSA}, {"pw": value}, client_secret=SECRET) == {"pw": value}


@pytest.mark.parametrize(
    "value", ["pl4int3xt", "", None, 5, {"a": 1}, "not base64 at all" * 40, _sealed(12 + MODULUS + 16)]
)
def test_plaintext_sent_by_mistake_is_refused(value: JsonValue) -> None:
    with pytest.raises(InvalidInputs, match=r"^/pw must be encrypted by the client") as caught:
        encrypted({"pw": RSA}, {"pw": value}, client_secret=SECRET)
    assert "pl4int3xt" not in repr(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        lambda: "-----BEGIN PUBLIC KEY-----\nMIIB...\n-----END PUBLIC KEY-----",
        lambda: "",
        lambda: "\ud800",
        lambda: _pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ],
)
def test_a_key_that_cannot_be_read_lets_nothing_through(key: Callable[[], str]) -> None:
    problem = sealed_problem(_sealed(1000), ClientSide(algorithm="client-side", key=key()))
    assert problem == "cannot be accepted: the key in its definition is no RSA public key in PEM"
