"""Promises of `diffreport`: a reviewer sees each change with its mark, in a terminal and in a comment."""

from __future__ import annotations

import json

from sidecar.commands.diff import diff
from sidecar.commands.diffreport import as_data, in_markdown, in_text
from sidecar.routes.loader import read
from tests.commands.test_diff import ROUTES

NEW = ROUTES.replace(", stream: test}", "}").replace("env: staging}}, to: staging", "env: staging}}, reject: no more")
OTHER_HOST = ROUTES.replace("[eqiad, codfw]", "[codfw, eqiad]\n    topic_prefixes: [staging.]\n    failback: 1m")


def test_a_terminal_shows_each_pod_and_its_streams() -> None:
    """What is marked stands out, with before and after, and how much was compared."""
    assert in_text(diff(read(ROUTES), read(NEW))) == (
        "env=staging:\n"
        "! score_a: starts writing to production\n"
        "    production as test → production\n"
        "! link: is no longer delivered\n"
        "    staging → refused\n"
        "! test: is no longer delivered\n"
        "    staging → refused\n"
        "\n"
        "3 streams from 3 kinds of pods: 3 changes, 3 marked\n"
    )


def test_a_comment_on_a_review_is_a_table() -> None:
    """The same as Markdown."""
    assert in_markdown(diff(read(ROUTES), read(NEW))) == (
        "**routes.yaml, by effect**\n"
        "\n"
        "| pod | stream | before | after | mark |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| env=staging | score_a | production as test | production | starts writing to production |\n"
        "| env=staging | link | staging | refused | is no longer delivered |\n"
        "| env=staging | test | staging | refused | is no longer delivered |\n"
        "\n"
        "3 streams from 3 kinds of pods: 3 changes, 3 marked\n"
    )


def test_what_keeps_its_name_shows_what_differs() -> None:
    """Where upstream and stream are called the same, the URLs tell; a setting has a line of its own."""
    assert in_text(diff(read(ROUTES), read(OTHER_HOST))).splitlines()[1:5] == [
        "  link",
        "    staging at http://eqiad/v1/events, http://codfw/v1/events → "
        "staging at http://codfw/v1/events, http://eqiad/v1/events",
        "  test",
        "    staging at http://eqiad/v1/events, http://codfw/v1/events → "
        "staging at http://codfw/v1/events, http://eqiad/v1/events",
    ]
    assert "upstream staging: failback was 30s, is 60s\n" in in_text(diff(read(ROUTES), read(OTHER_HOST)))


def test_topics_tell_where_all_else_is_the_same() -> None:
    """An upstream's new topic prefix is a change that consumers feel."""
    text = ROUTES.replace("datacenters", "topic_prefixes: [staging.]\n    datacenters")
    assert "  link\n    topics not said → topics staging.link\n" in in_text(diff(read(ROUTES), read(text)))


def test_nothing_is_said_in_one_line() -> None:
    """Two files with the same effect."""
    same = "3 streams from 3 kinds of pods: every one goes the same way\n"
    assert in_text(diff(read(ROUTES), read(ROUTES))) == same
    assert in_markdown(diff(read(ROUTES), read(ROUTES))) == f"**routes.yaml, by effect**\n\n{same}"


def test_a_program_reads_the_same() -> None:
    """Each change whole, as JSON can hold it."""
    data = json.loads(json.dumps(as_data(diff(read(ROUTES), read(NEW)))))
    assert (data["marked"], data["streams"], data["pods"], data["settings"]) == (3, 3, 3, [])
    change = data["changes"][0]
    assert (change["labels"], change["stream"], change["mark"]) == (
        {"env": "staging"},
        "score_a",
        "starts writing to production",
    )
    assert (change["before"]["sent_as"], change["after"]["sent_as"]) == ("test", "score_a")
