"""Debian's Chromium, and a page that records its requests and the browser's complaints."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
NO_CHROMIUM = "there is no chromium; on Debian, as root: apt-get install chromium"
PATIENCE_MS = 15_000


@dataclass(frozen=True)
class Look:
    """A way to look at a page: screen, colours, JavaScript."""

    name: str
    width: int
    height: int
    colours: Literal["light", "dark"] = "light"
    script: bool = True
    """Whether JavaScript is on."""


DESKTOP = Look("desktop", 1280, 800)
PHONE = Look("dark phone", 320, 640, "dark")
NO_SCRIPT = Look("without JavaScript", 1280, 800, script=False)


@dataclass
class Opened:
    """An open page."""

    page: Page
    asked: list[str] = field(default_factory=list)
    """Every URL that was requested."""
    complaints: list[str] = field(default_factory=list)
    """Warnings and errors of the console, and uncaught exceptions."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    assert CHROMIUM, NO_CHROMIUM
    # Its sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, url: str, look: Look, scale: float = 1) -> Iterator[Opened]:
    """Open `url` in a new browser context."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.colours,
        java_script_enabled=look.script,
        is_mobile=look.width < 600,
        device_scale_factor=scale,
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    found = Opened(page)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda message: _note(found, message.type, message.text))
    try:
        page.goto(url, wait_until="load")
        yield found
    finally:
        context.close()


def _note(found: Opened, kind: str, words: str) -> None:
    if kind in {"warning", "error"}:
        found.complaints.append(words)
