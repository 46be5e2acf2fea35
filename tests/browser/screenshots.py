"""`make screenshots`: retakes the pictures of the status page in `docs`.

Each scene runs for a minute before its pictures are taken, so that the time lines have content.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.looks import DESKTOP, Look, chromium, opened
from tests.browser.scenes import SCENES, SPOOL, gates_running, stage
from tests.end_to_end.processes import ROOT

SCENE_MS = 60_000
HALF = Look("half a screen", 1000, 830)
DARK = replace(HALF, colours="dark")
PHONE = Look("phone", 390, 900)
STORY = {
    "well": {"status-well": replace(HALF, height=950)},
    "one datacenter hangs": {"status-hung": HALF},
    "the spool fills": {"status-spool": DARK, "status-phone": PHONE},
}
"""The pictures of each scene, in this order."""


def main() -> None:
    """Run the scenes, and take the pictures."""
    scenes = {scene.name: scene for scene in SCENES}
    with chromium() as browser, tempfile.TemporaryDirectory() as name, gates_running(Path(name)) as gates:
        options = [option.format(folder=name) for option in SPOOL]
        with stage(gates, Path(name), *options) as running, opened(browser, running.url, DESKTOP) as live:
            for title, pictures in STORY.items():
                scenes[title].begin(running)
                live.page.wait_for_timeout(SCENE_MS)
                expect(live.page.get_by_role("heading", level=1)).to_have_text(scenes[title].says())
                for picture, look in pictures.items():
                    with opened(browser, running.url, look) as seen:
                        seen.page.screenshot(path=ROOT / "docs" / f"{picture}.png")


if __name__ == "__main__":
    main()
