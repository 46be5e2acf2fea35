"""The certificate authorities that https endpoints are verified against, reloaded when the file changes.

A CA is renewed while sidecars run: Kubernetes swaps a symbolic link, and servers soon present certificates of the new
CA. A file that cannot be used is ignored; open connections stay open.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from sidecar.errors import SettingError
from sidecar.routes.file import read_bytes

MAX_CA_BYTES = 4 * 1024 * 1024
"""Of a CA file; Debian's has 250 kB."""


class Trust:
    """The CAs of a file, or the system's."""

    def __init__(self, ca_file: str | None) -> None:
        """Read the file; None: the system's CAs.

        Raises:
            SettingError: the file cannot be read, or holds no certificates.

        """
        self.ca_file = ca_file
        self._signature = _signature(ca_file)
        self.context = make_ssl_context(ca_file)
        """For the next connection."""
        self.problem = ""
        """Why the current file is not used; empty if it is."""

    async def renew(self) -> bool:
        """Read the file again if it changed; return whether it did.

        A file that cannot be used only sets `problem`.
        """
        signature = _signature(self.ca_file)
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self.context = await asyncio.to_thread(make_ssl_context, self.ca_file)  # can take 30 ms
        except SettingError as error:
            self.problem = str(error)
        else:
            self.problem = ""
        return True


def make_ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that verifies against this file, or against the system's CAs.

    Raises:
        SettingError: the file cannot be read, or holds no certificates.

    """
    try:
        if ca_file is not None:
            read_bytes(Path(ca_file), MAX_CA_BYTES)  # OpenSSL would block on a pipe
    except SettingError as error:
        reason = str(error).removeprefix(f"cannot read {ca_file}: ")
        raise SettingError(f"tls.ca_file {ca_file} cannot be read as PEM certificates: {reason}") from None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"tls.ca_file {ca_file} cannot be read as PEM certificates: {error.strerror or error}"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves that to /etc/ssl/openssl.cnf
    return context


def _signature(ca_file: str | None) -> tuple[int, ...] | None:
    """Return a value that changes with the file, also when a symbolic link to it is swapped."""
    if ca_file is None:
        return None
    try:
        status = Path(ca_file).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
