"""Fingerprints of what a run would send: they tell two requests apart, and nothing about the secrets in them."""

import hmac

from pydantic import JsonValue

from domain.documents import Document, canonical


def fingerprint(method: Document, key: bytes) -> str:
    """The fingerprint of a rendered invocation method, secret values and all; the order of keys does not matter.

    It is keyed, so that whoever sees it cannot find out a short secret by trying.

    >>> fingerprint({"a": 1, "b": 2}, b"key") == fingerprint({"b": 2.0, "a": 1}, b"key")
    True
    """
    return hmac.digest(key, canonical(_sorted(method)).encode(errors="surrogatepass"), "sha256").hex()


def of_fault(why: str, key: bytes) -> str:
    """The fingerprint of a request that cannot be rendered: it is another one as soon as it can be."""
    return hmac.digest(key, f"cannot be rendered: {why}".encode(errors="surrogatepass"), "sha256").hex()


def _sorted(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {name: _sorted(value[name]) for name in sorted(value)}
        case list():
            return [_sorted(item) for item in value]
    return value
