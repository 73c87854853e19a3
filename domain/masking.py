"""Masking by name: what is called a credential is hidden wherever it stands, also where nobody knows its value."""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote

import regex
from pydantic import JsonValue

from domain import documents
from domain.errors import InvalidRequest
from domain.templating import MASK

_CREDENTIAL = regex.compile(
    r"authori[sz]ation|authenticat|token|secret|passw|pwd|passphrase|passcode|credential|signature|cookie|session|jwt"
    r"|bearer|api[-_]?key|private[-_]?key|access[-_]?key|account[-_]?key|(?:^|[-_.])(?:auth|sig|pass)(?:$|[-_.])",
    regex.IGNORECASE,
)
_HEADER = regex.compile(r"(?:^|[-_])key$", regex.IGNORECASE)
_PUBLIC_HEADERS = frozenset({"idempotency-key"})
_QUERY = regex.compile(r"^(?:code|key|pass|pw|pat)$", regex.IGNORECASE)
_STRING = regex.compile(r'"((?:[^"\\]|\\.)*+)("?)', regex.DOTALL)
_COLON = regex.compile(r"\s*:\s*")
_SCALAR = regex.compile(r'"(?:[^"\\]|\\.)*+"?|[^\s,\[\]{}"]*', regex.DOTALL)
_BRACKET = regex.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', regex.DOTALL)
_FIELD = regex.compile(r"(^|[&\s?#;])([^=&\s?#;]+)=([^&\s]+)")
_URL = regex.compile(r"[a-z][a-z0-9+.-]*+://[^\s\"'<>]+", regex.IGNORECASE)
_AUTHORITY = regex.compile(r"[^/?]*")
_QUERY_BEGINS = regex.compile(r"([^?#]*)([?#]?)(.*)", regex.DOTALL)
_PATH_PARAMETER = regex.compile(r";([^=;/]+)=([^;/]+)")
_SUSPICIOUS = regex.compile(r"://|\\u|\b(?:code|key|pass|pw|pat|auth|sig)\b", regex.IGNORECASE)
"""What may hold a credential though no name of one is in it."""
_LEVELS = 2
"""How often JSON is read that stands in a text of JSON."""
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
        scheme, separator, rest = ("", "//", url[2:]) if url.startswith("//") else ("", "", url)
    authority = _AUTHORITY.match(rest)[0] if separator else ""  # type: ignore[index]
    path, mark, query = _QUERY_BEGINS.match(rest, len(authority)).groups()  # type: ignore[union-attr]
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    path = _PATH_PARAMETER.sub(_masked_parameter, path)
    query = "#".join("&".join(map(_masked_field, part.split("&"))) for part in query.split("#"))
    return f"{scheme}{separator}{authority}{path}{mark}{query}"


def masked_text(text: str) -> str:
    """A body without the values of its fields that seem to be credentials, if it is JSON or a form.

    >>> masked_text('{"access_token": "x", "n": 1}')
    '{"access_token":"********","n":1}'
    """
    if not is_credential(text) and not _SUSPICIOUS.search(text):
        return text
    return _masked_json(text, _LEVELS) or _FIELD.sub(_masked_form_field, _without_pairs(_without_urls(text)))


def credentials(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """What a request is authenticated by, which its answer may echo: the values that are masked in it."""
    for name, value in headers.items():
        if _is_credential_header(name):
            yield value
            if scheme := _SCHEME.match(value):
                yield scheme[1]
                yield _decoded(scheme[1]).partition(":")[2]
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
    if equals and value and _is_credential_field(name):
        return f"{name}={MASK}"
    return ";".join(map(_masked_field, field.split(";"))) if ";" in field else field


def _masked_parameter(found: "regex.Match[str]") -> str:
    return f";{found[1]}={MASK}" if _is_credential_field(found[1]) else found[0]


def _masked_form_field(found: "regex.Match[str]") -> str:
    return f"{found[1]}{found[2]}={MASK}" if _is_credential_field(found[2]) else found[0]


def _masked_json(text: str, levels: int) -> str | None:
    """The JSON as it was, if there is nothing to mask in it. None: it was cut, or is not quite JSON."""
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        value = documents.parse(text.encode())
        masked = _masked(value, levels - 1)
        return text if masked == value else documents.canonical(masked)
    except (InvalidRequest, ValueError):
        return None


def _without_urls(text: str) -> str:
    return _URL.sub(lambda found: masked_url(found[0]), text)


def _without_pairs(text: str) -> str:
    """What is not quite JSON without the values, and the objects and lists, that are called like credentials."""
    kept, begin, at = list[str](), 0, 0
    while (found := _STRING.search(text, at)) and found[2]:
        colon = _COLON.match(text, found.end())
        at = colon.end() if colon else found.end() - 1  # what seems to end a text may begin the next
        if colon and is_credential(found[1]):
            end = _end_of_bracket(text, at) if text[at : at + 1] in ("[", "{") else _SCALAR.match(text, at).end()  # type: ignore[union-attr]
            if end > at:
                kept += [text[begin:at], f'"{MASK}"']
            begin = at = end
    return "".join([*kept, text[begin:]])


def _end_of_bracket(text: str, begin: int) -> int:
    depth = 0
    for one in _BRACKET.finditer(text, begin):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(one[0], 0)
        if depth <= 0:
            return one.end()
    return len(text)


def _decoded(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _masked_string(text: str, levels: int) -> str:
    """A text in JSON: prose, a URL, or JSON again."""
    if levels and (masked := _masked_json(text, levels)) is not None:
        return masked
    return _without_pairs(_without_urls(text))


def _masked(value: JsonValue, levels: int, *, hidden: bool = False) -> JsonValue:
    match value:
        case dict():
            return {key: _masked(item, levels, hidden=hidden or is_credential(key)) for key, item in value.items()}
        case list():
            return [_masked(item, levels, hidden=hidden) for item in value]
        case None | bool():
            return value
        case str() if not hidden:
            return _masked_string(value, levels)
    return MASK if hidden else value
