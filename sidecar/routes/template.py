"""Templates: how a route writes the new name of a stream.

`{stream}` is the name that came, `{labels.isvc}` a label of the pod, `{1}` and `{name}` groups that the
route's `match.stream` captured. Everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

STREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What a stream may be called: Kafka allows 249 of these characters in a topic, and a topic prefix comes on top."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Template:
    """A stream's new name with its placeholders found."""

    source: str
    placeholders: frozenset[str]

    @classmethod
    def parse(cls, value: object) -> Template:
        """Read a template from a YAML value.

        Raises:
            ValueError: not a text, a brace that is not closed, or characters no stream name has.

        """
        if not isinstance(value, str) or not value:
            raise ValueError("is no stream name; write a text such as mediawiki.revision-score-test or {stream}.test")
        fixed = _PLACEHOLDER.sub("x", value)
        if "{" in fixed or "}" in fixed:
            raise ValueError("has a brace without its partner; a placeholder is written {stream}")
        if not STREAM_NAME.fullmatch(fixed):
            raise ValueError("gives no valid stream name; letters, digits, dots, dashes and underscores are allowed")
        return cls(value, frozenset(_PLACEHOLDER.findall(value)))

    @property
    def labels(self) -> frozenset[str]:
        """Names of the labels it takes its words from."""
        return frozenset(name.removeprefix("labels.") for name in self.placeholders if name.startswith("labels."))

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups of `match.stream` it uses."""
        return frozenset(name for name in self.placeholders if name != "stream" and not name.startswith("labels."))

    def expand(self, stream: str, labels: Mapping[str, str], groups: Mapping[str, str]) -> str:
        """Return the new name; every placeholder must have its value (`config` and `routing` see to that)."""
        if not self.placeholders:
            return self.source
        words = {**groups, **{f"labels.{name}": value for name, value in labels.items()}, "stream": stream}
        return _PLACEHOLDER.sub(lambda found: words[found[1]], self.source)

    def __str__(self) -> str:
        """Return the template as `routes.yaml` writes it."""
        return self.source
