"""Promises of `checkreport`: an editor and a person read the same findings, in the order of the file."""

from __future__ import annotations

import json

from sidecar.commands.check import as_data, in_text
from sidecar.routes.inspection import inspect
from tests.routes.test_loader import SMALL

UNUSED = SMALL.replace("routes:", "  spare:\n    url: http://spare/v1/events\nroutes:")


def test_problems_and_warnings_stand_in_the_order_of_the_file() -> None:
    """Each with its line and a caret; then how many there are, and no table of a file that is refused."""
    found = inspect(UNUSED + "  - name: late\n    to: production\n")
    assert in_text(found, "r.yaml") == (
        "routes.yaml:5:3: warning: upstreams.spare is not used by any route; remove it, or write a route to it\n"
        "      spare:\n"
        "      ^\n"
        "routes.yaml:10:5: routes[1] is never reached: routes[0] (everything) takes every event that it would; "
        "put it above that one, or remove it\n"
        "      - name: late\n"
        "        ^\n"
        "\n"
        "r.yaml: 1 problem, 1 warning\n"
    )
    assert as_data(found)["matrix"] == []


def test_the_table_shows_each_kind_of_outcome() -> None:
    """Sent, renamed, refused, and what cannot be told from the stream's name."""
    found = inspect(
        """\
version: 1
upstreams:
  u: {url: "http://u/v1/events", topic_prefixes: [eqiad., codfw.]}
routes:
  - {name: renamed, match: {stream: long.name}, to: u, stream: b}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: schema, match: {stream: c, schema: s}, to: u}
  - {name: same, match: {stream: b}, to: u}
"""
    )
    assert in_text(found, "r.yaml") == (
        "no labels:\n"
        "  stream     upstream               sent as   topic prefix\n"
        "  long.name  u                      b         eqiad. codfw.\n"
        "  b          u                      the same  eqiad. codfw.\n"
        "  never      refused\n"
        "  c          depends on its schema\n"
        "\n"
        "r.yaml: 1 upstream, 4 routes, 0 tests; all is well\n"
    )
    data = json.loads(json.dumps(as_data(found)))
    assert [(row["stream"], row["topics"], row["depends_on"]) for row in data["matrix"]] == [
        ("long.name", ["eqiad.b", "codfw.b"], None),
        ("b", ["eqiad.b", "codfw.b"], None),
        ("never", [], None),
        ("c", [], "schema"),
    ]
