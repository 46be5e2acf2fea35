"""Promises of `handshake`: why there is no TLS, in words; with real servers see hostile/test_tls.py."""

from __future__ import annotations

import errno
import ssl

import pytest

from sidecar.eventgate.handshake import words


def ssl_error(reason: str) -> ssl.SSLError:
    """Return what OpenSSL's reason comes as."""
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ssl_error("WRONG_VERSION_NUMBER"), "TLS fails: what it says is no TLS (WRONG_VERSION_NUMBER)"),
        (ssl_error("UNSUPPORTED_PROTOCOL"), "TLS fails: it has no version from TLS 1.2 on (UNSUPPORTED_PROTOCOL)"),
        (ssl_error("NOBODY_KNOWS_IT"), "TLS fails: NOBODY_KNOWS_IT"),
        (
            ConnectionResetError(),
            "TLS fails: it closes the connection in the handshake; a server without TLS 1.2 does so, too",
        ),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 1)"), "TLS fails: No route to host"),
        (OSError(), "TLS fails: OSError"),
    ],
    ids=["no TLS", "old", "unknown reason", "closed", "network", "nothing"],
)
def test_what_failed_is_said_with_its_likely_cause(error: OSError, expected: str) -> None:
    """An operator reads what to mend; OpenSSL's word stays beside it."""
    assert words(error) == expected
