"""The file `routes.yaml` on disk."""

from __future__ import annotations

from pathlib import Path

from sidecar.errors import SettingError
from sidecar.routes import loader
from sidecar.routes.config import Config


def read_text(path: Path) -> str:
    """Return what is in the file.

    Raises:
        SettingError: it cannot be read.

    """
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingError(f"cannot read {path}: {reason}") from None


def read_config(path: Path) -> Config:
    """Return the configuration in the file for questions about it; its tests may fail.

    Raises:
        SettingError: it cannot be read.
        ConfigError: it is wrong.

    """
    return loader.read(read_text(path), str(path))
