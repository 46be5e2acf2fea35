"""Our protocol keeps what uvicorn promises of its own: uvicorn's tests are run against it.

They are not in the wheel; `scripts/uvicorn-tests` fetches them, as `make api-test` does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uvicorn

ROOT = Path(__file__).parent.parent.parent
SUITE = ROOT / ".tools" / f"uvicorn-{uvicorn.__version__}"
OTHERWISE = {
    "test_keepalive_timeout": "an idle connection is closed by a timer of ours",
    "test_keepalive_timeout_with_pipelined_requests": "as above",
    "test_keepalive_timeout_with_pipelined_websocket_upgrade": "an offer is declined, so there are no WebSockets",
    "test_http2_upgrade_request": "as above; it takes their WebSockets to run",
    "test_unsupported_ws_upgrade_request_warn_on_auto": "an offer is declined without a warning",
    "test_header_upgrade_is_not_websocket_depend_installed": "as above",
    "test_header_upgrade_is_websocket_depend_not_installed": "as above",
}
"""Their tests that do not hold here, and why."""


@pytest.mark.skipif(
    not SUITE.is_dir(), reason="UVICORN'S TESTS ARE NOT RUN: they are not here; run scripts/uvicorn-tests"
)
def test_uvicorns_tests_hold_for_our_protocol(tmp_path: Path) -> None:
    """All of its tests of HTTP pass, but those that are named above, and these fail."""
    shutil.copytree(SUITE / "protocols", tmp_path / "tests" / "protocols")
    for name in ("__init__.py", "response.py"):
        shutil.copy(SUITE / name, tmp_path / "tests")
    shutil.copy(Path(__file__).parent / "for_uvicorn.py", tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    given = ["-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", "tests/protocols/test_http.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) tests/protocols/test_http\.py::(\w+)", done.stdout, re.MULTILINE)
    assert set(failed) == set(OTHERWISE), done.stdout
    assert re.search(r"\b[6-9]\d passed", done.stdout), done.stdout
