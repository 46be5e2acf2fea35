"""Promises of `diff`: it shows exactly the effect of an edit on streams, and marks dangerous changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from sidecar.commands.diff import Danger, Setting, as_data, compare, in_markdown, in_text, streams_in
from sidecar.errors import SettingError
from sidecar.events.event import Event
from sidecar.routes.language.config import Config
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from sidecar.routes.samples import pods_of
from sidecar.routes.ways import Way, way_of
from tests.anyroutes import CONFIGS, EVENTS, event_of
from tests.commands.conftest import ROUTES as WELL
from tests.commands.conftest import run
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
NEW = ROUTES.replace(", stream: test}", "}").replace("env: staging}}, to: staging", "env: staging}}, reject: no more")
OTHER_HOST = ROUTES.replace("[eqiad, codfw]", "[codfw, eqiad]\n    topic_prefixes: [staging.]\n    failback: 1m")


def changed(old: str, new: str) -> list[tuple[str, str | None, Danger | None]]:
    """The streams of each environment whose way changes, with their marks."""
    found = compare(read(ROUTES), read(ROUTES.replace(old, new)))
    return [(change.labels.get("env", ""), change.event.stream, change.mark) for change in found.changes]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: scores", "name: results"),
        ("  - {name: production, match: {labels: {env: production}}, to: production}\n", ""),
    ],
    ids=["a route has another name", "the same"],
)
def test_mere_changes_of_text_change_nothing(old: str, new: str) -> None:
    """Such as another route name, or another order with the same effect."""
    if not new:
        text = ROUTES.replace(old, "").replace("routes:\n", f"routes:\n{old}")
        assert compare(read(ROUTES), read(text)).changes == ()
    else:
        assert changed(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (", stream: test}", "}", [("staging", "score_a", Danger.TO_PRODUCTION)]),
        (
            "env: staging}}, to: staging",
            "env: staging}}, to: production",
            [("staging", "link", Danger.TO_PRODUCTION), ("staging", "test", Danger.TO_PRODUCTION)],
        ),
        (
            "env: staging}}, to: staging",
            "env: staging}}, reject: no more",
            [("staging", "link", Danger.STOPS), ("staging", "test", Danger.STOPS)],
        ),
        ("to: production, stream: test", "to: staging", [("staging", "score_a", None)]),
        (
            "http://{datacenter}/v1/events\n    datacenters: [eqiad, codfw]",
            "http://production/v1/events",
            [("staging", "link", Danger.TO_PRODUCTION), ("staging", "test", Danger.TO_PRODUCTION)],
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
def test_streams_with_another_way_are_shown(
    old: str, new: str, changes: list[tuple[str, str | None, Danger | None]]
) -> None:
    """For each kind of pod, with a mark if events newly reach production or nobody."""
    assert sorted(changed(old, new)) == sorted(changes)


@pytest.mark.parametrize(
    ("mirror", "mark", "after"),
    [
        ("{to: staging}", None, "production, copied to staging"),
        ("{to: staging, stream: a.copy, percent: 5}", None, "production, 5 % copied to staging as a.copy"),
        ("{to: production, stream: test}", Danger.TO_PRODUCTION, "production, copied to production as test"),
    ],
    ids=["to staging", "some of them", "to production"],
)
def test_a_copy_is_a_change(mirror: str, mark: Danger | None, after: str) -> None:
    """Marked if it writes a new name to production."""
    new = ROUTES.replace("env: production}}, to: production", f"env: production}}}}, to: production, mirror: {mirror}")
    changes = [change for change in compare(read(ROUTES), read(new)).changes if change.event.stream == "link"]
    assert [change.mark for change in changes] == [mark]
    assert f"production → {after}\n" in in_text(compare(read(ROUTES), read(new)))
    assert in_text(compare(read(new), read(new))).endswith("every one goes the same way\n")


def test_a_new_environment_and_a_new_stream_are_compared() -> None:
    """What only one file names is compared in both."""
    new = "  - {name: new, match: {labels: {env: new}, stream: fresh}, to: production}\ntests:\n"
    found = changed("tests:\n", new)
    assert found == [("new", "fresh", Danger.TO_PRODUCTION)]


def test_streams_can_be_added() -> None:
    """Streams that no file names are compared; only other examples of patterns remain."""
    old, new = read(ROUTES), read(ROUTES.replace('"score_*"', '"*_a"'))
    found = compare(old, new, streams_in("# more\nscore_b  /score/1.0.0\n\nlink_a # new\n", "streams.txt"))
    assert [(each.event.stream, each.event.schema, each.mark, each.stands_for) for each in found.changes] == [
        ("score_b", "/score/1.0.0", None, None),
        ("link_a", None, Danger.TO_PRODUCTION, None),
    ]


def test_patterns_are_compared_by_an_example() -> None:
    """A narrower glob stops streams that no file names."""
    text = ROUTES.replace("  - {name: staging, match: {labels: {env: staging}}, to: staging}\n", "")
    old, new = read(text.replace("stream: score_a", "stream: score_damaging")), text.replace('"score_*"', '"score_d*"')
    found = compare(old, read(new.replace("stream: score_a", "stream: score_damaging")))
    assert [(each.event.stream, each.mark, each.stands_for) for each in found.changes] == [
        ("score_x", Danger.STOPS, "stream score_*")
    ]
    assert "! score_x (an example of stream score_*): is no longer delivered\n" in in_text(found)
    assert "route scores: match.stream was score_*, is score_d*\n" in in_text(found)


def test_values_of_labels_that_no_rule_distinguishes_are_one_change() -> None:
    """A route to production for 21 names is marked once; expressions name pods, too."""
    names = [f"n{number}" for number in range(21)]
    route = f"  - {{name: more, match: {{labels: {{isvc: [{', '.join(names)}]}}}}, to: production}}\ntests:\n"
    found = compare(read(ROUTES), read(ROUTES.replace("tests:\n", route)))
    assert [(change.labels, change.event.stream) for change in found.changes if change.mark] == [
        ({"isvc": "n0"}, stream) for stream in ("score_a", "link", "test")
    ]
    assert "isvc=n0 (or n1, n2, n3 and 17 more):\n" in in_text(found)
    expression = ROUTES.replace("env: staging}}, to: staging", "env: '/^(staging|dev)/'}}, to: production")
    assert ("dev", "link") in {
        (each.labels.get("env"), each.event.stream) for each in compare(read(ROUTES), read(expression)).changes
    }


def test_patterns_without_an_example_are_reported() -> None:
    """They are not skipped silently."""
    found = compare(read(ROUTES), read(ROUTES.replace("labels: {env: production}", "labels: {env: '/a\\Bb\\b./'}")))
    assert found.not_compared == ("labels.env /a\\Bb\\b./",)
    assert "not compared: what labels.env /a\\Bb\\b./ matches, since no example was found\n" in in_text(found)


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("name: scores", "name: results", []),
        ("to: production, stream: test", "to: staging", ["to was production, is staging", "stream is removed: test"]),
        (
            "to: production, stream",
            "to: production, mirror: {to: staging}, stream",
            ["mirror is new: 100 % to staging"],
        ),
        ("to: production, stream", "to: production, order_by: [a, b], stream", ["order_by is new: a, b"]),
    ],
)
def test_differences_in_a_route_are_reported(old: str, new: str, rules: list[str]) -> None:
    """Key by key; another name alone is none."""
    found = compare(read(ROUTES), read(ROUTES.replace(old, new))).rules
    assert [str(each) for each in found] == [f"route scores: {each}" for each in rules]


def test_new_and_removed_routes_are_reported() -> None:
    """With their keys."""
    more = read(ROUTES.replace("tests:\n", "  - {name: late, match: {stream: late}, reject: too late}\ntests:\n"))
    assert list(map(str, compare(read(ROUTES), more).rules)) == [
        "route late is new: match.stream late, reject too late"
    ]
    assert list(map(str, compare(more, read(ROUTES)).rules)) == ["route late is removed"]


def test_a_list_of_streams_has_a_stream_in_each_line() -> None:
    """Anything else is refused with its place."""
    with pytest.raises(SettingError, match=r"^s\.txt:2: 'a b c' is not a stream; write a name and then its schema$"):
        streams_in("a\na b c", "s.txt")


def test_settings_that_move_no_stream_are_reported() -> None:
    """How events are delivered, and what is accepted."""
    settings = ("timeouts: {attempt: 1s}", "on_ambiguous: fail", "accepts: [{labels: {env: staging}, stream: '*'}]")
    new = ROUTES.replace("    datacenters", "".join(f"    {each}\n" for each in settings) + "    datacenters")
    found = compare(read(ROUTES), read(new))
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
    """For any two files, an event is a change exactly if the routers send it to different places."""
    event = event_of(value)
    changes = compare(old, new, [event]).changes
    for labels in pods_of([old, new]):
        listed = [(each.before, each.after) for each in changes if each.event is event and each.labels == labels]
        routers = Router(old, labels), Router(new, labels)
        if not any(way_of(router, event).depends_on for router in routers):
            before, after = (place(router, event) for router in routers)
            assert [(_place(one), _place(other)) for one, other in listed] == (
                [(before, after)] if before != after else []
            )


def place(router: Router, event: Event) -> tuple[object, ...] | None:
    """The upstream and stream to which a running sidecar would send `event`."""

    def at(name: str) -> tuple[object, ...]:
        upstream = router.config.upstreams[name]
        return name, tuple(url for _, url in upstream.endpoints), tuple(upstream.topic_prefixes)

    decision, copy = router.decide(event), router.decide(event).copy
    if decision.upstream is None:
        return None
    copied = (copy.stream, copy.percent, *at(copy.upstream)) if copy and not copy.refusal else None
    return decision.stream or event.stream, *at(decision.upstream), copied


def _place(way: Way) -> tuple[object, ...] | None:
    copy = way.copy
    copied = (copy.stream, copy.percent, copy.upstream, copy.urls, copy.topic_prefixes) if copy else None
    return None if way.refused else (way.stream, way.upstream, way.urls, way.topic_prefixes, copied)


@unhurried
@given(CONFIGS, EVENTS)
def test_a_file_does_not_differ_from_itself(config: Config, value: dict[str, object]) -> None:
    """Any file."""
    found = compare(config, config, [event_of(value)])
    assert (found.changes, found.settings, found.rules, found.marked) == ((), (), (), 0)


# --- what is printed ---


def test_a_terminal_shows_each_pod_and_its_streams() -> None:
    """Marked changes stand out, with before and after, and the number of streams compared."""
    assert in_text(compare(read(ROUTES), read(NEW))) == (
        "env=staging:\n"
        "! score_a: starts writing to production\n"
        "    production as test → production\n"
        "! link: is no longer delivered\n"
        "    staging → refused\n"
        "! test: is no longer delivered\n"
        "    staging → refused\n"
        "route scores: stream is removed: test\n"
        "route staging: to is removed: staging\n"
        "route staging: reject is new: no more\n"
        "\n"
        "3 streams from 3 kinds of pods: 3 changes, 3 marked\n"
    )


def test_a_comment_on_a_review_is_a_table() -> None:
    """The same as Markdown."""
    assert in_markdown(compare(read(ROUTES), read(NEW))) == (
        "**routes.yaml, by effect**\n"
        "\n"
        "| pod | stream | before | after | mark |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| env=staging | score_a | production as test | production | starts writing to production |\n"
        "| env=staging | link | staging | refused | is no longer delivered |\n"
        "| env=staging | test | staging | refused | is no longer delivered |\n"
        "\n"
        "- route scores: stream is removed: test\n"
        "- route staging: to is removed: staging\n"
        "- route staging: reject is new: no more\n"
        "\n"
        "3 streams from 3 kinds of pods: 3 changes, 3 marked\n"
    )


def test_equal_names_show_the_difference_behind_them() -> None:
    """The URLs of upstreams with one name; a setting has its own line."""
    assert in_text(compare(read(ROUTES), read(OTHER_HOST))).splitlines()[1:5] == [
        "  link",
        "    staging at http://eqiad/v1/events, http://codfw/v1/events → "
        "staging at http://codfw/v1/events, http://eqiad/v1/events",
        "  test",
        "    staging at http://eqiad/v1/events, http://codfw/v1/events → "
        "staging at http://codfw/v1/events, http://eqiad/v1/events",
    ]
    assert "upstream staging: failback was 30s, is 60s\n" in in_text(compare(read(ROUTES), read(OTHER_HOST)))


def test_topics_are_shown_if_all_else_is_the_same() -> None:
    """A new topic prefix of an upstream is a change for consumers."""
    text = ROUTES.replace("datacenters", "topic_prefixes: [staging.]\n    datacenters")
    assert "  link\n    topics not said → topics staging.link\n" in in_text(compare(read(ROUTES), read(text)))


def test_no_changes_are_one_line() -> None:
    """Two files with the same effect."""
    same = "3 streams from 3 kinds of pods: every one goes the same way\n"
    assert in_text(compare(read(ROUTES), read(ROUTES))) == same
    assert in_markdown(compare(read(ROUTES), read(ROUTES))) == f"**routes.yaml, by effect**\n\n{same}"


def test_a_program_reads_the_same() -> None:
    """The complete changes, as JSON."""
    data = json.loads(json.dumps(as_data(compare(read(ROUTES), read(NEW)))))
    assert (data["marked"], data["streams"], data["pods"], data["settings"]) == (3, 3, 3, [])
    change = data["changes"][0]
    assert (change["labels"], change["stream"], change["mark"]) == (
        {"env": "staging"},
        "score_a",
        "starts writing to production",
    )
    assert (change["before"]["sent_as"], change["after"]["sent_as"]) == ("test", "score_a")


# --- the command ---


def test_diff_marks_what_must_not_be_overlooked(routes: Path, tmp_path: Path) -> None:
    """Status 1 if a stream stops being delivered, in each format; 0 if nothing is marked."""
    new = tmp_path / "new.yaml"
    new.write_text(WELL.replace("stream: links}, to: staging", "stream: links}, reject: no more"))
    text = run("diff", routes, new)
    assert (text.exit_code, text.stdout.splitlines()[-1]) == (1, "3 streams from 2 kinds of pods: 1 change, 1 marked")
    markdown = run("diff", routes, new, "--format", "markdown")
    assert (
        markdown.exit_code,
        "| env=staging | links | staging | refused | is no longer delivered |" in markdown.stdout,
    ) == (1, True)
    as_json = run("diff", "--json", routes, new)
    assert (as_json.exit_code, json.loads(as_json.stdout)["marked"]) == (1, 1)
    assert run("diff", new, routes).exit_code == 0


def test_diff_takes_more_streams(routes: Path, tmp_path: Path) -> None:
    """A list of additional streams is compared; a broken list is status 2."""
    (tmp_path / "streams.txt").write_text("other\n")
    (tmp_path / "none.txt").write_text("other than these\n")
    more = run("diff", routes, routes, "--streams", tmp_path / "streams.txt")
    assert (more.exit_code, more.stdout) == (0, "4 streams from 2 kinds of pods: every one goes the same way\n")
    none = run("diff", routes, routes, "--streams", tmp_path / "none.txt")
    assert (none.exit_code, none.stderr.startswith(f"eventgate-sidecar: {tmp_path}/none.txt:1: ")) == (2, True)


def test_diff_refuses_a_file_that_check_refuses(routes: Path, tmp_path: Path) -> None:
    """A new file with a failing test is status 2, with its problems; the old file may have any."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(WELL.replace("upstream: staging, stream: score-test", "stream: other"))
    assert bad.read_text() != WELL
    refused = run("diff", routes, bad)
    assert (refused.exit_code, refused.stdout, "fails: expected other" in refused.stderr) == (2, "", True)
    assert run("diff", bad, routes).exit_code == 0
