"""Promises of `--stream-config`: what is declared comes from a file or from MediaWiki, or it is said why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import respx

from sidecar.commands import streams
from sidecar.commands.streams import declared_in
from sidecar.errors import SettingError
from tests.commands.conftest import run

URL = "https://meta.wikimedia.example/w/api.php?action=streamconfigs&all_settings=true&format=json"
STREAMS = {
    "streams": {
        "links": {"schema_title": "links", "destination_event_service": "main", "topics": ["eqiad.links"]},
        "score-test": {"schema_title": "score"},
    }
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a saved answer."""
    path = tmp_path / "streamconfigs.json"
    path.write_text(json.dumps(STREAMS))
    return path


def test_a_saved_answer_is_read_and_one_from_mediawiki_is_the_same(saved: Path, respx_mock: respx.MockRouter) -> None:
    """Without the network for the first, and with our name for the second."""
    route = respx_mock.get(URL).respond(json=STREAMS)
    fetched, from_file = declared_in(URL), declared_in(str(saved))
    assert fetched is not None
    assert from_file is not None
    assert fetched.declarations == from_file.declarations
    assert route.calls[0].request.headers["user-agent"].startswith("eventgate-sidecar/")
    assert declared_in(None) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status_code": 404}, f"cannot fetch {URL}: it answers 404"),
        ({"content": b"<html>"}, f"{URL} is not an answer to action=streamconfigs: "),
    ],
    ids=["a status", "a page"],
)
def test_what_is_fetched_in_vain_is_told(answer: dict[str, object], words: str, respx_mock: respx.MockRouter) -> None:
    """With what it answered."""
    respx_mock.get(URL).respond(**answer)  # type: ignore[arg-type]
    with pytest.raises(SettingError) as refusal:
        declared_in(URL)
    assert str(refusal.value).startswith(words)


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:1/"], ids=["no URL", "nobody there"])
def test_a_place_where_nothing_is_is_told(url: str) -> None:
    """Without a traceback."""
    with pytest.raises(SettingError, match=r"^cannot fetch "):
        declared_in(url)


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65536


async def _silent() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(3600)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("stream", "words"),
    [(_endless, "the answer is over 16777216 bytes"), (_silent, "the answer is not complete after 10 s")],
    ids=["endless", "silent"],
)
async def test_an_answer_has_bounds(stream: object, words: str, respx_mock: respx.MockRouter) -> None:
    """In bytes and in time."""
    respx_mock.get(URL).mock(return_value=httpx.Response(200, content=stream()))  # type: ignore[operator]
    with pytest.raises(SettingError, match=words):
        await streams._fetched(URL)


def test_check_compares_with_what_is_declared(routes: Path, saved: Path) -> None:
    """Says with how many streams, finds one that is not there, and cannot go on without the file."""
    well = run("check", routes, "--stream-config", saved)
    assert (well.exit_code, well.stdout.splitlines()[-1]) == (
        0,
        f"{routes}: 1 upstream, 2 routes, 1 test, compared with 2 declared streams; 1 warning",
    )
    saved.write_text(json.dumps({"streams": {"score-tests": {"schema_title": "score"}}}))
    wrong = run("check", routes, "--stream-config", saved, "--json")
    assert wrong.exit_code == 1
    messages = [each["message"] for each in json.loads(wrong.stdout)["problems"]]
    near = "(did you mean 'score-tests'?)"
    assert f"sends score-test to staging, but it is not declared in {saved} {near}" in messages
    assert run("check", routes, "--stream-config", saved.with_name("none.json")).exit_code == 2


def test_explain_shows_what_is_declared(routes: Path, saved: Path) -> None:
    """Of the stream under which the event is sent; of one that is refused nothing."""
    common = ("explain", "--routes", routes, "--label", "env=staging", "--stream-config", saved, "--stream")
    lines = run(*common, "links").stdout.splitlines()
    assert lines[-1] == "declared: schema links, event service main, topics eqiad.links"
    data = json.loads(run(*common, "score", "--json").stdout)["declared"]
    assert data == {"schema_title": "score", "event_service": None, "topics": [], "faults": []}
    saved.write_text(json.dumps({"streams": {"link": {"schema_title": "links"}}}))
    assert run(*common, "links").stdout.splitlines()[-1] == (f"! it is not declared in {saved} (did you mean 'link'?)")
    refused = run("explain", "--routes", routes, "--stream", "links", "--stream-config", saved)
    assert "declared" not in refused.stdout


def test_streams_shows_what_is_declared(routes: Path, saved: Path) -> None:
    """In a column of its own, and only if it is asked for."""
    table = run("streams", routes, "--stream-config", saved).stdout
    assert "| stream | schema | written by, for example | declared |" in table
    assert "| `links`, `main` |" in table
    assert "| not declared |" in table
    assert "declared" not in run("streams", routes).stdout
    data = json.loads(run("streams", routes, "--stream-config", saved, "--json").stdout)
    assert {each["stream"]: each["declared"] and each["declared"]["schema_title"] for each in data} == {
        "score": None,
        "score-test": "score",
        "links": "links",
    }
