"""Why an attempt or a health check failed: its class and its message.

The class says whether EventGate may already have taken the events, and so whether they may be sent again. Sources:
Envoy's retry_on policies, nginx's `proxy_next_upstream` (no retry of a POST once bytes were sent), HAProxy's
`retry-on`.
"""

from __future__ import annotations

import enum
import os
import ssl
from dataclasses import dataclass

_TLS_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not support TLS 1.2 or newer",
    "UNSUPPORTED_PROTOCOL": "it does not support TLS 1.2 or newer",
    "NO_PROTOCOLS_AVAILABLE": "it does not support TLS 1.2 or newer",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it shares no cipher with the sidecar",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate, which the sidecar does not have",
}


class FailureClass(enum.StrEnum):
    """Why an attempt ended without a verdict."""

    NEVER_SENT = "never_sent"
    """DNS, connect or TLS failed: EventGate saw nothing, so another attempt is safe."""
    REFUSED = "refused"
    """EventGate never takes this POST: its body or its headers are too large, or it cannot be parsed."""
    THROTTLED = "throttled"
    """429, or 503 with Retry-After: try later."""
    INFRASTRUCTURE = "infrastructure"
    """The answer is not EventGate's: a 3xx, 4xx or 5xx of a proxy or another server at its address."""
    AMBIGUOUS = "ambiguous"
    """The connection was lost after bytes were written, or the answer is impossible: EventGate may have the events."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that ended without a verdict on the events."""

    failure: FailureClass
    reason: str
    """In words, for log, status page and producer."""
    retry_after: float = 0.0
    """Seconds from the endpoint's Retry-After."""


def failure_of_status(status: int, retry_after: float | None) -> FailureClass:
    """Return the class of an answer without a verdict (`verdict.read`)."""
    if status == 429 or (status == 503 and retry_after is not None):
        return FailureClass.THROTTLED
    if status in {413, 431}:
        return FailureClass.REFUSED
    return FailureClass.AMBIGUOUS if status < 300 else FailureClass.INFRASTRUCTURE


def system_words(error: Exception) -> str:
    """Return the system's error message, without the host and port that asyncio adds."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip() or type(error).__name__


def tls_words(error: OSError) -> str:
    """Explain why a TLS handshake failed; OpenSSL's error name stays in brackets, to search for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS fails: {_TLS_REASONS[reason]} ({reason})" if reason in _TLS_REASONS else f"TLS fails: {reason}"
    if isinstance(error, ConnectionResetError):
        return "TLS fails: it closes the connection during the handshake, as a server without TLS 1.2 does"
    return f"TLS fails: {system_words(error)}"
