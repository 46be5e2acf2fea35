"""Reads OpenTelemetry's environment variables, the only settings for traces.

It does not import OpenTelemetry, so that a sidecar without traces never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from sidecar.errors import SettingError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The variable for traces only comes first, and takes precedence."""


def traces_asked_by(variables: Mapping[str, str]) -> str:
    """Return the variable that turns traces on, as `NAME=value`; empty if none does.

    An empty variable counts as unset, as specified by OpenTelemetry.

    Raises:
        SettingError: a variable asks for something that is not supported.

    """
    exporter = _word(variables, "OTEL_TRACES_EXPORTER")
    if exporter == "none" or _word(variables, "OTEL_SDK_DISABLED") == "true":
        return ""
    if exporter not in ("", "otlp"):
        raise SettingError(f"OTEL_TRACES_EXPORTER is {exporter!r}; use otlp, or none to turn traces off")
    endpoint = next((name for name in ENDPOINTS if variables.get(name)), "")
    if not (exporter or endpoint):
        return ""
    for name in PROTOCOLS:
        protocol = _word(variables, name)
        if protocol not in ("", "http/protobuf"):
            raise SettingError(f"{name} is {protocol!r}; only http/protobuf is supported, usually on port 4318")
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
        raise SettingError(f"{name} is {text!r}, which is not a URL; write it as http://collector:4318")
