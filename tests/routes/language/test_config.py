"""Promises of `config`: what each field accepts, and its default."""

from __future__ import annotations

import pytest

from sidecar.routes.language.config import Config, Expect, Match, Route, Upstream
from sidecar.routes.language.pattern import Pattern, Template
from sidecar.routes.language.section import Refused, Section, fields

URL = "https://eventgate-main.discovery.wmnet:4492/v1/events"


def test_only_required_keys_are_required() -> None:
    """An upstream needs its URL; all else has the default that the reference names."""
    assert Upstream.read({"url": URL}) == Upstream.read(
        {
            "url": URL,
            "datacenters": [],
            "tls": {},
            "timeouts": {"connect": "500ms", "attempt": "1.5s", "deadline": "4s"},
            "on_ambiguous": "resend",
            "health_check": {"path": "/_info", "interval": "5s", "timeout": "1s", "fall": 3, "rise": 2},
            "outlier": {
                "consecutive": 3,
                "percent": 50,
                "requests": 10,
                "window": "30s",
                "ejection": "5s",
                "max_ejection": "1m",
            },
            "coalesce": {"max_events": 128, "max_bytes": "1MiB", "linger": "5ms"},
            "failback": "30s",
        }
    )


def test_a_file_becomes_patterns_and_templates() -> None:
    """They are compiled when the file is read, not when an event comes."""
    route = Route.read(
        {
            "name": "a",
            "match": {
                "labels": {"env": "staging"},
                "stream": "/^(.*)$/",
                "schema": "/b/*",
                "event": {"wiki_id": ["x"]},
            },
            "to": "production",
            "stream": "{1}.test",
        }
    )
    assert route.stream == Template.parse("{1}.test")
    sources = {
        "labels": {name: pattern.source for name, pattern in route.match.labels.items()},
        "stream": route.match.stream and route.match.stream.source,
        "schema": route.match.schema_ and route.match.schema_.source,
        "event": {path: pattern.source for path, pattern in route.match.event.items()},
    }
    assert sources == {
        "labels": {"env": "staging"},
        "stream": "/^(.*)$/",
        "schema": "/b/*",
        "event": {"wiki_id": ("x",)},
    }
    assert isinstance(route.match.stream, Pattern)


@pytest.mark.parametrize(
    ("upstream", "endpoints"),
    [
        pytest.param(
            {"url": URL},
            (("eventgate-main.discovery.wmnet:4492", URL),),
            id="one URL is named after its host",
        ),
        pytest.param(
            {
                "url": "https://staging.svc.{datacenter}.wmnet:4492/v1/events",
                "datacenters": ["codfw", "eqiad"],
            },
            (
                ("codfw", "https://staging.svc.codfw.wmnet:4492/v1/events"),
                ("eqiad", "https://staging.svc.eqiad.wmnet:4492/v1/events"),
            ),
            id="one for each datacenter, in order of preference",
        ),
    ],
)
def test_an_upstream_knows_its_endpoints(upstream: object, endpoints: tuple[tuple[str, str], ...]) -> None:
    """Each has a name for logs and metrics, and its full URL."""
    assert Upstream.read(upstream).endpoints == endpoints


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8192/v1/events",
        "https://[2620:0:861::1]:4492/v1/events",
        "http://localhost/v1/events",
        "https://{datacenter}.wmnet/{datacenter}/events",
    ],
)
def test_a_full_url_is_taken(url: str) -> None:
    """Names and addresses of both kinds, with or without a port, are taken unchanged."""
    assert Upstream.read({"url": url}).url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/v1/events",
        "//a/v1/events",
        "https:///v1/events",
        "https://a",
        "https://a/",
        "https://a:x/v1/events",
        "https://a/v1/events#x",
        "https://me@a/v1/events",
        "https://{host}/v1/events",
        "https://a/v1/ev ents",
        "",
        None,
    ],
    ids=str,
)
def test_half_a_url_is_refused(url: str | None) -> None:
    """A URL that cannot be posted to, or with extra parts, is refused when the file is read."""
    with pytest.raises(Refused) as refusal:
        Upstream.read({"url": url})
    assert [path for path, _ in refusal.value.complaints] == [("url",)]


@pytest.mark.parametrize("prefix", ["a b.", "", 7, None])
def test_an_invalid_topic_prefix_is_refused(prefix: object) -> None:
    """The message says how EventGate's own configuration writes it."""
    assert Upstream.read({"url": URL, "topic_prefixes": ["eqiad."]}).topic_prefixes == ["eqiad."]
    with pytest.raises(Refused, match="with the dot") as refusal:
        Upstream.read({"url": URL, "topic_prefixes": ["eqiad.", prefix]})
    assert [path for path, _ in refusal.value.complaints] == [("topic_prefixes", 1)]


@pytest.mark.parametrize("name", ["a", "a" * 63, "eqiad", "ml-staging.codfw_2", "0"])
def test_a_name_is_taken(name: str) -> None:
    """Names can be used in a metric, a header and a log line."""
    assert Route.read({"name": name}).name == name


@pytest.mark.parametrize("name", ["", "a" * 64, "-a", "a b", "a;b", "zoë", "a\n", 404, None], ids=repr)
def test_a_name_that_could_break_a_header_is_refused(name: object) -> None:
    """Spaces, separators, line breaks and other types."""
    with pytest.raises(Refused):
        Route.read({"name": name})


@pytest.mark.parametrize("section", [each for each in Section.__subclasses__() if each.__module__ == Config.__module__])
def test_sections_are_immutable(section: type[Section]) -> None:
    """A section without `frozen=True` fails here."""
    assert section.__struct_config__.frozen


def test_a_file_needs_three_sections() -> None:
    """Version, upstreams and routes are required; tests are optional."""
    assert [field.name for field in fields(Config) if field.required] == ["version", "upstreams", "routes"]
    assert Match() == Match(labels={}, stream=None, schema_=None, event={})


def test_what_needs_a_spool_is_named() -> None:
    """An order, an answer before EventGate's, and a POST that is repeated only from the spool."""
    upstreams = {"main": {"url": URL}, "careful": {"url": URL, "on_ambiguous": "spool"}}
    routes = [
        {"name": "live", "to": "main"},
        {"name": "ordered", "to": "main", "order_by": ["wiki_id"]},
        {"name": "early", "to": "main", "acknowledge": "spooled"},
    ]
    assert sorted(Config.read({"version": 1, "upstreams": upstreams, "routes": routes}).needs_spool) == [
        "route early has acknowledge: spooled",
        "route ordered has order_by",
        "upstream careful has on_ambiguous: spool",
    ]


def test_an_expectation_has_only_what_was_written() -> None:
    """`false` was written, too."""
    assert Expect.read({"upstream": "main", "refused": False}).given == {"upstream": "main", "refused": False}


@pytest.mark.parametrize("value", [True, False, 0, 1001, 1.5, "3", None])
def test_a_count_is_a_whole_number_from_1_to_1000(value: object) -> None:
    """`true` is none, although Python counts it as 1."""
    assert Upstream.read({"url": URL, "coalesce": {"max_events": 1000}}).coalesce.max_events == 1000
    with pytest.raises(Refused, match="write a whole number from 1 to 1000"):
        Upstream.read({"url": URL, "coalesce": {"max_events": value}})
