"""Runs all checks of a `routes.yaml`: a sidecar neither starts with nor loads a file that `check` refuses.

The text is read (`loader`), searched for parts without effect (`audit`), and its own `tests:` are run. All problems are
reported at once, each at its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from sidecar.errors import ConfigError, Problem, RequestError
from sidecar.events.event import parse
from sidecar.routes import audit, streamconfig
from sidecar.routes.index import Indexes
from sidecar.routes.language.config import Config, Test
from sidecar.routes.language.loader import load
from sidecar.routes.language.section import Complaint
from sidecar.routes.routing import Decision, Router
from sidecar.routes.streamconfig import StreamConfig


@dataclass(frozen=True, slots=True)
class Inspection:
    """The results of the checks of a file."""

    config: Config | None
    """None if the text is not a configuration."""
    problems: tuple[Problem, ...]
    """Reasons to refuse the file."""
    warnings: tuple[Problem, ...]

    @property
    def approved(self) -> Config:
        """The configuration, if nothing is wrong with it.

        Raises:
            ConfigError: it is refused.

        """
        if self.problems or self.config is None:
            raise ConfigError(self.problems)
        return self.config


def inspect(
    text: str,
    file: str = "routes.yaml",
    labels: Mapping[str, str] | None = None,
    declared: StreamConfig | None = None,
) -> Inspection:
    """Check everything in `text`.

    `file` is its name in messages, `labels` are those of its pod, `declared` are the existing streams.
    """
    try:
        config, source = load(text, file)
    except ConfigError as error:
        return Inspection(None, error.problems, ())
    missing = _missing_labels(config, labels) if labels is not None else ()
    undeclared = streamconfig.mistakes(config, declared) if declared else ()
    unmatched = streamconfig.warnings(config, declared) if declared else ()
    problems = source.problems([*audit.mistakes(config), *_failed_tests(config), *missing, *undeclared])
    warnings = source.problems([*audit.warnings(config), *unmatched])
    return Inspection(config, tuple(problems), tuple(replace(each, warning=True) for each in warnings))


def _missing_labels(config: Config, labels: Mapping[str, str]) -> Iterator[Complaint]:
    for route, key, label in Router(config, labels).missing_labels:
        yield (
            ("routes", config.routes.index(route), *key),
            f"uses label {label}, which this pod does not have; set it with --label {label}=…",
        )


def _failed_tests(config: Config) -> Iterator[Complaint]:
    indexes = Indexes(config)
    for index, test in enumerate(config.tests):
        for where, words in _differences(Router(config, test.labels, indexes), test):
            yield ("tests", index, *where), f"fails: {words} (test: {test.name})"


def _differences(router: Router, test: Test) -> Iterator[Complaint]:
    """Yield each key of the test that differs, with the expected and the actual value."""
    try:
        event = parse(msgspec.json.encode(test.event))[0]
    except (RequestError, TypeError, ValueError) as error:
        yield ("event",), f"cannot be written as JSON: {error}"
        return
    decision = router.decide(event)
    found = _as_expected(decision, event.stream)
    why = f" ({decision.refusal})" if decision.refusal else ""
    for key, expected in test.expect.given.items():
        if found[key] != expected:
            yield ("expect", key), f"expected {_word(expected)}, got {_word(found[key])}{why}"
            why = ""  # only once


def _as_expected(decision: Decision, stream: str | None) -> dict[str, str | bool | None]:
    sent = decision.refusal is None
    return {
        "upstream": decision.upstream,
        "stream": (decision.stream or stream) if sent else None,
        "route": decision.route or None,
        "refused": not sent,
    }


def _word(value: str | bool | None) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else value
