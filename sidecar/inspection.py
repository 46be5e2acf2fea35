"""One gate for a `routes.yaml`: what `check` refuses, a sidecar neither starts with nor reloads.

The text becomes a configuration (`loader`), the configuration is looked through for what has no effect (`audit`),
and its own tests are run (`routetests`). All that is wrong comes at once, each at its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sidecar import audit
from sidecar.config import Config
from sidecar.errors import ConfigError, Problem
from sidecar.loader import load
from sidecar.routetests import failures
from sidecar.yamlmarks import Path


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


def inspect(text: str, file: str = "routes.yaml") -> Inspection:
    """Look at everything in `text`; `file` is its name in messages."""
    try:
        config, source = load(text, file)
    except ConfigError as error:
        return Inspection(None, error.problems, ())
    problems = source.problems([*audit.mistakes(config), *_failed_tests(config)])
    warnings = source.problems(audit.warnings(config))
    return Inspection(config, tuple(problems), tuple(replace(each, warning=True) for each in warnings))


def _failed_tests(config: Config) -> Iterator[tuple[Path, str]]:
    for failure in failures(config):
        for difference in failure.differences:
            where = ("event",) if difference.key == "event" else ("expect", difference.key)
            yield ("tests", failure.index, *where), f"fails: {difference.words} (test: {failure.name})"
