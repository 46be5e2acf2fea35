"""Promises of `file`: an unusable file is named, with the reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sidecar.errors import SettingError
from sidecar.routes.file import read_bytes, read_config, read_text
from tests.routes.language.test_loader import SMALL


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    """The message has the path."""
    with pytest.raises(SettingError) as raised:
        read_config(tmp_path / "nope.yaml")
    assert str(raised.value) == f"cannot read {tmp_path}/nope.yaml: No such file or directory"


def test_a_configuration_in_another_encoding_is_named(tmp_path: Path) -> None:
    """The message has the place and the fix."""
    (tmp_path / "routes.yaml").write_bytes("a\né:".encode() + b"\xff\xfe")
    with pytest.raises(SettingError) as raised:
        read_config(tmp_path / "routes.yaml")
    place = f"{tmp_path}/routes.yaml:2:3"
    assert str(raised.value) == f"cannot read {place}: the byte 0xff is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "it is a directory, and must be a regular file"),
        ("pipe", "it is a pipe, and must be a regular file"),
        ("link to a pipe", "it is a pipe, and must be a regular file"),
        ("socket", "No such device or address"),
        ("zero", "it is a device, and must be a regular file"),
        ("large", "it has over 1048576 bytes"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_only_a_regular_file_up_to_a_size_is_read(tmp_path: Path, name: str, words: str) -> None:
    """Nothing else is waited for or read to its end."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(1024 * 1024 + 1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    with pytest.raises(SettingError) as raised:
        read_bytes(tmp_path / name)
    assert str(raised.value) == f"cannot read {tmp_path / name}: {words}"


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(SettingError, match="over 4 bytes"):
        read_bytes(tmp_path / "file", 4)


def test_a_configuration_whose_own_test_fails_can_be_read(tmp_path: Path) -> None:
    """Commands such as `explain` are needed then."""
    path = tmp_path / "routes.yaml"
    path.write_text(f"{SMALL}tests:\n  - {{name: t, event: {{meta: {{stream: a}}}}, expect: {{refused: true}}}}\n")
    assert len(read_config(path).tests) == 1


def test_a_text_is_read_unchanged(tmp_path: Path) -> None:
    """Line endings stay, so that its digest is the file's."""
    (tmp_path / "routes.yaml").write_bytes(b"a\r\nb\n")
    assert read_text(tmp_path / "routes.yaml") == "a\r\nb\n"
