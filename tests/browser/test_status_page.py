"""The status page in Chromium, scene by scene, on each kind of screen."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.looks import (
    CHROMIUM,
    DESKTOP,
    NO_CHROMIUM,
    NO_SCRIPT,
    PATIENCE_MS,
    PHONE,
    Look,
    Opened,
    chromium,
    opened,
)
from tests.browser.scenes import POD, SCENES, Gates, Scene, Stage, gates_running, missing
from tests.browser.scenes import stage as stage_with

LOOKS = (DESKTOP, PHONE)
"""Light and wide, dark and narrow; contrast does not depend on the width, nor the layout on colours."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run one browser for all tests."""
    if why := (None if CHROMIUM else NO_CHROMIUM) or missing(tmp_path_factory.mktemp("namespace")):
        pytest.skip(f"THE STATUS PAGE IS NOT TESTED IN A BROWSER: {why}")
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    """Run the EventGates for all scenes."""
    with gates_running(tmp_path_factory.mktemp("gates")) as running:
        yield running


@pytest.fixture(scope="session", params=SCENES, ids=lambda scene: scene.name)
def scene(request: pytest.FixtureRequest) -> Scene:
    """Return each scene."""
    found: Scene = request.param
    return found


@pytest.fixture(scope="session")
def stage(scene: Scene, gates: Gates, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run the scene until a page shows it that was opened before the fault and never reloaded."""
    folder = tmp_path_factory.mktemp("scene")
    with scene.prepared(gates, folder) as running, opened(browser, running.url, DESKTOP) as live:
        live.page.evaluate("window.openedOnce = true")
        scene.begin(running)
        expect(live.page.get_by_role("heading", level=1)).to_have_text(scene.says(), timeout=PATIENCE_MS)
        assert live.page.evaluate("window.openedOnce") is True, "the page was reloaded"
        yield running


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: look.name)
def look(request: pytest.FixtureRequest) -> Look:
    """Return each way to look at a page."""
    found: Look = request.param
    return found


@pytest.fixture(scope="module")
def seen(stage: Stage, look: Look, browser: Browser) -> Iterator[Opened]:
    """Open the page in the scene."""
    with opened(browser, stage.url, look) as found:
        yield found


def _find_marks(scene: Scene, page: Page) -> None:
    for heading, words in scene.marks.items():
        expect(part(page, heading)).to_have_text(re.compile(words, re.DOTALL))


def part(page: Page, heading: str) -> Locator:
    """Return the card or the section of this heading."""
    title = page.get_by_role("heading", name=heading, exact=True)
    return page.locator("article, section").filter(has=title).last


def test_the_sentence_on_top_names_the_problem(scene: Scene, seen: Opened) -> None:
    """It says what is wrong and what happens to events, in the colour of its level, and the pod's name is below it."""
    sentence = seen.page.get_by_role("heading", level=1)
    expect(seen.page.get_by_text(POD)).to_be_visible()
    expect(sentence).to_have_text(scene.says())
    expect(sentence).to_have_class(scene.level)
    expect(sentence).to_be_in_viewport()


def test_the_problem_is_shown_where_it_is(scene: Scene, seen: Opened) -> None:
    """In the card or section of what has the problem."""
    _find_marks(scene, seen.page)


def test_the_page_is_accessible(seen: Opened) -> None:
    """axe-core finds no serious problem: contrast, names, order, landmarks."""
    found = Axe().run(seen.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in {"serious", "critical"}] == []


def test_the_page_fits_the_screen(seen: Opened) -> None:
    """On a narrow screen, too, the page scrolls in one direction only."""
    wide = seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0


def test_one_picture_of_the_flow_is_visible(seen: Opened) -> None:
    """It is the wide or the narrow one, and not wider than the page."""
    (picture,) = (each for each in seen.page.locator("svg.flow").all() if each.is_visible())
    box = picture.bounding_box()
    assert box is not None
    assert 0 <= box["x"] < box["x"] + box["width"] <= (seen.page.viewport_size or {"width": 0})["width"]


def test_it_sends_requests_to_the_sidecar_only(stage: Stage, seen: Opened) -> None:
    """The page loads nothing from elsewhere, and the browser reports no error."""
    asked = {url for url in seen.asked if not url.startswith("data:")}
    assert {url[: len(stage.url)] for url in asked} == {stage.url}
    assert seen.complaints == []


def test_javascript_is_not_needed(scene: Scene, stage: Stage, browser: Browser) -> None:
    """The page has the same text without it."""
    with opened(browser, stage.url, NO_SCRIPT) as seen:
        expect(seen.page.get_by_role("heading", level=1)).to_have_text(scene.says())
        _find_marks(scene, seen.page)


def test_the_next_step_leads_to_the_runbook(gates: Gates, browser: Browser, tmp_path: Path) -> None:
    """The link leads to the problem's section, which fits any screen and loads nothing from elsewhere."""
    with stage_with(gates, tmp_path) as running, opened(browser, running.url, PHONE) as seen:
        running.misspell()
        seen.page.get_by_role("link", name="Runbook: ConfigRefused").click(timeout=PATIENCE_MS)
        heading = seen.page.get_by_role("heading", name="EventGateSidecarConfigRefused")
        expect(heading).to_be_in_viewport()
        assert heading.evaluate("each => getComputedStyle(each).borderLeftStyle") == "solid"
        assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        found = Axe().run(seen.page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []
        assert seen.complaints == []


def test_the_flow_shows_the_hop(gates: Gates, browser: Browser, tmp_path: Path) -> None:
    """What a pod hands over while it ends, from whom the gateway has it, and in red that it takes no more."""
    folders = [tmp_path / name for name in ("gateway", "pod")]
    for each in folders:
        each.mkdir()
    spools = [(f"--spool={each / 'spool'}", "--drain=5m") for each in folders]
    with stage_with(gates, folders[0], *spools[0], "--gateway", "--hand-over-from", "127.0.0.0/8") as gateway:
        url = f"http://{gateway.running.address}/v1/events"
        with stage_with(gates, folders[1], *spools[1], "--hand-over", url) as pod:
            pod.fault("refuse", "eqiad", "codfw")
            pod.running.process.tell(signal.SIGTERM)
            for look in LOOKS:
                _look_at_the_flow(browser, pod.url, look, r"spool → gateway 127\.0\.0\.1: [1-9]\d*/min")
                _look_at_the_flow(browser, gateway.url, look, r"hand-overs → staging: [1-9]\d*/min")
            gateway.running.process.tell(signal.SIGTERM)
            _look_at_the_flow(browser, pod.url, PHONE, r"gateway 127\.0\.0\.1: ✕ the gateway is stopping")


def _look_at_the_flow(browser: Browser, url: str, look: Look, words: str) -> None:
    with opened(browser, url, look) as seen:
        expect(part(seen.page, "Flow of the last minute")).to_have_text(re.compile(words, re.DOTALL))
        assert seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        found = Axe().run(seen.page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []


def test_the_page_says_that_the_sidecar_is_gone(gates: Gates, browser: Browser, tmp_path: Path) -> None:
    """An open page then says that its content is old, until a sidecar answers again."""
    with contextlib.ExitStack() as first:
        running = first.enter_context(stage_with(gates, tmp_path))
        with opened(browser, running.url, DESKTOP) as live:
            alert = live.page.get_by_role("alert")
            expect(alert).to_be_hidden()
            first.close()
            expect(alert).to_contain_text("no longer answers", timeout=PATIENCE_MS)
            with stage_with(gates, tmp_path, "--listen", running.running.address):
                expect(alert).to_be_hidden(timeout=PATIENCE_MS)
