"""Promises of `diff`: it shows what an edit does to streams, neither more nor less, and marks what is dangerous."""

from __future__ import annotations

import pytest
from hypothesis import given

from sidecar.commands.diff import Mark, Setting, diff, streams_in
from sidecar.errors import SettingError
from sidecar.events.event import Event
from sidecar.routes.config import Config
from sidecar.routes.loader import read
from sidecar.routes.routing import Router
from sidecar.routes.samples import pods_of
from sidecar.routes.ways import Way, way_of
from tests.anyroutes import CONFIGS, EVENTS, event_of
from tests.jsontext import unhurried

ROUTES = """\
version: 1
upstreams:
  production:
    url: http://production/v1/events
  staging:
    url: http://{datacenter}/v1/events
    datacenters: [eqiad, codfw]
routes:
  - {name: scores, match: {labels: {env: staging}, stream: "score_*"}, to: production, stream: test}
  - {name: staging, match: {labels: {env: staging}}, to: staging}
  - {name: production, match: {labels: {env: production}}, to: production}
tests:
  - {name: a, labels: {env: staging}, event: {meta: {stream: score_a}}, expect: {stream: test}}
  - {name: b, labels: {env: staging}, event: {meta: {stream: link}}, expect: {stream: link}}
"""


def changed(old: str, new: str) -> list[tuple[str, str | None, Mark | None]]:
    """Which streams of which environment go another way, and the mark of each."""
    found = diff(read(ROUTES), read(ROUTES.replace(old, new)))
    return [(change.labels.get("env", ""), change.event.stream, change.mark) for change in found.changes]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: scores", "name: results"),
        ("  - {name: production, match: {labels: {env: production}}, to: production}\n", ""),
    ],
    ids=["a route has another name", "the same"],
)
def test_what_changes_lines_alone_changes_nothing(old: str, new: str) -> None:
    """A name that nobody outside sees is no change, and neither is another order with the same effect."""
    if not new:
        text = ROUTES.replace(old, "").replace("routes:\n", f"routes:\n{old}")
        assert diff(read(ROUTES), read(text)).changes == ()
    else:
        assert changed(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (", stream: test}", "}", [("staging", "score_a", Mark.TO_PRODUCTION)]),
        (
            "env: staging}}, to: staging",
            "env: staging}}, to: production",
            [("staging", "link", Mark.TO_PRODUCTION), ("staging", "test", Mark.TO_PRODUCTION)],
        ),
        (
            "env: staging}}, to: staging",
            "env: staging}}, reject: no more",
            [("staging", "link", Mark.STOPS), ("staging", "test", Mark.STOPS)],
        ),
        ("to: production, stream: test", "to: staging", [("staging", "score_a", None)]),
        (
            "http://{datacenter}/v1/events\n    datacenters: [eqiad, codfw]",
            "http://production/v1/events",
            [("staging", "link", Mark.TO_PRODUCTION), ("staging", "test", Mark.TO_PRODUCTION)],
        ),
        ("[eqiad, codfw]", "[codfw, eqiad]", [("staging", "link", None), ("staging", "test", None)]),
        (
            "http://production/v1/events",
            "http://elsewhere/v1/events",
            [("staging", "score_a", None)] + [("production", stream, None) for stream in ("score_a", "link", "test")],
        ),
    ],
    ids=[
        "a rename is lost", "to production", "refused", "to staging", "production's URL", "another preference",
        "production moves",
    ],
)  # fmt: skip
def test_what_goes_another_way_is_shown(old: str, new: str, changes: list[tuple[str, str | None, Mark | None]]) -> None:
    """Each stream from each kind of pod, and a mark where events reach production or nobody."""
    assert sorted(changed(old, new)) == sorted(changes)


def test_a_new_environment_and_a_new_stream_are_compared() -> None:
    """What only one of the files knows is asked of both."""
    new = "  - {name: new, match: {labels: {env: new}, stream: fresh}, to: production}\ntests:\n"
    found = changed("tests:\n", new)
    assert found == [("new", "fresh", Mark.TO_PRODUCTION)]


def test_streams_may_be_given() -> None:
    """A stream that no file names is compared when it is asked for."""
    old, new = read(ROUTES), read(ROUTES.replace('"score_*"', '"*_a"'))
    assert diff(old, new).changes == ()
    found = diff(old, new, streams_in("# more\nscore_b  /score/1.0.0\n\nlink_a # new\n", "streams.txt"))
    assert [(each.event.stream, each.event.schema, each.mark) for each in found.changes] == [
        ("score_b", "/score/1.0.0", None),
        ("link_a", None, Mark.TO_PRODUCTION),
    ]


def test_a_list_of_streams_has_a_stream_in_each_line() -> None:
    """Anything else is refused with its place."""
    with pytest.raises(
        SettingError, match=r"^s\.txt:2: 'a b c' is no stream; write its name, and after it its schema$"
    ):
        streams_in("a\na b c", "s.txt")


def test_settings_that_move_no_stream_are_told() -> None:
    """What says how events travel, and who may send, is not passed over."""
    settings = ("timeouts: {attempt: 1s}", "on_ambiguous: fail", "accepts: [{labels: {env: staging}, stream: '*'}]")
    new = ROUTES.replace("    datacenters", "".join(f"    {each}\n" for each in settings) + "    datacenters")
    found = diff(read(ROUTES), read(new))
    assert (found.changes, found.settings) == (
        (),
        (
            Setting("staging", "accepts", "everything", "labels.env staging and stream *"),
            Setting("staging", "timeouts.attempt", "1.5s", "1s"),
            Setting("staging", "on_ambiguous", "resend", "fail"),
        ),
    )


@unhurried
@given(CONFIGS, CONFIGS, EVENTS)
def test_diff_and_router_agree(old: Config, new: Config, value: dict[str, object]) -> None:
    """For any two files an event is a change exactly where the routers send it to different places."""
    event = event_of(value)
    changes = diff(old, new, [event]).changes
    for labels in pods_of([old, new]):
        listed = [(each.before, each.after) for each in changes if each.event is event and each.labels == labels]
        routers = Router(old, labels), Router(new, labels)
        if not any(way_of(router, event).depends_on for router in routers):
            before, after = (place(router, event) for router in routers)
            assert [(_place(one), _place(other)) for one, other in listed] == (
                [(before, after)] if before != after else []
            )


def place(router: Router, event: Event) -> tuple[object, ...] | None:
    """Where the running sidecar would send `event`."""
    decision = router.decide(event)
    if decision.upstream is None:
        return None
    upstream = router.config.upstreams[decision.upstream]
    urls = tuple(url for _, url in upstream.endpoints)
    return decision.upstream, decision.stream or event.stream, urls, tuple(upstream.topic_prefixes)


def _place(way: Way) -> tuple[object, ...] | None:
    return None if way.refused else (way.upstream, way.stream, way.urls, way.topic_prefixes)


@unhurried
@given(CONFIGS, EVENTS)
def test_a_file_does_not_differ_from_itself(config: Config, value: dict[str, object]) -> None:
    """Whatever is in it."""
    found = diff(config, config, [event_of(value)])
    assert (found.changes, found.settings, found.marked) == ((), (), 0)
