"""The egress rule as a value: what may stand in it, and which hosts it means."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import ConfigError, EgressError
from adaptkit.config import load
from adaptkit.http import Egress, checked_url, loopback


def test_absent_allows_everything_and_none_allows_nothing():
    assert Egress.parse(None).allows("api.example.com")
    nothing = Egress.parse("none")
    assert nothing.offline
    assert nothing == Egress.parse([])
    assert not nothing.allows("api.example.com")
    assert nothing.allows("127.0.0.1")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "all",
        "api.example.com",
        [""],
        ["."],
        [" "],
        ["*"],
        ["*.example.com"],
        ["https://api.example.com"],
        ["api.example.com/v1"],
        ["api.example.com:443"],
        ["[::1]:443"],
        ["user@api.example.com"],
        ["api.example.com\\@evil.test"],
        ["api.example.com#x"],
        ["api.example.com?x"],
        ["api..example.com"],
        [".example.com"],
        ["api.example.com\n"],
        ["api example.com"],
        ["none"],
        ["ok.example.com", ""],
        [7],
        [None],
        7,
        b"none",
        {"a": 1}.values(),
    ],
)
def test_what_cannot_be_a_policy(value):
    with pytest.raises(ConfigError, match="egress"):
        Egress.parse(value)


@given(st.one_of(st.none(), st.text(), st.lists(st.text() | st.integers()), st.integers(), st.binary()))
def test_any_value_is_a_policy_or_a_typed_error(value):
    try:
        policy = Egress.parse(value)
    except ConfigError:
        return
    assert not policy.allows("api.example.com") or value is None or "api.example.com" in value


def test_every_wrong_host_is_named():
    with pytest.raises(ConfigError) as caught:
        Egress.parse(["https://one.test", "*.two.test", "three.test"])
    assert "one.test" in str(caught.value)
    assert "two.test" in str(caught.value)
    assert "three.test" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("API.Example.com", "api.example.COM"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com", "api.example.com."),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "BÜCHER.example"),
        ("2001:DB8::1", "2001:db8:0:0:0:0:0:1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_spellings_of_one_host(entry, host):
    assert Egress.parse([entry]).allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "sub.api.example.com",
        "api.example.com.evil.test",
        "evil-api.example.com",
        "api.example.com..",
        "api.example.com@evil.test",
        "api.example.com:80",
        "api.exаmple.com",  # noqa: RUF001 - one letter is Cyrillic
        "",
        "*",
    ],
)
def test_hosts_that_only_look_like_it(host):
    assert not Egress.parse(["api.example.com"]).allows(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com@evil.test/",
        "https://api.example.com:443@evil.test/",
        "https://api.example.com\\@evil.test/",
        "https://evil.test/api.example.com",
        "https://evil.test?@api.example.com",
        "https://evil.test#@api.example.com",
        "https://api.example.com%2eevil.test/",
        "https://api.example.com.evil.test/",
    ],
)
def test_a_request_is_judged_by_where_it_goes(url):
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(str(request.url))
        return httpx2.Response(200)

    from adaptkit.http import client

    with client(Egress.parse(["api.example.com"]), transport=httpx2.MockTransport(answer)) as http:
        assert http.get("https://api.example.com/x").status_code == 200
        with pytest.raises(EgressError):
            http.get(url)
    assert sent == ["https://api.example.com/x"]


def test_this_machine_is_no_egress():
    for host in ("localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.9.10", "::1", "[::1]"):
        assert loopback(host)
        assert Egress.parse("none").allows(host)
    for host in ("0.0.0.0", "10.0.0.1", "::", "localhost.evil.test", "127.0.0.1.evil.test", "2130706433", "127.1", ""):
        assert not loopback(host)
        assert not Egress.parse("none").allows(host)


def test_the_message_names_the_hosts_and_what_to_do():
    with pytest.raises(EgressError, match=r"b\.test, c\.test.*allowed: a\.test.*\[policy\] egress"):
        Egress.parse(["a.test"]).require(["c.test", "a.test", "b.test"], "this")


def test_a_url_that_is_configured():
    assert checked_url("https://API.example.com/v1/") == "https://api.example.com/v1"
    assert checked_url("http://[::1]:8000/v1") == "http://[::1]:8000/v1"
    assert checked_url("http://localhost:11434/v1") == "http://localhost:11434/v1"


@given(st.text() | st.text().map(lambda text: f"https://{text}"))
def test_any_text_is_a_url_or_a_typed_error(text):
    try:
        checked = checked_url(text)
    except ConfigError as error:
        assert len(text) < 5 or text not in str(error) or text in "not a URL; it looks like https://host/v1"  # noqa: PT017
        return
    assert httpx2.URL(checked).host


@pytest.mark.parametrize(
    ("value", "good"), [('"none"', True), ('["a.test"]', True), ('"a.test"', False), ("[1]", False)]
)
def test_in_a_file(tmp_path, value, good):
    file = tmp_path / "adaptkit.toml"
    file.write_text(f"[policy]\negress = {value}\n")
    if good:
        assert load(file).egress.hosts is not None
        return
    with pytest.raises(ConfigError, match="egress") as caught:
        load(file)
    assert str(file) in str(caught.value)
