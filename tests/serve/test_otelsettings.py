"""OpenTelemetry's variables turn traces on as usual; unsupported values are refused."""

from __future__ import annotations

import pytest

from sidecar.errors import SettingError
from sidecar.serve.otelsettings import traces_asked_by

COLLECTOR = "http://collector:4318"


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_SAMPLER": "always_on"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, f"OTEL_EXPORTER_OTLP_ENDPOINT={COLLECTOR}"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, ""),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT": "no url"},
            f"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={COLLECTOR}/v1/traces",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER=otlp"),
        ({"OTEL_TRACES_EXPORTER": "OTLP", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "OTEL_TRACES_EXPORTER=otlp"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, ""),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, ""),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "OTEL_TRACES_EXPORTER=otlp",
        ),
    ],
)
def test_which_variables_turn_traces_on(variables: dict[str, str], asks: str) -> None:
    """An endpoint or `otlp`; `none` overrides both, and the variable for traces overrides the general one."""
    assert traces_asked_by(variables) == asks


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; use otlp"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; only http/protobuf is supported",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'collector:4318', which is not a URL",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:many"}, "write it as http://collector:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:0"}, "write it as http://collector:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https:///v1/traces"}, "write it as http://collector:4318"),
    ],
)
def test_unsupported_values_are_refused(variables: dict[str, str], words: str) -> None:
    """Exporters, protocols and invalid URLs: with the variable, its value and the fix."""
    with pytest.raises(SettingError, match=words):
        traces_asked_by(variables)
