"""Masking by name: credentials are hidden wherever they stand, and nothing else is."""

import json

import pytest

from domain.masking import credentials, masked_headers, masked_text, masked_url


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "X-Port-Signature",
        "Private-Token",
        "Circle-Token",
        "PRIVATE-TOKEN",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "apikey",
        "Ocp-Apim-Subscription-Key",
        "X-Amz-Security-Token",
        "X-Auth",
        "x-webhook-secret",
        "X-Hub-Signature-256",
        "JWT",
        "X-Authentication",
        "X-Pass",
        "X-Passcode",
    ],
)
def test_headers_that_seem_to_hold_credentials_are_masked(name: str) -> None:
    assert masked_headers({name: "canary"}) == {name: "********"}
    assert "canary" in credentials("http://a", {name: "Bearer canary"})


@pytest.mark.parametrize("name", ["Idempotency-Key", "Content-Type", "X-Author", "Host", "X-Port-Timestamp", "Accept"])
def test_other_headers_stay(name: str) -> None:
    assert masked_headers({name: "said"}) == {name: "said"}
    assert list(credentials("http://a", {name: "said"})) == []


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://ada:pw@host:1/a/b?x=1#f", "https://********@host:1/a/b?x=1#f"),
        ("https://token@host", "https://********@host"),
        ("https://a@b@host/x@y", "https://********@host/x@y"),
        ("https://host?access_token=abc&page=2", "https://host?access_token=********&page=2"),
        ("https://host/f?code=abc&sig=d%20e&key=&x", "https://host/f?code=********&sig=********&key=&x"),
        ("https://host/f?access%5Ftoken=abc", "https://host/f?access%5Ftoken=********"),
        ("https://host/author?q=a?b", "https://host/author?q=a?b"),
        ("/there?token=abc", "/there?token=********"),
        ("//ada:pw@host/", "//********@host/"),
        ("https://ada:p#w@host/", "https://********@host/"),
        ("https://host/cb#access_token=abc&n=1", "https://host/cb#access_token=********&n=1"),
        ("https://host/cb?n=1#access_token=abc", "https://host/cb?n=1#access_token=********"),
        ("https://host/cb?n=1;token=a", "https://host/cb?n=1;token=********"),
        ("https://host/cb?token=a;b&n=1", "https://host/cb?token=********&n=1"),
        ("https://host/a;jsessionid=abc/b?n=1", "https://host/a;jsessionid=********/b?n=1"),
    ],
)
def test_urls_lose_their_credentials(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_the_credentials_of_a_url_are_known_as_they_are_meant_too() -> None:
    assert set(credentials("https://ada:p%40w@host/?token=a%20b&n=1", {})) == {"ada:p%40w", "p@w", "a%20b", "a b"}


@pytest.mark.parametrize(
    "body",
    [
        {"token": "canary"},
        {"access_token": "canary", "expires_in": 3600},
        {"deep": [{"clientSecret": "canary"}]},
        {"credentials": {"user": "canary", "more": ["canary"]}},
        {"password": 4711, "x": "y"},
    ],
)
def test_json_loses_its_credentials_also_when_it_was_cut(body: dict[str, object]) -> None:
    text = json.dumps(body)
    masked = masked_text(text)
    assert "canary" not in masked
    assert "4711" not in masked
    assert json.loads(masked).keys() == body.keys()
    if "credentials" not in body:
        assert "canary" not in masked_text(text[:-1])
        assert "canary" not in masked_text(text + " and so on")


@pytest.mark.parametrize(
    "text",
    [
        '{"body": "{\\"token\\": \\"canary\\"}"}',
        '{"a": "{\\"b\\": \\"{\\\\\\"token\\\\\\": \\\\\\"canary\\\\\\"}\\"}"}',
        '{"clone": "https://ada:canary@host/"}',
        '{"hook": "see https://host/?token=canary"}',
        '{"hook": "https://host/?sig=canary"}',
        '{"user": "ada", "pass": "canary"}',
        '{"tok\\u0065n": "canary"}',
        '{"tokens": ["a", "canary"], "n": ',
        '{"a": {"credentials": {"deep": ["canary"], "user": "canary"}}, "n',
        '{"clone": "https://ada:canary@host/", "n": ',
        '\ufeff{"token": "canary"}',
        "user=ada&pass=canary",
        "see https://ada:canary@host/",
    ],
)
def test_credentials_are_found_wherever_they_are_written(text: str) -> None:
    assert "canary" not in masked_text(text)


def test_what_basic_authentication_is_made_of_is_known() -> None:
    assert "canary" in credentials("http://a", {"Authorization": "Basic dTpjYW5hcnk="})


def test_what_nests_deeply_can_be_masked() -> None:
    text = "1"
    for _ in range(4):
        text = json.dumps({"token": 1, "x": "[" * 98 + json.dumps(text) + "]" * 98})
    assert '"token":"********"' in masked_text(text)
    for opens in ('{"token":' + "[" * 20_000, '{"x":' * 10_000, '{"x":"https://' * 5_000):
        masked_text(opens)


def test_forms_lose_their_credentials() -> None:
    assert masked_text("grant=x&client_secret=canary&y=1") == "grant=x&client_secret=********&y=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        '{"author":"ada", "n": [1, null, true]}',
        '{"html_url": "https://host/a?page=2", "said": "exit code=1"}',
        "<html>a=b</html>",
    ],
)
def test_what_has_none_stays_as_it_is(text: str) -> None:
    assert masked_text(text) == text


def test_what_seems_to_be_json_is_not_slow_to_read() -> None:
    masked_text('{"token' + '"' * 20_000)
    masked_text('{"token":' + '"\\' * 20_000)
    masked_text('{"token' + '"\\' * 20_000)
