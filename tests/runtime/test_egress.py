"""How requests leave: what the settings say about proxies and certificates is what sends."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runtime import egress
from runtime.chat_people import asked, client
from runtime.settings import InvalidSettings, Settings
from tests.backends.conftest import Authority, Peer
from tests.backends.conftest import authority as authority
from tests.backends.conftest import peer as peer
from tests.backends.conftest import secure_peer as secure_peer
from tests.support.proxy import TinyProxy, proxy


@pytest.fixture
async def way() -> AsyncIterator[TinyProxy]:
    async with proxy() as way:
        yield way


def settings(**given: str) -> Settings:
    return Settings.from_environment({f"INTERLOCK_{name.upper()}": value for name, value in given.items()})


def test_without_a_setting_there_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert egress.proxy(settings()) is None
    assert egress.proxy(Settings.from_environment({"HTTP_PROXY": "http://127.0.0.1:1"})) is None


def test_a_proxy_knows_what_goes_around_it() -> None:
    found = egress.proxy(
        settings(
            http_proxy="http://u:s3cret@proxy.example.com:3128/",
            no_proxy="example.org, 10.0.0.0/8",
            public_url="https://Interlock.example.com/base",
            own_api_aliases="http://interlock:8080",
        )
    )
    assert found is not None
    assert found.place == ("proxy.example.com", 3128)
    for host in ("example.org", "a.example.org", "10.1.2.3", "interlock.example.com", "interlock", "127.0.0.1", "::1"):
        assert not found.takes(host), host
    for host in ("example.com", "notexample.org", "11.1.2.3", "example.org.evil.test", "2606:4700::1111"):
        assert found.takes(host), host
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    ["proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://", "http://proxy:3128/path", "http://proxy:x"],
)
def test_what_is_no_proxy_stops_the_process_and_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^INTERLOCK_HTTP_PROXY is wrong: it must be") as wrong:
        settings(http_proxy=url)
    assert "proxy:" not in str(wrong.value).removeprefix("INTERLOCK_HTTP_PROXY is wrong")


async def test_certificates_are_trusted_beside_the_usual_ones(secure_peer: Peer, authority: Authority) -> None:
    url = f"{secure_peer.url}/"
    async with httpx.AsyncClient(transport=egress.open_transport(settings())) as http:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(url)
    given = settings(ca_bundle=str(authority.root))
    async with httpx.AsyncClient(transport=egress.open_transport(given)) as http:
        assert (await http.get(url)).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(f"https://localhost:{secure_peer.port}/")


def test_what_has_no_certificates_stops_the_process(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificates\n")
    for path in (tmp_path / "gone.pem", tmp_path, empty):
        with pytest.raises(InvalidSettings, match="INTERLOCK_CA_BUNDLE is wrong: it must be the path of a file"):
            settings(ca_bundle=str(path))


async def test_chats_go_out_the_same_way(way: TinyProxy, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    way.names["slack.example.test"] = peer.port
    async with client(settings(http_proxy=way.url())) as http:
        answer = await asked(http, "Slack", "GET", "http://slack.example.test/api/users.info", params={"user": "U1"})
        assert answer == (200, {"ok": True})
        peer.answers(302, Location="http://elsewhere.example.test/")
        assert (await asked(http, "Slack", "GET", "http://slack.example.test/"))[0] == 302
    assert way.forwarded == [
        "GET http://slack.example.test/api/users.info?user=U1 HTTP/1.1",
        "GET http://slack.example.test/ HTTP/1.1",
    ]
