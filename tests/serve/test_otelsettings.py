"""OpenTelemetry's variables turn traces on as people who know them expect; anything else is refused in words."""

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
def test_traces_are_made_where_a_variable_asks_for_them(variables: dict[str, str], asks: str) -> None:
    """An endpoint or `otlp` does; `none` wins over both, and the variable for traces over the one for all."""
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
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https:///v1/traces"}, "write it as http://collector:4318"),
    ],
)
def test_what_cannot_be_done_is_refused(variables: dict[str, str], words: str) -> None:
    """Another exporter, another protocol, and what is no URL: with the variable, its value and the mend."""
    with pytest.raises(SettingError, match=words):
        traces_asked_by(variables)
