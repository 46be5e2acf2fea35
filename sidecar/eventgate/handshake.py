"""What a TLS handshake that fails says to an operator. OpenSSL's own word stays in brackets, to search for."""

from __future__ import annotations

import ssl

from sidecar.errors import system_words

_MEANINGS = {
    "WRONG_VERSION_NUMBER": "what it says is no TLS",
    "HTTP_REQUEST": "what it says is no TLS",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it has no version from TLS 1.2 on",
    "UNSUPPORTED_PROTOCOL": "it has no version from TLS 1.2 on",
    "NO_PROTOCOLS_AVAILABLE": "it has no version from TLS 1.2 on",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no cipher in common with us",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate of ours, and there is none",
}


def words(error: OSError) -> str:
    """Say why no TLS connection came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return f"TLS fails: {_MEANINGS[reason]} ({reason})" if reason in _MEANINGS else f"TLS fails: {reason}"
    if isinstance(error, ConnectionResetError):
        return "TLS fails: it closes the connection in the handshake; a server without TLS 1.2 does so, too"
    return f"TLS fails: {system_words(error)}"
