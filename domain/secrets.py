"""Redaction: what comes back from outside is cleared of secret values before anybody keeps or shows it."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

import regex
from pydantic import JsonValue

from domain.documents import canonical
from domain.templating import MASK

_SHORTEST = 4
"""A shorter value is everywhere by chance: it is only hidden where it is the whole text."""

_LONG = 500
"""Only a text this long can have been cut."""


class Redactor:
    """Puts `MASK` in place of every secret value, however it was written on its way through other systems.

    >>> Redactor(["p@ssw0rd"]).text("GET /?token=p%40ssw0rd")
    'GET /?token=********'
    """

    def __init__(self, values: Iterable[str]) -> None:
        known = {value for value in values if value}
        self._whole = frozenset(known)
        # Headers lose the white space around them, and what is echoed has lost it too.
        long = {way for value in known for way in (value, value.strip()) if len(way) >= _SHORTEST}
        spellings = {spelling for value in long for spelling in _spellings(value)}
        # Longest first: a secret that is part of another must not leave the other's rest behind.
        self._spellings = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        self._anywhere = (
            # In any case: names of hosts come back in lower case.
            regex.compile("|".join(map(regex.escape, self._spellings)), regex.IGNORECASE) if spellings else None
        )

    def text(self, text: str) -> str:
        """The text without secret values."""
        if text in self._whole:
            return MASK
        if self._anywhere is None:
            return text
        return self._without_cut(self._anywhere.sub(MASK, text))

    def value(self, value: JsonValue) -> JsonValue:
        """The value without secret values: in its texts, its keys, and as numbers."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case bool() | None:
                return value
            case int() | float():
                # Somebody may have read a secret of digits as a number.
                return MASK if self._whole & {str(value), canonical(value)} else value
        return value

    def _without_cut(self, text: str) -> str:
        """Without the first part of a secret at the end, where a long text was cut."""
        if len(text) < _LONG:
            return text
        for spelling in self._spellings:
            begins, start = spelling[:_SHORTEST], max(0, len(text) - len(spelling) + 1)
            while (start := text.find(begins, start)) >= 0:
                if spelling.startswith(text[start:]):
                    return text[:start] + MASK
                start += 1
        return text


def _spellings(value: str) -> Iterator[str]:
    """The value, and how URLs, JSON and base64 write it."""
    yield value
    for quoted in (quote(value), quote(value, safe=""), quote_plus(value)):
        yield quoted
        yield regex.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)
    for ascii_only in (True, False):
        inner = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield inner
        yield inner.replace("/", "\\/")
    raw = value.encode()
    for encoded in (b64encode(raw).decode(), urlsafe_b64encode(raw).decode()):
        yield encoded
        yield encoded.rstrip("=")
