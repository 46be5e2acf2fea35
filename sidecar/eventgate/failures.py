"""Why an attempt or a health check failed: its class, and the words for it.

A class says one thing about the events: whether EventGate may already have taken them. Only that decides what may be
done with them. Sources: Envoy's retry_on policies, nginx's `proxy_next_upstream` (a POST stops once bytes left),
HAProxy's `retry-on`.
"""

from __future__ import annotations

import enum
import os
import ssl
from dataclasses import dataclass

_TLS_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it supports no TLS version from 1.2 on",
    "UNSUPPORTED_PROTOCOL": "it supports no TLS version from 1.2 on",
    "NO_PROTOCOLS_AVAILABLE": "it supports no TLS version from 1.2 on",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no cipher in common with us",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate, and there is none",
}


class FailureClass(enum.StrEnum):
    """Why an attempt brought no verdict."""

    NEVER_SENT = "never_sent"
    """DNS, connect or TLS failed: EventGate saw nothing, another attempt costs nothing."""
    REFUSED = "refused"
    """EventGate will not take this POST however often it is sent: it is too large, or cannot be parsed."""
    THROTTLED = "throttled"
    """Not now: 429, or 503 with Retry-After."""
    INFRASTRUCTURE = "infrastructure"
    """An answer that is not EventGate's: a 3xx, 4xx or 5xx of a proxy, or of whatever else is at its address."""
    AMBIGUOUS = "ambiguous"
    """It broke off after bytes were written, or its answer cannot be true: EventGate may have taken the events."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that ended without a verdict on the events."""

    failure: FailureClass
    reason: str
    """In words, for log, status page and producer."""
    retry_after: float = 0.0
    """Seconds the endpoint asked to be left alone."""


def failure_of_status(status: int, retry_after: float | None) -> FailureClass:
    """Return the class of an answer that carries no verdict of EventGate's (`verdict.read`)."""
    if status == 429 or (status == 503 and retry_after is not None):
        return FailureClass.THROTTLED
    if status == 413:
        return FailureClass.REFUSED
    return FailureClass.AMBIGUOUS if status < 300 else FailureClass.INFRASTRUCTURE


def system_words(error: Exception) -> str:
    """Say what went wrong as the system says it; asyncio's own words repeat host and port."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip() or type(error).__name__


def tls_words(error: OSError) -> str:
    """Say to an operator why a TLS handshake failed; OpenSSL's own word stays in brackets, to search for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS fails: {_TLS_REASONS[reason]} ({reason})" if reason in _TLS_REASONS else f"TLS fails: {reason}"
    if isinstance(error, ConnectionResetError):
        return "TLS fails: it closes the connection in the handshake; a server without TLS 1.2 does so, too"
    return f"TLS fails: {system_words(error)}"
