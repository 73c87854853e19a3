"""Redaction: no spelling of a secret stays, and what is none stays as it is."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from domain.secrets import Redactor
from domain.templating import MASK

SECRET = 'p@ss "wörd"/\\+\n?>~'
SPELLINGS = {
    "raw": SECRET,
    "stripped": SECRET.strip(),
    "quoted": quote(SECRET),
    "quoted, slashes too": quote(SECRET, safe=""),
    "quoted in lower case": "p%40ss%20%22w%c3%b6rd%22/%5c%2b%0a%3f%3e~",
    "form": quote_plus(SECRET),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON, not ASCII": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "base64": b64encode(SECRET.encode()).decode(),
    "base64 for URLs": urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 without padding": b64encode(SECRET.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_masked(spelling: str) -> None:
    text = f"before {spelling} and <{spelling}>"
    assert Redactor([SECRET]).text(text) in {f"before {MASK} and <{MASK}>", f"before {MASK}= and <{MASK}=>"}


def test_the_longest_secret_goes_first() -> None:
    assert Redactor(["token", "token-long", "ken-lo"]).text("a token-long b token") == f"a {MASK} b {MASK}"


def test_short_values_are_masked_only_as_a_whole() -> None:
    redactor = Redactor(["abc", ""])
    assert redactor.value({"abc": ["abc", "abcd", ""]}) == {MASK: [MASK, "abcd", ""]}


def test_documents_are_masked_at_any_depth() -> None:
    redactor = Redactor(["s3cret", "123456"])
    document: JsonValue = {"a": [{"s3cret=1": "x s3cret y"}, 123456, 123456.0, 1234567, True, None, 1.5], "b": {}}
    assert redactor.value(document) == {
        "a": [{f"{MASK}=1": f"x {MASK} y"}, MASK, MASK, 1234567, True, None, 1.5],
        "b": {},
    }


@pytest.mark.parametrize("kept", range(4, 19))
def test_a_secret_cut_off_at_the_end_of_a_long_text_is_masked(kept: int) -> None:
    secret = "ghp_ghp_0123456789"
    assert Redactor([secret]).text("x" * 990 + secret[:kept]) == "x" * 990 + MASK


def test_a_short_text_that_begins_like_a_secret_is_left_alone() -> None:
    assert Redactor(["https://hooks.example.com/x"]).text("see https://") == "see https://"


def test_without_secrets_nothing_changes() -> None:
    document: JsonValue = {"a": ["text", 1, 2.5, None, False]}
    assert Redactor([]).value(document) == document


@given(st.lists(st.text(min_size=4), min_size=1, max_size=5), st.text(), st.text())
def test_no_secret_survives(secrets: list[str], before: str, after: str) -> None:
    redactor = Redactor(secrets)
    for secret in secrets:
        assert secret in before + secret + after, "the search can find what is there"
        redacted = redactor.text(before + secret + after)
        # What is left of the mask itself may look like a secret made of asterisks.
        assert secret not in redacted.replace(MASK, "\x00\x01") or set(secret) <= {"*", "\x00", "\x01"}


def test_a_secret_is_found_in_any_case() -> None:
    assert (
        Redactor(["S3cret-Host"]).text("s3cret-host.example.com has no address") == f"{MASK}.example.com has no address"
    )
