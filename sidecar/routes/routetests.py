"""The `tests:` of a `routes.yaml`, run: examples that keep an edit from changing what it should not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from sidecar.errors import RequestError
from sidecar.events.event import parse
from sidecar.routes.config import Config, Test
from sidecar.routes.routing import Decision, Router


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as a test expects it."""

    key: str
    """Of `expect`; or `event`, where the event is none."""
    words: str

    def __str__(self) -> str:
        """Return it as `stream: expected a, is b`."""
        return f"{self.key}: {self.words}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A test whose event went another way than it expects."""

    index: int
    name: str
    differences: tuple[Difference, ...]


def failures(config: Config) -> Iterator[Failure]:
    """Run every test of `config` and yield those that fail, in the order of the file."""
    for index, test in enumerate(config.tests):
        differences = tuple(_differences(config, test))
        if differences:
            yield Failure(index, test.name, differences)


def _differences(config: Config, test: Test) -> Iterator[Difference]:
    try:
        event = parse(msgspec.json.encode(test.event))[0]
    except (RequestError, TypeError, ValueError) as error:
        yield Difference("event", f"cannot be written as JSON: {error}")
        return
    decision = Router(config, test.labels).decide(event)
    found = _as_expected(decision, event.stream)
    why = f" ({decision.refusal})" if decision.refusal else ""
    for key, expected in test.expect.given.items():
        if found[key] != expected:
            yield Difference(key, f"expected {_word(expected)}, is {_word(found[key])}{why}")
            why = ""  # said once


def _as_expected(decision: Decision, stream: str | None) -> dict[str, str | bool | None]:
    sent = decision.refusal is None
    return {
        "upstream": decision.upstream,
        "stream": (decision.stream or stream) if sent else None,
        "route": decision.route or None,
        "refused": not sent,
    }


def _word(value: object) -> str:
    return (
        {True: "true", False: "false", None: "none"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )
