"""Promises of `failures`: classes and messages; for real TLS servers see hostile/test_tls.py."""

from __future__ import annotations

import errno
import ssl

import pytest

from sidecar.eventgate.failures import FailureClass, failure_of_status, system_words, tls_words

NEVER_SENT, REFUSED, THROTTLED, INFRASTRUCTURE, AMBIGUOUS = FailureClass


def not_accepted(words: str) -> ssl.SSLCertVerificationError:
    """Return the error for a certificate."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = words
    return error


def ssl_error(reason: str | None) -> ssl.SSLError:
    """Return the error for one of OpenSSL's reasons."""
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ssl_error("WRONG_VERSION_NUMBER"), "TLS fails: it does not speak TLS (WRONG_VERSION_NUMBER)"),
        (ssl_error("HTTP_REQUEST"), "TLS fails: it does not speak TLS (HTTP_REQUEST)"),
        (ssl_error("UNSUPPORTED_PROTOCOL"), "TLS fails: it does not support TLS 1.2 or newer (UNSUPPORTED_PROTOCOL)"),
        (ssl_error("NOBODY_KNOWS_IT"), "TLS fails: NOBODY_KNOWS_IT"),
        (ssl_error(None), "TLS fails: [SSL: None]"),
        (not_accepted("certificate has expired"), "its certificate is not accepted: certificate has expired"),
        (
            ConnectionResetError(),
            "TLS fails: it closes the connection during the handshake, as a server without TLS 1.2 does",
        ),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 1)"), "TLS fails: No route to host"),
        (OSError(), "TLS fails: OSError"),
    ],
    ids=["no TLS", "HTTP", "old", "unknown reason", "no reason", "certificate", "closed", "network", "nothing"],
)
def test_tls_errors_name_the_likely_cause(error: OSError, expected: str) -> None:
    """OpenSSL's name for it follows in brackets."""
    assert tls_words(error) == expected


@pytest.mark.parametrize(
    ("status", "retry_after", "failure"),
    [
        (200, None, AMBIGUOUS),
        (207, None, AMBIGUOUS),
        (299, None, AMBIGUOUS),
        (300, None, INFRASTRUCTURE),
        (301, None, INFRASTRUCTURE),
        (400, None, INFRASTRUCTURE),
        (404, None, INFRASTRUCTURE),
        (413, None, REFUSED),
        (431, None, REFUSED),
        (429, None, THROTTLED),
        (429, 3.0, THROTTLED),
        (500, None, INFRASTRUCTURE),
        (501, None, INFRASTRUCTURE),
        (502, None, INFRASTRUCTURE),
        (503, None, INFRASTRUCTURE),
        (503, 0.0, THROTTLED),
        (503, 30.0, THROTTLED),
        (504, None, INFRASTRUCTURE),
        (504, 30.0, INFRASTRUCTURE),
        (599, None, INFRASTRUCTURE),
    ],
)
def test_a_status_without_a_verdict_has_its_class(
    status: int, retry_after: float | None, failure: FailureClass
) -> None:
    """Each belongs to one class of failure."""
    assert failure_of_status(status, retry_after) is failure


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.64.32.105', 4492)"), "No route to host"),
        (ConnectionResetError("closed by the other side"), "closed by the other side"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_errors_use_the_systems_message(error: Exception, words: str) -> None:
    """By number if there is one, else the error's own text or its type."""
    assert system_words(error) == words
