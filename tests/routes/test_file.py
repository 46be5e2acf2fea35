"""Promises of `file`: a file that cannot be used is named, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import SettingError
from sidecar.routes.file import read_config, read_text
from tests.routes.test_loader import SMALL


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


def test_a_configuration_whose_own_test_fails_can_be_asked_about(tmp_path: Path) -> None:
    """That is when it is asked about."""
    path = tmp_path / "routes.yaml"
    path.write_text(f"{SMALL}tests:\n  - {{name: t, event: {{meta: {{stream: a}}}}, expect: {{refused: true}}}}\n")
    assert len(read_config(path).tests) == 1


def test_a_text_is_read_as_it_is(tmp_path: Path) -> None:
    """Ends of lines stay what they are, so that its digest is the file's."""
    (tmp_path / "routes.yaml").write_bytes(b"a\r\nb\n")
    assert read_text(tmp_path / "routes.yaml") == "a\r\nb\n"
