"""One gate for a `routes.yaml`: what `check` refuses, a sidecar neither starts with nor reloads.

The text becomes a configuration (`loader`), the configuration is looked through for what has no effect (`audit`),
and its own tests are run (`routetests`). All that is wrong comes at once, each at its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sidecar.errors import ConfigError, Problem
from sidecar.routes import audit
from sidecar.routes.config import Config
from sidecar.routes.loader import load
from sidecar.routes.routetests import failures
from sidecar.routes.routing import Router
from sidecar.routes.section import Path


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to say of a file."""

    config: Config | None
    """None where it could not even be read as one."""
    problems: tuple[Problem, ...]
    """Each a reason to refuse the file."""
    warnings: tuple[Problem, ...]

    @property
    def approved(self) -> Config:
        """The configuration, to be used.

        Raises:
            ConfigError: it is refused.

        """
        if self.problems or self.config is None:
            raise ConfigError(self.problems)
        return self.config


def inspect(text: str, file: str = "routes.yaml", labels: Mapping[str, str] | None = None) -> Inspection:
    """Look at everything in `text`; `file` is its name in messages, `labels` those of the pod that is to use it."""
    try:
        config, source = load(text, file)
    except ConfigError as error:
        return Inspection(None, error.problems, ())
    missing = _missing_labels(config, labels) if labels is not None else ()
    problems = source.problems([*audit.mistakes(config), *_failed_tests(config), *missing])
    warnings = source.problems(audit.warnings(config))
    return Inspection(config, tuple(problems), tuple(replace(each, warning=True) for each in warnings))


def _missing_labels(config: Config, labels: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    for route, label in Router(config, labels).missing_labels:
        yield (
            ("routes", config.routes.index(route), "stream"),
            f"takes a word from label {label}, which this pod does not have; give it with --label {label}=…",
        )


def _failed_tests(config: Config) -> Iterator[tuple[Path, str]]:
    for failure in failures(config):
        for difference in failure.differences:
            where = ("event",) if difference.key == "event" else ("expect", difference.key)
            yield ("tests", failure.index, *where), f"fails: {difference.words} (test: {failure.name})"
