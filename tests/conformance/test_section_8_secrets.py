"""Section 8 of the specification: how secret inputs are declared, what they look like, and who sees what of them.

Covered elsewhere, as directly: the vectors and lengths of 8.2 and 8.3, `tests/domain/test_encryption.py`; that nothing
of a secret is stored or told, `tests/api/test_secret_routes.py`; which types and formats may be secret,
`test_section_4_matrix.py`; policies that see ciphertext, `tests/api/test_policies.py`.
"""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import JsonValue

from domain import form_views
from domain.documents import Document
from domain.encryption import ClientSide, decrypted, encrypted
from domain.jq import Evaluator
from domain.templating import MASK
from tests.conformance.support import action, form, jq, of, said, written

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s3cr3t-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"


def pem(bits: int) -> str:
    """A public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PEM = pem(2048)
MODULI = {"2048 bits": (PEM, 256), "3072 bits": (pem(3072), 384)}
TEXT: Document = {"type": "string"}

# Section 8.1: how encryption is declared.
DECLARED: dict[str, tuple[Any, str]] = {
    "by the server": ("aes256-gcm", ""),
    "by the client": ({"algorithm": "client-side", "key": PEM}, ""),
    "by the client, with a key nobody can read": ({"algorithm": "client-side", "key": "MIIB..."}, ""),
    "fernet, which is gone": ("fernet", "encryption: must be aes256-gcm, or an object"),
    "another algorithm": ("aes128", "encryption: must be aes256-gcm, or an object"),
    "a switch": (True, "encryption: must be aes256-gcm, or an object"),
    "by the client without a key": ({"algorithm": "client-side"}, "encryption.key: is required"),
    "by the client with another algorithm": (
        {"algorithm": "rsa", "key": PEM},
        "encryption.algorithm: must be client-side",
    ),
    "with another key": ({"algorithm": "client-side", "key": PEM, "bits": 1}, "encryption.bits: unknown key"),
}

# Section 8.4: a value is held to its definition before it is encrypted, where it is plaintext at all.
HELD: dict[str, tuple[Document, JsonValue, bool]] = {
    "its pattern": ({**TEXT, "pattern": "^x"}, "hunter2", False),
    "its length": ({**TEXT, "minLength": 8}, "hunter2", False),
    "its choices": ({**TEXT, "enum": ["a"]}, "hunter2", False),
    "its type": (TEXT, 5, False),
    "its schema": ({"type": "object", "required": ["user"]}, {"pw": "hunter2"}, False),
    "all of them": ({**TEXT, "pattern": "2$", "minLength": 7}, "hunter2", True),
    "the schema of an object": ({"type": "object", "required": ["user"]}, {"user": "bob"}, True),
}


@pytest.mark.parametrize(("encryption", "fault"), DECLARED.values(), ids=DECLARED)
async def test_a_declaration(encryption: Any, fault: str) -> None:
    found = written(action({"pw": {**TEXT, "encryption": encryption}}))
    assert fault in found if fault else found == "stored"


@pytest.mark.parametrize(("definition", "value", "accepted"), HELD.values(), ids=HELD)
async def test_a_secret_is_held_to(definition: Document, value: JsonValue, accepted: bool) -> None:
    problem = said({**definition, "encryption": "aes256-gcm"}, value)
    assert (problem == "") is accepted
    assert "hunter2" not in problem


@pytest.mark.parametrize("value", ["", "hunter2", "ä🚀", {"user": "bob", "pw": "x"}, {}])
async def test_a_secret_is_text_on_the_wire(value: JsonValue) -> None:
    sealed = encrypted({"pw": "aes256-gcm"}, {"pw": value}, client_secret=SECRET)["pw"]
    assert isinstance(sealed, str)
    plain = decrypted(sealed, client_secret=SECRET)
    assert len(base64.b64decode(sealed, validate=True)) == 16 + len(plain.encode()) + 16, "IV, ciphertext, tag"


@pytest.mark.parametrize(("key", "modulus"), MODULI.values(), ids=MODULI)
@pytest.mark.parametrize(("over", "accepted"), [(16, False), (17, True), (4_000, True)])
async def test_what_the_client_encrypted_is_at_least_so_long(key: str, modulus: int, over: int, accepted: bool) -> None:
    value = base64.b64encode(bytes(12 + modulus + over)).decode()
    sealed: Document = {**TEXT, "encryption": {"algorithm": "client-side", "key": key}, "maxLength": 1, "enum": ["a"]}
    assert (said(sealed, value) == "") is accepted, "and is held to nothing else"
    if accepted:
        how = ClientSide(algorithm="client-side", key=key)
        assert encrypted({"x": how}, {"x": value}, client_secret=SECRET) == {"x": value}


@pytest.mark.parametrize("definition", [TEXT, {"type": "object"}], ids=["a text", "an object"])
async def test_no_program_sees_a_secret(evaluate: Evaluator, definition: Document) -> None:
    value: JsonValue = "hunter2" if definition == TEXT else {"pw": "hunter2"}
    written_form = form(
        {
            "pw": {**definition, "encryption": "aes256-gcm"},
            "seen": {"type": "array", "default": jq("[.form.pw]")},
        }
    )
    found = await of(evaluate, written_form, {"pw": value})
    assert found.values == {"pw": value, "seen": [MASK]}
    assert "hunter2" not in repr(form_views.view(found, {}))
