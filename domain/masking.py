"""Masking by name: what is called a credential is hidden wherever it stands, also where nobody knows its value."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote

import regex
from pydantic import JsonValue

from domain import documents
from domain.errors import InvalidRequest
from domain.templating import MASK

_CREDENTIAL = regex.compile(
    r"authori[sz]ation|token|secret|passw|pwd|passphrase|credential|signature|cookie|session|jwt|bearer"
    r"|api[-_]?key|private[-_]?key|access[-_]?key|account[-_]?key|(?:^|[-_.])(?:auth|sig)(?:$|[-_.])",
    regex.IGNORECASE,
)
_HEADER = regex.compile(r"(?:^|[-_])key$", regex.IGNORECASE)
_PUBLIC_HEADERS = frozenset({"idempotency-key"})
_QUERY = regex.compile(r"^(?:code|key|pass|pw|pat)$", regex.IGNORECASE)
_QUOTED = regex.compile(r'"((?:[^"\\]|\\.)*+)"(\s*:\s*)("(?:[^"\\]|\\.)*+"?|[^\s,\[\]{}"]+)')
_FIELD = regex.compile(r"(^|[&\s?])([^=&\s]+)=([^&\s]+)")
_SCHEME = regex.compile(r"^(?:basic|bearer|token|digest|apikey|aws4-hmac-sha256)\s+(.+)$", regex.IGNORECASE)


def is_credential(name: str) -> bool:
    """Whether a field of that name seems to hold a credential.

    >>> is_credential("clientSecret"), is_credential("author")
    (True, False)
    """
    return _CREDENTIAL.search(name) is not None


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without the values of those that seem to be credentials."""
    return {name: MASK if _is_credential_header(name) else value for name, value in headers.items()}


def masked_url(url: str) -> str:
    """The URL without credentials before its host, and without values of its query that seem to be some.

    >>> masked_url("https://ada:pw@host/a?token=1&page=2")
    'https://********@host/a?token=********&page=2'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    place, mark, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    fields = "&".join(map(_masked_field, query.split("&"))) if mark else ""
    return f"{scheme}{separator}{authority}{slash}{path}{mark}{fields}"


def masked_text(text: str) -> str:
    """A body without the values of its fields that seem to be credentials, if it is JSON or a form.

    >>> masked_text('{"access_token": "x", "n": 1}')
    '{"access_token":"********","n":1}'
    """
    if not is_credential(text):
        return text
    if text.lstrip()[:1] in ("{", "["):
        try:
            return documents.canonical(_masked(documents.parse(text.encode())))
        except (InvalidRequest, ValueError):  # cut, or not quite JSON
            return _QUOTED.sub(_masked_pair, text)
    return _FIELD.sub(_masked_form_field, text)


def credentials(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """What a request is authenticated by, which its answer may echo: the values that are masked in it."""
    for name, value in headers.items():
        if _is_credential_header(name):
            yield value
            if scheme := _SCHEME.match(value):
                yield scheme[1]
    rest = url.partition("://")[2]
    place, _, query = rest.partition("?")
    userinfo, at, _ = place.partition("/")[0].rpartition("@")
    if at:
        yield userinfo
        yield unquote(userinfo.partition(":")[2])
    for one in query.split("&"):
        name, _, value = one.partition("=")
        if value and _is_credential_field(name):
            yield value
            yield unquote(value)


@lru_cache(maxsize=1024)
def _is_credential_header(name: str) -> bool:
    return is_credential(name) or (_HEADER.search(name) is not None and name.lower() not in _PUBLIC_HEADERS)


def _is_credential_field(name: str) -> bool:
    return is_credential(unquote(name)) or _QUERY.match(unquote(name)) is not None


def _masked_field(field: str) -> str:
    name, equals, value = field.partition("=")
    return f"{name}={MASK}" if equals and value and _is_credential_field(name) else field


def _masked_form_field(found: "regex.Match[str]") -> str:
    return f"{found[1]}{found[2]}={MASK}" if _is_credential_field(found[2]) else found[0]


def _masked_pair(found: "regex.Match[str]") -> str:
    return f'"{found[1]}"{found[2]}"{MASK}"' if is_credential(found[1]) else found[0]


def _masked(value: JsonValue, *, hidden: bool = False) -> JsonValue:
    match value:
        case dict():
            return {key: _masked(item, hidden=hidden or is_credential(key)) for key, item in value.items()}
        case list():
            return [_masked(item, hidden=hidden) for item in value]
        case None | bool():
            return value
    return MASK if hidden else value
