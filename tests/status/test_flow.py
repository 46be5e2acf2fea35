"""Promises of `flow`: the picture shows where events go, how many, and where they fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sidecar.status.flow import ALL_WIDE, MAX_NODES, NARROW, WIDE, Link, Picture, flow_of, lines_of
from sidecar.status.value import FlowNow, HopNow, MirrorNow, RouteNow
from tests.statuses import HANGS, address, endpoint, spool, status, upstream

ROUTES = (RouteNow("scores", "staging", "test", None, {}), RouteNow("never", None, None, "no", {}))
HUNG = endpoint("eqiad", address("unhealthy", HANGS))


def drawn(*flows: FlowNow, **more: Any) -> Picture:
    """Return the picture of these flows."""
    return flow_of(status(**({"routes": ROUTES, "flows": flows} | more)), WIDE)[0]


def between(picture: Picture, words: str) -> Link:
    """Return the link whose text begins with this."""
    (found,) = (each for each in picture.links if each.words.startswith(f"{words}: "))
    return found


def test_the_width_of_a_link_shows_its_events() -> None:
    """From the stream over its route and upstream to the datacenter."""
    picture = drawn(FlowNow("a", "scores", {"delivered": 3000}), FlowNow("b", "scores", {"delivered": 140}))
    assert between(picture, "scores → staging").width == ALL_WIDE
    assert between(picture, "a → scores").width == pytest.approx(ALL_WIDE * 3000 / 3140, abs=0.1)
    assert between(picture, "b → scores").words == "b → scores: 140/min"
    assert [each.lines[0] for each in picture.nodes if not each.kind] == ["a", "b", "scores", "staging"]


def test_events_that_do_not_arrive_branch_off() -> None:
    """Refused before an upstream, spooled and failed behind it; each with number and kind."""
    picture = drawn(
        FlowNow("a", "scores", {"spooled": 60, "failed": 7, "refused": 2}),
        FlowNow("_other", None, {"refused": 5}),
        FlowNow("c", "never", {"refused": 1}),
        spool=spool(events=90),
    )
    ends = {each.words.partition(": ")[0]: (each.kind, each.words.rpartition(" ")[2]) for each in picture.links}
    assert ends["staging → spool"] == ("spooled", "60/min")
    assert ends["staging → failed"] == ("down", "7/min")
    assert ends["no route → refused"] == ("spooled", "5/min")
    assert ends["never → refused"][1] == "1/min"
    assert ends["scores → staging"] == ("flow", "67/min")
    assert {each.words for each in picture.nodes if each.kind == "warning"} == {
        "no route: 5/min", "refused: 8/min", "spool: 60/min · 90 wait",
    }  # fmt: skip
    assert "refused 8/min" in picture.words


@pytest.mark.parametrize(
    ("hop", "link", "node"),
    [
        (HopNow("gw", "", {"taken": 50}, {}), ("spooled", "50/min"), ("", "50/min")),
        (HopNow("gw", "", {}, {}), ("spooled", "0/min"), ("", "0/min")),
        (
            HopNow("gw", "cannot connect to 10.0.0.9: no route", {"taken": 50, "refused": 9}, {}),
            ("down", "50/min"),
            ("bad", "✕ no route"),
        ),
        (HopNow("gw", "cannot connect", {"taken": 50}, {}), ("spooled", "50/min"), ("", "50/min")),
    ],
    ids=["takes them", "nothing handed over", "does not take them", "did not take them long ago"],
)
def test_hand_overs_leave_below_the_spool(hop: HopNow, link: tuple[str, str], node: tuple[str, str]) -> None:
    """For the gateway, which is red while it fails; in both layouts."""
    flows = (FlowNow("a", "scores", {"spooled": 60, "failed": 1}),)
    for picture in flow_of(status(routes=ROUTES, flows=flows, spool=spool(hop=hop)), WIDE, NARROW):
        found = between(picture, "spool → gateway gw")
        assert (found.kind, found.words.rpartition(" ")[2]) == link
        nodes = {each.lines[0]: each for each in picture.nodes}
        assert (nodes["gateway gw"].kind, nodes["gateway gw"].note) == node
        assert found.x1 == found.x2
        assert nodes["spool"].y < found.y1 < found.y2 == nodes["gateway gw"].y < nodes["failed"].y


def test_the_spool_is_there_while_it_is_handed_over() -> None:
    """Even if no event came into it in the last minute; without hand-overs there is no gateway, either."""
    hop = HopNow("gw", "", {"taken": 50}, {})
    assert between(drawn(spool=spool(hop=hop)), "spool → gateway gw").words.endswith(": 50/min")
    assert not any("gw" in each.words for each in drawn(spool=spool(hop=HopNow("gw", "", {}, {}))).nodes)


def test_a_gateway_shows_from_whom_events_came() -> None:
    """Pods by their labels, through hand-overs into the spool, and streams of clients."""
    taken = {f"env=e{number}": {"staging": 10 - number} for number in range(MAX_NODES + 1)}
    taken[""] = {"staging": 11, "gone": 4}
    flows = (FlowNow("a", "scores", {"delivered": 60}),)
    wide, narrow = flow_of(status(routes=ROUTES, flows=flows, spool=spool(hop=HopNow("", "", {}, taken))), WIDE, NARROW)
    names = [each.words for each in wide.nodes if not each.x]
    assert names[:3] == ["a: 60/min from clients", "no labels: 15/min from pods", "env=e0: 10/min from pods"]
    assert names[-1] == "3 more pods: 9/min from pods"
    assert len(names) == 1 + MAX_NODES
    total = 11 + sum(range(2, 11))
    for picture in (wide, narrow):
        assert between(picture, "hand-overs → staging").words.endswith(f": {total}/min")
        assert between(picture, "staging → spool").words.endswith(f": {total}/min")
    assert f"hand-overs {total + 4}/min" in wide.words


def test_copies_are_a_link_of_their_own() -> None:
    """From the route to its mirror's upstream, without a number, since copies are counted separately."""
    routes = (RouteNow("scores", "staging", None, None, {}, MirrorNow("lab", None, 5, {"sent": 9})),)
    lab = msgspec.structs.replace(upstream(), name="lab", only_copies=True)
    picture = drawn(FlowNow("a", "scores", {"delivered": 60}), routes=routes, upstreams=(upstream(), lab))
    assert between(picture, "scores → lab")[:1] == ("copies",)
    assert between(picture, "scores → lab").words == "scores → lab: copies"
    assert between(picture, "scores → staging").words == "scores → staging: 60/min"


def test_a_hanging_datacenter_is_red_with_the_reason() -> None:
    """Its link has no events, even if it answered a minute ago."""
    picture = drawn(upstreams=(upstream(HUNG, endpoint("codfw", address()), first="codfw"),))
    assert (between(picture, "staging → eqiad").kind, between(picture, "staging → eqiad").width) == ("down", 0)
    kinds = {each.lines[0]: (each.kind, each.note) for each in picture.nodes}
    assert kinds["eqiad"] == ("bad", "✕ hangs")
    assert kinds["codfw"] == ("well", "● healthy · 3140/min")
    assert kinds["staging"][0] == ""
    assert {each.lines[0]: each.kind for each in drawn(upstreams=(upstream(HUNG),)).nodes}["staging"] == "bad"


def test_made_up_streams_are_bounded() -> None:
    """The busiest have their own nodes, and the rest share one at the bottom."""
    flows = [FlowNow(f"s{number}", f"r{number}", {"delivered": 100 - number}) for number in range(3 * MAX_NODES)]
    picture = drawn(*flows)
    for word, more in (("s", "streams"), ("r", "routes")):
        names = [each.lines[0] for each in picture.nodes if each.lines[0][0] == word and each.lines[0][1:].isdigit()]
        assert names == [f"{word}{number}" for number in range(MAX_NODES - 1)]
        assert f"{2 * MAX_NODES + 1} more {more}" in [each.lines[0] for each in picture.nodes]


@pytest.mark.parametrize("columns", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_overlaps_and_all_is_inside(columns: Any) -> None:
    """Boxes of a column are below each other, and links end in their boxes."""
    flows = [FlowNow(f"stream.{number}" * 8, "scores", {"delivered": 9, "spooled": number}) for number in range(9)]
    (picture,) = flow_of(status(routes=ROUTES, flows=tuple(flows)), columns)
    for one in picture.nodes:
        assert 0 <= one.y < one.y + one.height <= picture.height + 0.2
        assert one.x + one.width <= picture.width
        below = (each for each in picture.nodes if each.x == one.x and each.y > one.y)
        assert all(each.y >= one.y + one.height for each in below)
    assert all(0 <= end <= picture.height for each in picture.links for end in (each.y1, each.y2))
    assert any(each.lines[0].startswith("stream") for each in picture.nodes) == bool(columns[0].width)


def test_routes_are_in_the_order_of_the_file() -> None:
    """In which they are tried, whatever was counted first."""
    names = ("zeta", "alpha", "mid")
    routes = tuple(RouteNow(name, "staging", "test", None, {}) for name in names)
    picture = drawn(*(FlowNow("s", name, {"delivered": 9}) for name in sorted(names)), routes=routes)
    assert [each.lines[0] for each in picture.nodes if each.lines[0] in names] == list(names)


def test_links_of_a_box_do_not_cross_each_other() -> None:
    """They leave and arrive in the order of the boxes at their other ends."""
    names = ("zeta", "alpha", "mid")
    routes = tuple(RouteNow(name, "staging", "test", None, {}) for name in names)
    flows = [
        FlowNow(s, name, {"delivered": 7 * n + len(s)}) for s in ("s", "another") for n, name in enumerate(names, 1)
    ]
    links = drawn(*flows, routes=routes).links
    pairs = [(a, b) for a in links for b in links if (a.x1, a.x2) == (b.x1, b.x2)]
    same_end = [(a, b) for a, b in pairs if {a.words.partition(" ")[0]} == {b.words.partition(" ")[0]}]
    assert len(same_end) > len(links)
    assert [(a, b) for a, b in same_end if (a.y1 < b.y1) is not (a.y2 < b.y2)] == []


def test_a_pod_without_events_shows_where_they_would_go() -> None:
    """Upstreams with a route, and their datacenters; without any there is a picture, too."""
    assert {each.lines[0] for each in drawn().nodes} == {"no events", "staging", "eqiad", "codfw"}
    assert between(drawn(), "no events → staging").width == 0
    assert drawn(upstreams=(upstream(used=False),)).nodes == []


def test_a_narrow_note_keeps_its_number() -> None:
    """The symbol shows the health; for the spool, the inflow matters more than what waits."""
    flows = (FlowNow("a", "scores", {"spooled": 6000}),)
    wide, narrow = flow_of(status(routes=ROUTES, flows=flows, spool=spool(events=123)), WIDE, NARROW)
    notes = [{node.lines[0]: node.note for node in each.nodes} for each in (wide, narrow)]
    assert [each["eqiad"] for each in notes] == ["● healthy · 3140/min", "● 3140/min"]
    assert [each["spool"] for each in notes] == ["6000/min · 123 wait", "6000/min"]


def test_a_long_name_has_two_lines() -> None:
    """Broken between its parts; the rest is cut off."""
    assert lines_of("short", 9) == ("short",)
    assert lines_of("mediawiki.revision_score", 12) == ("mediawiki", ".revision_s…")
    assert lines_of("x" * 30, 12) == ("x" * 12, "x" * 11 + "…")
