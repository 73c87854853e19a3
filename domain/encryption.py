"""Secret inputs: how their values are sealed before anything durable sees them."""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import JsonValue

from domain.documents import Document, canonical
from domain.errors import InvalidInputs
from domain.shapes import Closed

KEY_BYTES = 32
IV_BYTES = 16
TAG_BYTES = 16
_SEALED_IV_BYTES = 12


class ClientSide(Closed):
    """Encrypted by whoever sends the value, with the customer's RSA key; we store and forward it opaque."""

    algorithm: Literal["client-side"]
    key: str
    """Public key, PEM. Not parsed before a value has to be checked against it."""


Encryption: TypeAlias = Literal["aes256-gcm"] | ClientSide
"""Who encrypts: we with the organization's client secret, or the client."""


def encrypted(
    inputs: Mapping[str, Encryption],
    values: Document,
    *,
    client_secret: str,
    random: Callable[[int], bytes] = os.urandom,
) -> Document:
    """The values with those of secret inputs as ciphertext; the others, and the order, stay.

    Under `aes256-gcm` that is base64 of IV, ciphertext and tag; an object is written as compact JSON first.

    Args:
        inputs: how each secret input is encrypted, by its id.
        values: the inputs, validated.
        client_secret: the first 32 bytes of its UTF-8 form are the key.
        random: where IVs come from.

    Raises:
        InvalidInputs: a value is neither text nor object, or is not what the client had to encrypt.
        ValueError: the client secret is too short to be a key.
    """
    sealed = dict(values)
    for name, how in inputs.items():
        if name not in values:
            continue
        if isinstance(how, ClientSide):
            if problem := sealed_problem(values[name], how):
                raise InvalidInputs(f"/{name} {problem}")
        elif (plain := _plaintext(values[name])) is None:
            raise InvalidInputs(f"/{name} must be text or an object to be encrypted")
        else:
            iv = random(IV_BYTES)
            sealed[name] = base64.b64encode(iv + AESGCM(_key(client_secret)).encrypt(iv, plain, None)).decode()
    return sealed


def decrypted(value: str, *, client_secret: str) -> str:
    """The text, or the JSON of the object, that `aes256-gcm` made the value of.

    Raises:
        ValueError: the value is none of ours, or was made with another secret.
    """
    blob = _decoded(value)
    plain = None
    if blob is not None and len(blob) >= IV_BYTES + TAG_BYTES:
        try:
            plain = AESGCM(_key(client_secret)).decrypt(blob[:IV_BYTES], blob[IV_BYTES:], None)
        except InvalidTag:
            plain = None
    if plain is None:
        raise ValueError("the value cannot be decrypted with this client secret")
    return plain.decode()


def sealed_problem(value: JsonValue, how: ClientSide) -> str | None:
    """Why the value cannot have been encrypted by the client with the key, or None if it can.

    Such a value is base64 of a 12 byte IV, the wrapped key (as long as the RSA modulus) and at least one byte
    of ciphertext before its tag. This keeps plaintext out that was sent by mistake.
    """
    modulus = _modulus_bytes(how.key)
    if modulus is None:
        return "cannot be accepted: the key in its definition is no RSA public key in PEM"
    blob = _decoded(value) if isinstance(value, str) else None
    if blob is None or len(blob) < _SEALED_IV_BYTES + modulus + TAG_BYTES + 1:
        return "must be encrypted by the client: base64 of IV, wrapped key and ciphertext"
    return None


def _key(client_secret: str) -> bytes:
    secret = client_secret.encode(errors="surrogatepass")
    if len(secret) < KEY_BYTES:
        raise ValueError(f"a client secret that encrypts inputs has at least {KEY_BYTES} bytes")
    return secret[:KEY_BYTES]


def _plaintext(value: JsonValue) -> bytes | None:
    # None instead of an exception: what Python says about unencodable text quotes the text.
    try:
        return (
            (canonical(value) if isinstance(value, dict) else value).encode() if isinstance(value, dict | str) else None
        )
    except ValueError:
        return None


def _decoded(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


@lru_cache(maxsize=256)
def _modulus_bytes(pem: str) -> int | None:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return (key.key_size + 7) // 8 if isinstance(key, RSAPublicKey) else None
