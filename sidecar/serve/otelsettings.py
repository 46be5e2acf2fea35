"""Reads what OpenTelemetry's own environment variables say about traces; there is no other setting for them.

It imports nothing of OpenTelemetry, so that a sidecar without traces never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from sidecar.errors import SettingError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The one only for traces comes first, and takes precedence."""


def traces_asked_by(variables: Mapping[str, str]) -> str:
    """Return the variable that asks for traces, as `NAME=value`; empty if none does.

    By the specification an empty variable counts as unset.

    Raises:
        SettingError: a variable asks for something that is not supported.

    """
    exporter = _word(variables, "OTEL_TRACES_EXPORTER")
    if exporter == "none" or _word(variables, "OTEL_SDK_DISABLED") == "true":
        return ""
    if exporter not in ("", "otlp"):
        raise SettingError(f"OTEL_TRACES_EXPORTER is {exporter!r}; traces are exported by otlp, or none are made")
    endpoint = next((name for name in ENDPOINTS if variables.get(name)), "")
    if not (exporter or endpoint):
        return ""
    for name in PROTOCOLS:
        protocol = _word(variables, name)
        if protocol not in ("", "http/protobuf"):
            raise SettingError(f"{name} is {protocol!r}; traces are exported by http/protobuf, to port 4318 as a rule")
        if protocol:
            break
    if endpoint:
        _need_url(endpoint, variables[endpoint])
    return f"OTEL_TRACES_EXPORTER={exporter}" if exporter else f"{endpoint}={variables[endpoint]}"


def _word(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, "").strip().lower()


def _need_url(name: str, text: str) -> None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingError(f"{name} is {text!r}, and no URL; write it as http://collector:4318")
