"""Promises of `streams`: a table of streams, their writers and their topics."""

from __future__ import annotations

import json
from pathlib import Path

from sidecar.commands.streams import as_data, in_markdown, in_wikitext, streams_of
from sidecar.routes.language.loader import read
from tests.commands.conftest import run

ROUTES = """\
version: 1
upstreams:
  production: {url: "http://production/v1/events", topic_prefixes: [eqiad., codfw.]}
  staging: {url: "http://staging/v1/events"}
routes:
  - {name: scores, match: {labels: {env: staging}, schema: "/score/*"}, to: production, stream: test}
  - {name: tags, match: {labels: {env: staging}, stream: tags}, reject: not from here}
  - {name: staging, match: {labels: {env: staging}}, to: staging}
  - {name: production, match: {labels: {env: production}}, to: production}
tests:
  - name: a
    labels: {env: staging, isvc: enwiki}
    event: {$schema: /score/1, meta: {stream: score}}
    expect: {stream: test}
  - name: b
    labels: {env: staging, isvc: dewiki}
    event: {$schema: /score/2, meta: {stream: score}}
    expect: {stream: test}
  - {name: c, labels: {env: staging}, event: {$schema: /tags/1, meta: {stream: tags}}, expect: {refused: true}}
  - {name: d, labels: {env: staging}, event: {$schema: /link/1, meta: {stream: link}}, expect: {upstream: staging}}
"""
STREAMS = streams_of(read(ROUTES))


def code(word: str) -> str:
    """Return a word as code in wikitext."""
    return f"<code><nowiki>{word}</nowiki></code>"


def test_the_table_as_markdown() -> None:
    """A column for each kind of pod that may send events, with topics if they are known, else the stream."""
    assert in_markdown(STREAMS) == (
        "| stream | schema | written by, for example | from env=staging | from env=production |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| `score` | `/score/1`, `/score/2` | `enwiki`, `dewiki` | production EventGate, `eqiad.test`, `codfw.test` "
        "| production EventGate, `eqiad.score`, `codfw.score` |\n"
        "| `tags` | `/tags/1` |  | nowhere: refused | production EventGate, `eqiad.tags`, `codfw.tags` |\n"
        "| `link` | `/link/1` |  | staging EventGate, `link` | production EventGate, `eqiad.link`, `codfw.link` |\n"
        "| `test` |  |  | depends on its schema | production EventGate, `eqiad.test`, `codfw.test` |\n"
    )


def test_the_table_as_wikitext() -> None:
    """A row for each stream; names are not interpreted as markup."""
    lines = in_wikitext(STREAMS).splitlines()
    assert lines[:2] == [
        '{| class="wikitable sortable"',
        "! stream !! schema !! written by, for example !! from env=staging !! from env=production",
    ]
    assert lines[2:8] == [
        "|-",
        f"| {code('score')}",
        f"| {code('/score/1')}<br>{code('/score/2')}",
        f"| {code('enwiki')}<br>{code('dewiki')}",
        f"| production EventGate<br>{code('eqiad.test')}<br>{code('codfw.test')}",
        f"| production EventGate<br>{code('eqiad.score')}<br>{code('codfw.score')}",
    ]
    assert (lines.count("|-"), lines[-1]) == (4, "|}")


def test_the_table_as_data() -> None:
    """With the labels of each kind of pod."""
    score = json.loads(json.dumps(as_data(STREAMS)))[0]
    assert (score["stream"], score["schemas"], score["model_servers"]) == (
        "score",
        ["/score/1", "/score/2"],
        ["enwiki", "dewiki"],
    )
    assert [(way["labels"], way["upstream"], way["topics"]) for way in score["ways"]] == [
        ({"env": "staging"}, "production", ["eqiad.test", "codfw.test"]),
        ({"env": "production"}, "production", ["eqiad.score", "codfw.score"]),
    ]


def test_streams_has_three_formats(routes: Path) -> None:
    """Markdown unless wikitext or JSON is asked for."""
    markdown = run("streams", routes)
    assert (markdown.exit_code, markdown.stdout.splitlines()[2]) == (
        0,
        "| `score` |  |  | staging EventGate, `score-test` |",
    )
    assert run("streams", routes, "--format", "wikitext").stdout.startswith('{| class="wikitable sortable"\n')
    assert [each["stream"] for each in json.loads(run("streams", "--json", routes).stdout)] == [
        "score",
        "score-test",
        "links",
    ]
