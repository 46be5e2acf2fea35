"""Promises of `page` and its template: everything on one page, safe, readable without JavaScript, valid HTML."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from sidecar.status.http import _headers
from sidecar.status.http import html_of as page
from sidecar.status.page import MAX_STREAMS, counts, milliseconds, parts, symbol, waiting
from sidecar.status.value import (
    FailoverNow,
    Failure,
    FlowNow,
    HopNow,
    Minute,
    MirrorNow,
    RouteNow,
    Span,
    Status,
    StreamNow,
)
from tests.statuses import CONFIGURATION, HANGS, NOW, address, endpoint, spool, status, upstream

EVIL = "<script>alert(1)</script>\"'&"
VOID = {"meta", "link", "wbr"}
HUNG = upstream(
    endpoint(
        "eqiad",
        address("unhealthy", HANGS, spans=(Span(NOW - 3000, "healthy", "x"), Span(NOW - 720, "unhealthy", HANGS))),
    ),
    endpoint("codfw", address()),
    first="codfw",
)


class Reader(HTMLParser):
    """Parses a page, and checks its nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Record the text."""
        self.words += data

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags with this name."""
        return [attributes for each, attributes in self.tags if each == tag]


def evil() -> Status:
    """Return a status in which every external text is an attack."""
    ends = upstream(
        endpoint("eqiad", address("unhealthy", EVIL, check=EVIL), problem=EVIL), endpoint("codfw", problem=EVIL)
    )
    return status(
        labels={"env": EVIL},
        upstreams=(ends,),
        routes=(RouteNow(EVIL, None, None, EVIL, {}),),
        streams=(StreamNow(EVIL, (EVIL,), {"delivered": 1}),),
        configuration={**CONFIGURATION, "file": EVIL, "refused": EVIL},
        spool=spool(directory=EVIL, trouble=EVIL, upstreams={EVIL: 1}),
        failures=(Failure(NOW, EVIL, 1),),
    )


@pytest.mark.parametrize(
    ("more", "mark"),
    [
        ({}, "✓ All well"),
        ({"upstreams": (HUNG,)}, "▲ staging: eqiad has been down"),
        ({"last_minute": {"failed": 1}}, "✕ 1 event"),
    ],
    ids=["well", "a datacenter hangs", "events fail"],
)
def test_the_sentence_is_on_top(more: dict[str, Any], mark: str) -> None:
    """With a mark for people who do not see colours; the tab has the same mark."""
    read = Reader(page(status(**more)))
    assert re.search(r"<h1[^>]*>([^<]*)", page(status(**more)))[1].startswith(mark)  # type: ignore[index]
    assert len(read.all_of("h1")) == 1
    assert read.words.lstrip().startswith(mark[0])


def test_everything_is_on_it() -> None:
    """All that an operator looks for, as text."""
    words = Reader(
        page(
            status(
                upstreams=(HUNG,),
                configuration={**CONFIGURATION, "refused": "routes.yaml:7:5: no such upstream"},
                spool=spool(events=3, oldest_seconds=300.0, upstreams={"staging": 3}),
                failures=(Failure(NOW - 60, "a POST failed", 7),),
            )
        )
    ).words
    for each in (
        "staging → codfw",
        "https://staging.svc.eqiad.wmnet:4492/v1/events",
        "DNS10.2.2.45",
        "enwiki-drafttopic-1 · version 1.2.3 · env=staging",
        "No action is needed for events. ",
        "Runbook: One datacenter is down",
        "✕ unhealthy since",
        "(12 min ago)",
        HANGS,
        "last answered 1 s ago; p50 4.0 ms, p95 31 ms",
        "mediawiki.a",
        "0123456789ab",
        "routes.yaml:7:5: no such upstream",
        "3 events, the oldest for 5 min (staging: 3)",
        "a POST failed",
        "env=staging",
    ):
        assert each in words


def test_the_last_hour_is_a_picture_with_text() -> None:
    """Health, checks and failovers; each shape has a text, and the picture has a title."""
    with_failover = msgspec.structs.replace(HUNG, failovers=(FailoverNow(NOW - 720, "eqiad", "codfw"),))
    text = page(status(upstreams=(with_failover,), minutes=(Minute(NOW - 60, {"delivered": 90, "failed": 10}),)))
    read = Reader(text)
    boxes = [(each.get("class"), each["x"], each["width"]) for each in read.all_of("rect")]
    assert ("healthy", "600.0", "2280.0") in boxes
    assert ("unhealthy", "2880.0", "720.0") in boxes
    assert ("mark", "2876.0", "8.0") in boxes
    assert ("failed", "3545.0", "50.0") in boxes
    assert "eqiad → codfw" in text
    assert all(each["role"] == "img" and each["aria-label"] for each in read.all_of("svg"))
    assert len(read.all_of("rect")) + len(read.all_of("path")) == text.count("<title>") - 1


def test_trouble_is_seen_without_colours() -> None:
    """It is taller on the time line, as is a minute with a failed check."""
    boxes = Reader(page(status(upstreams=(HUNG,)))).all_of("rect")
    heights = {each.get("class"): float(each["height"] or 0) for each in boxes}
    assert heights["unhealthy"] > heights["healthy"]
    assert heights["failed"] > 3


def test_an_upstream_that_is_out_leads_nowhere() -> None:
    """Whichever endpoint gets the next trial."""
    assert "<h2>staging → nowhere" in page(status(upstreams=(upstream(HUNG.endpoints[0]),)))


def test_every_route_has_a_count() -> None:
    """0 if it took nothing yet."""
    routes = (
        RouteNow("busy", "main", None, None, {"delivered": 7, "failed": 5}),
        RouteNow("idle", "main", "b", None, {}),
    )
    text = page(status(routes=routes))
    assert '<th scope="row">busy</th><td>main</td><td>the same</td><td class="number">12</td>' in text
    assert '<th scope="row">idle</th><td>main</td><td>b</td><td class="number">0</td>' in text


def test_a_mirror_is_shown_beside_its_route() -> None:
    """With its percentage, its upstream, and the results of its copies."""
    mirror = MirrorNow("staging", "b", 5, {"sent": 3, "full": 1})
    text = page(status(routes=(RouteNow("busy", "main", None, None, {}, mirror),)))
    assert '<td>main<br><span class="dim">5 % copied to staging as b: 3 sent, 1 full</span></td>' in text


def test_trouble_comes_first() -> None:
    """Upstreams without a route of this pod come last."""
    idle = msgspec.structs.replace(upstream(used=False), name="idle")
    well = msgspec.structs.replace(upstream(), name="well")
    headings = re.findall(r"<h2>(\w+) →", page(status(upstreams=(idle, well, HUNG))))
    assert headings == ["staging", "well", "idle"]


def test_an_outage_comes_before_a_refused_file() -> None:
    """An outage costs events, an edit does not."""
    out = upstream(HUNG.endpoints[0], endpoint("codfw", problem="no such name"))
    text = page(status(upstreams=(out,), configuration={**CONFIGURATION, "refused": "x"}))
    assert re.findall(r"<h2>(\w+)", text)[:2] == ["Flow", "staging"]


def test_facts_about_an_endpoint_appear_once() -> None:
    """Its host is part of its address, and nowhere else."""
    alone = upstream(endpoint("staging.svc.eqiad.wmnet:4492", address()))
    text = re.sub(r"<svg.*?</svg>", "", page(status(upstreams=(alone,))), flags=re.DOTALL)
    assert Reader(text).words.count("staging.svc.eqiad.wmnet") == 1


def test_pictures_start_with_the_process() -> None:
    """At most an hour ago; nothing earlier is known."""
    for started, width, begin, middle in (
        (NOW - 7200, "3600.0", "an hour ago", "30 min"),
        (NOW - 600, "600.0", "10 min ago", "5 min"),
    ):
        read = Reader(page(status(started=started)))
        assert {(each["viewbox"] or "").split()[2] for each in read.all_of("svg")[2:]} == {width}
        assert begin in read.words
        assert middle in read.words


def test_minutes_without_events_have_a_picture() -> None:
    """At night; the page has its date."""
    text = page(status(minutes=(Minute(NOW - 60, {}),)))
    assert "<svg" in text
    assert "2027-01-15" in text


def test_the_events_of_a_minute_are_stacked() -> None:
    """Delivered ones at the bottom, then spooled ones, then all that failed."""
    minute = Minute(NOW - 60, {"delivered": 50, "spooled": 30, "failed": 10, "invalid": 10})
    boxes = [each for each in Reader(page(status(minutes=(minute,)))).all_of("rect") if each["x"] == "3543.0"]
    assert [(each.get("class"), each["y"], each["height"]) for each in boxes] == [
        ("delivered", "50.0", "50.0"),
        ("spooled", "20.0", "30.0"),
        ("failed", "0.0", "20.0"),
    ]


def test_a_refused_file_comes_before_healthy_parts() -> None:
    """The person who edited it finds it at once."""
    for refused, first in ((None, "Flow"), ("line 7: no", "Configuration")):
        text = page(status(configuration={**CONFIGURATION, "refused": refused}))
        assert re.findall(r"<h2>(\w+)", text)[0] == first
        assert text.count("<h2>Configuration") == 1


def test_only_outcomes_that_happened_have_a_column() -> None:
    """A phone has no room for zeros."""
    heads = re.findall(r'<th scope="col"[^>]*>(\w+)', page(status()))
    assert heads[heads.index("Stream") :] == ["Stream", "Route", "Delivered"]


def test_many_streams_are_cut_off() -> None:
    """The busiest are shown, with the number of others: a producer may have made them up."""
    many = tuple(StreamNow(f"many{number}", ("all",), {"delivered": 1}) for number in range(MAX_STREAMS + 7))
    read = Reader(page(status(streams=many, flows=())))
    assert len(re.findall(r"many\d+", read.words)) == MAX_STREAMS
    assert "7 more are in status.json." in read.words


def test_the_flow_fits_every_screen() -> None:
    """Wide with streams, narrow without; each link and each box has a text."""
    text = page(status(upstreams=(HUNG,), flows=(FlowNow("s<b>", "all", {"delivered": 60, "refused": 3}),)))
    wide, narrow = re.findall(r'<svg class="flow on-\w+".*?</svg>', text, re.DOTALL)
    for each in (wide, narrow):
        assert "<title>staging → eqiad: 0/min</title>" in each
        assert '<path class="down idle"' in each
        assert f"<title>eqiad: ✕ {HANGS.rpartition(': ')[2]}</title>" in each
        assert "<title>all → refused: 3/min</title>" in each
    assert ("<title>s&lt;b&gt; → all: 63/min</title>" in wide, "s&lt;b&gt;" in narrow) == (True, False)


def test_long_names_are_broken_before_their_parts() -> None:
    """Not inside a word or an address."""
    text = page(status())
    assert "https://staging<wbr>.svc<wbr>.eqiad<wbr>.wmnet<wbr>:4492<wbr>/v1<wbr>/events" in text
    assert "10.2.2.45" in text


def test_nothing_from_outside_is_markup() -> None:
    """Reasons, names and files are text, whatever they contain."""
    text = page(evil())
    read = Reader(text)
    assert len(read.all_of("script")) == 1
    assert "<script>alert" not in text
    assert read.words.count(EVIL) >= 10


def test_it_loads_nothing_from_elsewhere() -> None:
    """No address of another machine is loaded, and the page's policy forbids it."""
    read = Reader(page(status()))
    assert [each.get("href") for each in read.all_of("link")] == ["data:,"]
    assert not any("src" in attributes or "style" in attributes for _, attributes in read.tags)
    assert _headers()["content-security-policy"].startswith("default-src 'none'; ")


def test_the_policy_allows_its_own_style_and_script() -> None:
    """By their digests, and no others."""
    text, policy = page(status()), _headers()["content-security-policy"]
    for tag in ("style", "script"):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert inside
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_it_works_with_a_screen_reader() -> None:
    """A language, landmarks, headings in order, table headers with a scope."""
    read = Reader(page(status(failures=(Failure(NOW, "x", 1),))))
    assert read.all_of("html") == [{"lang": "en"}]
    assert {"header", "main", "footer"} <= {tag for tag, _ in read.tags}
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(each.get("scope") in {"col", "row"} for each in read.all_of("th"))
    assert all(each.get("aria-label") for each in read.all_of("div") if each.get("role") == "region")


def test_without_javascript_it_reloads() -> None:
    """With JavaScript it does not, since that would lose the scroll position."""
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page(status())


@pytest.mark.parametrize(
    "more",
    [
        {"spool": None, "streams": (), "labels": {}, "upstreams": (upstream(first=None, used=False),)},
        {"upstreams": (upstream(endpoint("eqiad", problem="not looked up yet"), first=None),)},
        {
            "upstreams": (
                upstream(
                    endpoint(
                        "eqiad",
                        address("ejected", "it fails", ejected_until=NOW + 8, spans=()),
                        address(
                            "unknown", "not checked yet", since=None, checked=None, answered=None, post_seconds=None
                        ),
                    )
                ),
            )
        },
    ],
    ids=["little", "a start", "several addresses"],
)
def test_every_state_has_a_page(more: dict[str, Any]) -> None:
    """All optional parts may be missing."""
    assert Reader(page(status(**more))).words


def test_a_name_is_split_before_its_parts() -> None:
    """Sentences and numbers are not split; nothing is lost."""
    assert parts("staging.svc.wmnet:4492/v1") == ["staging", ".svc", ".wmnet", ":4492", "/v1"]
    assert parts("10.2.2.45, and so on. ") == ["10.2.2.45, and so on. "]


def test_short_times_are_written_in_milliseconds() -> None:
    """With a decimal if it matters; an unknown time is 0."""
    assert [milliseconds(each) for each in (None, 0.0042, 0.01, 1.2)] == ["0.0 ms", "4.2 ms", "10 ms", "1200 ms"]


def test_outcomes_are_counted_in_words() -> None:
    """Only those that happened."""
    assert counts({"delivered": 7, "spooled": 0, "failed": 1}) == "7 delivered, 1 failed"


def test_every_state_has_a_mark() -> None:
    """Nobody needs colours to distinguish healthy, doubtful and out."""
    assert [symbol(each) for each in ("healthy", "probation", "unknown", "ejected")] == ["●", "◐", "○", "✕"]


def test_waiting_events_are_shown_with_their_age() -> None:
    """And with their upstream, if known."""
    assert waiting(spool()) == "0 events"
    some = spool(events=3, oldest_seconds=300.0, upstreams={"a": 2, "b": 1})
    assert waiting(some) == "3 events, the oldest for 5 min (a: 2, b: 1)"


def test_what_changed_hands_is_shown() -> None:
    """At a pod how much its gateway has, and at a gateway whose events they are; nothing where there is none."""
    hop = HopNow("gw.svc", "it is full", {}, {})
    handed = {"handed_over": {"taken": 5, "doubtful": 2}, "taken_over": {"env=staging": 7, "": 1}, "hop": hop}
    html = page(status(spool=spool(**handed)))
    assert '<dt>Gateway</dt><dd>gw<wbr>.svc: <strong class="gone">✕ it is full</strong></dd>' in html
    assert "<dt>Handed over</dt><dd>5 taken, 2 doubtful</dd>" in html
    assert "<dt>Taken over</dt><dd>7 from env=staging; 1 from a pod without labels</dd>" in html
    assert "Handed over" not in page(status())
