"""Promises of `routesfile`: a file that cannot be used is named, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import ConfigError, SettingError
from sidecar.routesfile import approved_config, read_config
from tests.test_loader import SMALL


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Who mistypes the file reads which file."""
    with pytest.raises(SettingError) as raised:
        read_config(tmp_path / "nope.yaml")
    assert str(raised.value) == f"cannot read {tmp_path}/nope.yaml: No such file or directory"


def test_a_configuration_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A file in another encoding is refused in words."""
    (tmp_path / "routes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError) as raised:
        read_config(tmp_path / "routes.yaml")
    assert str(raised.value) == f"cannot read {tmp_path}/routes.yaml: it is not UTF-8"


def test_a_configuration_whose_own_test_fails_is_refused(tmp_path: Path) -> None:
    """What `check` refuses is never used; it can still be asked about."""
    path = tmp_path / "routes.yaml"
    path.write_text(SMALL)
    assert [route.name for route in approved_config(path).routes] == ["everything"]
    path.write_text(f"{SMALL}tests:\n  - {{name: t, event: {{meta: {{stream: a}}}}, expect: {{refused: true}}}}\n")
    with pytest.raises(ConfigError, match=r"tests\[0\]\.expect\.refused fails: expected true, is false"):
        approved_config(path)
    assert len(read_config(path).tests) == 1
