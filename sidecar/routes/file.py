"""Reads files of operators safely: `routes.yaml`, and others that are opened by name.

Only a regular file is read, up to a limit: opening a pipe without a writer would hang, and a device may have no end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sidecar.errors import SettingError
from sidecar.routes.language import loader
from sidecar.routes.language.config import Config
from sidecar.routes.language.marks import MAX_BYTES

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return the contents of a regular file, at most `limit` bytes, without waiting.

    Raises:
        SettingError: it cannot be read, is not a regular file, or is larger.

    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
                raise SettingError(f"cannot read {path}: it is {kind}, and must be a regular file")
            data = file.read(limit + 1) if status.st_size <= limit else None  # its size may be wrong, as in /proc
    except IsADirectoryError:  # what `fdopen` says
        raise SettingError(f"cannot read {path}: it is a directory, and must be a regular file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingError(f"cannot read {path}: {reason}") from None
    if data is None or len(data) > limit:
        raise SettingError(f"cannot read {path}: it has over {limit} bytes")
    return data


def read_text(path: Path) -> str:
    """Return the text of the file.

    Raises:
        SettingError: it cannot be read.

    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        byte = f"0x{data[error.start]:02x}"
        raise SettingError(
            f"cannot read {path}:{line}:{column}: the byte {byte} is not UTF-8; save the file as UTF-8"
        ) from None


def read_config(path: Path) -> Config:
    """Return the configuration in the file, without running its tests.

    Raises:
        SettingError: it cannot be read.
        ConfigError: it is wrong.

    """
    return loader.read(read_text(path), str(path))
