r"""Patterns, which select values in `routes.yaml`, and templates for the new name of a stream.

A pattern has one of four forms:

    mediawiki.revision-score-test     a literal: equal, letter for letter
    mediawiki.revision_score_*        a glob: * any run of characters, ? one, [ab] one of these, [!ab] none of these
    /^mediawiki\.(.*)_score/          a regular expression, as EventGate's own stream configuration writes it
                                      (lib/event-util.js, stringMatches): unanchored, case-sensitive
    [a, "b*", /c/]                    a list of these: any of them

Regular expressions run on RE2, whose time is always linear in the length of the text, so that no event can make a
route slow. RE2 supports neither look-around nor back-references; those are refused.

In a template `{stream}` is the original name, `{labels.isvc}` a label of the pod, and `{1}` and `{name}` are groups
that the route's `match.stream` captured. Everything else is literal.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import re2

from sidecar.routes.language.section import string_in

GLOB_CHARACTERS = frozenset("*?[")
STREAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Valid names of streams: Kafka allows 249 of these characters in a topic, which includes a topic prefix."""

_FLAGS = re.compile(r"/(.+)/((?!(.).*\3)[dgimsuvy]{1,3})")
"""A regular expression as in JavaScript and Perl, followed by flags."""
_OF_A_REGEX = re.compile(r"[\^$()|+\\{}]")
"""Characters that no $schema has, such as /mediawiki/revision/score/2.0.0."""

_PIECE = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]|.", re.DOTALL)
_RUN = re.compile(r"[*?]*\*[*?]*")
"""In a glob."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Literal:
    """Equal, letter for letter."""

    group_names: frozenset[str] = frozenset()

    def __init__(self, text: str) -> None:
        """Match this text only."""
        self.source = text

    def groups_in(self, text: str) -> Mapping[str, str] | None:
        """Return no groups if the text is equal, else None."""
        return {} if text == self.source else None


class Glob:
    """`*`, `?`, `[ab]`, `[!ab]`; case-sensitive and over the whole text."""

    group_names: frozenset[str] = frozenset()

    def __init__(self, glob: str) -> None:
        """Compile `glob`; the standard library translates it to atomic groups, which bounds backtracking."""
        self.source = glob
        self._regex = re.compile(fnmatch.translate(glob))
        ordered = _RUN.sub(lambda run: "?" * run[0].count("?") + "*", glob) if "[" not in glob else glob
        self.pieces = tuple(_PIECE.findall(ordered))
        """`*`, `?`, `[…]` and single characters; of a run of `*` and `?` the `*` comes last, once."""
        runs = "".join("*" if piece == "?" or len(piece) > 1 else piece for piece in self.pieces).split("*")
        self.beginning, self.ending, self.longest = runs[0], runs[-1], max(runs, key=len)
        """Literal beginning, ending and longest part of every text that it matches."""

    def groups_in(self, text: str) -> Mapping[str, str] | None:
        """Return no groups if the glob matches the whole text, else None."""
        return {} if self._regex.match(text) else None


def quiet() -> re2.Options:
    """Return options with which RE2 raises errors without logging them too."""
    options = re2.Options()
    options.log_errors = False
    return options


class Regex:
    """A regular expression searched for anywhere in the text."""

    def __init__(self, source: str) -> None:
        """Compile `source` with RE2.

        Raises:
            ValueError: RE2 refuses it; the message says why.

        """
        self.source = source
        try:
            self._regex = re2.compile(source, quiet())
        except re2.error as refusal:
            words = refusal.args[0].decode(errors="replace")
            raise ValueError(f"is not a regular expression that RE2 accepts: {words}") from None
        self._names: dict[str, int] = dict(self._regex.groupindex)
        self._names |= {str(number): number for number in range(1, self._regex.groups + 1)}

    @property
    def group_names(self) -> frozenset[str]:
        """Numbered groups as "1", "2", …, and the named ones."""
        return frozenset(self._names)

    def groups_in(self, text: str) -> Mapping[str, str] | None:
        """Return the groups of the first match; an unused group is an empty string."""
        found = self._regex.search(text)
        if found is None:
            return None
        return {name: found.group(number) or "" for name, number in self._names.items()}


Matcher = Literal | Glob | Regex
"""One compiled alternative of a pattern; `source` is its text, of a regular expression without the slashes."""


@dataclass(frozen=True)
class Pattern:
    """A pattern as written and as compiled; alternatives are tried in the order of the file."""

    source: str | tuple[str, ...]
    matchers: tuple[Matcher, ...] = field(compare=False)

    @functools.cached_property
    def _literals(self) -> frozenset[str]:
        """Apart from other alternatives, since a list may have a thousand names."""
        return frozenset(self.literals)

    @functools.cached_property
    def _others(self) -> tuple[Matcher, ...]:
        return tuple(each for each in self.matchers if not isinstance(each, Literal))

    @classmethod
    def parse(cls, value: object) -> Pattern:
        """Read a pattern from a YAML value: a string, or a list of strings.

        Raises:
            ValueError: the value is not a pattern; the message says what was found and what is allowed.

        """
        if isinstance(value, list):
            if not value:
                raise ValueError("is an empty list, which matches nothing; remove the key to match everything")
            texts = tuple(_text(item) for item in value)
            return cls(texts, tuple(_matcher(text) for text in texts))
        text = _text(value)
        return cls(text, (_matcher(text),))

    def groups_in(self, text: str) -> Mapping[str, str] | None:
        """Return the groups of the first alternative that matches `text`, or None if none does.

        If one is a literal, templates cannot use groups.
        """
        if text in self._literals:
            return {}
        for matcher in self._others:
            groups = matcher.groups_in(text)
            if groups is not None:
                return groups
        return None

    @property
    def group_names(self) -> frozenset[str]:
        """Groups that every alternative captures: a template may use only these."""
        return frozenset.intersection(*(matcher.group_names for matcher in self.matchers))

    @property
    def alternatives(self) -> tuple[Pattern, ...]:
        """A pattern for each alternative."""
        texts = (self.source,) if isinstance(self.source, str) else self.source
        return tuple(Pattern(text, (matcher,)) for text, matcher in zip(texts, self.matchers, strict=True))

    @property
    def literals(self) -> tuple[str, ...]:
        """The alternatives that are literals."""
        return tuple(matcher.source for matcher in self.matchers if isinstance(matcher, Literal))

    def __str__(self) -> str:
        """Return the pattern as `routes.yaml` writes it."""
        return self.source if isinstance(self.source, str) else f"[{', '.join(self.source)}]"


@dataclass(frozen=True)
class Template:
    """A template for a stream's new name."""

    source: str
    placeholders: frozenset[str]

    @classmethod
    def parse(cls, value: object) -> Template:
        """Read a template from a YAML value.

        Raises:
            ValueError: not a string, a brace that is not closed, or characters that no stream name has.

        """
        text = string_in(value)
        if not text:
            raise ValueError("is an empty string; write a name such as mediawiki.revision-score-test or {stream}.test")
        if "${" in text:
            raise ValueError("has a placeholder with a $; write {stream}, without it")
        fixed = _PLACEHOLDER.sub("x", text)
        if "{" in fixed or "}" in fixed:
            raise ValueError("has an unmatched brace; write a placeholder as {stream}")
        if not STREAM_NAME.fullmatch(fixed):
            words = "does not give a valid stream name; letters, digits, dots, dashes and underscores are allowed"
            is_pattern = text[0] == "/" or "*" in text
            raise ValueError(words + "; a pattern belongs in match: write match: {stream: ...}" * is_pattern)
        return cls(text, frozenset(_PLACEHOLDER.findall(text)))

    @property
    def labels(self) -> frozenset[str]:
        """Names of the labels that it uses."""
        return frozenset(name.removeprefix("labels.") for name in self.placeholders if name.startswith("labels."))

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups of `match.stream` that it uses."""
        return frozenset(name for name in self.placeholders if name != "stream" and not name.startswith("labels."))

    def expand(self, stream: str, labels: Mapping[str, str], groups: Mapping[str, str]) -> str:
        """Return the new name; every placeholder must have a value, which `loader` and `routing` ensure."""
        if not self.placeholders:
            return self.source
        words = {**groups, **{f"labels.{name}": value for name, value in labels.items()}, "stream": stream}
        return _PLACEHOLDER.sub(lambda found: words[found[1]], self.source)

    def __str__(self) -> str:
        """Return the template as `routes.yaml` writes it."""
        return self.source


def _text(value: object) -> str:
    text = string_in(value)
    if not text:
        raise ValueError("is an empty string, which matches no value; remove the key to match everything")
    return text


def _matcher(text: str) -> Matcher:
    if text.startswith("/") and text.endswith("/") and len(text) > 2:
        return Regex(text[1:-1])
    flags = _FLAGS.fullmatch(text)
    if flags is not None:
        raise ValueError(
            f"ends like a regular expression with flags; write the flags at the beginning, "
            f"as in /(?{flags[2]}){flags[1]}/, or, to match exactly this text, {text[:-1]}[{text[-1]}]"
        )
    if text.startswith("/") and _OF_A_REGEX.search(text):
        raise ValueError("begins like a regular expression, but has no slash at its end; write /…/")
    if GLOB_CHARACTERS & set(text):
        return Glob(text)
    return Literal(text)
