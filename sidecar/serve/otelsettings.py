"""What OpenTelemetry's own environment variables say of traces; there is no setting of ours beside them.

Nothing of OpenTelemetry is imported to find out: a sidecar that is not asked for traces does not know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from sidecar.errors import SettingError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The one for traces alone comes first, and wins."""


def traces_asked_by(variables: Mapping[str, str]) -> str:
    """Return what asks for traces, as `NAME=value`; empty where nothing does.

    As the specification has it, a variable that is empty counts as one that is not there.

    Raises:
        SettingError: something is asked for that we cannot do.

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
