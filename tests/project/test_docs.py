"""README and docs are right: keys and defaults, YAML, commands and their output, settings, answers."""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from msgspec.structs import FieldInfo

from sidecar.commands.cli import app, load
from sidecar.commands.spool import spool
from sidecar.commands.streams import Stream, in_markdown, in_wikitext, streams_of
from sidecar.events.results import Outcome
from sidecar.intake.answer import MIXED
from sidecar.routes.inspection import inspect
from sidecar.routes.language import config, loader
from sidecar.routes.language.scalars import duration, size_in_bytes
from sidecar.routes.language.section import Section, fields, keys_of

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "routes.md"
SECURITY = ROOT / "SECURITY.md"
COMMANDS_PAGE, SETTINGS_PAGE, ANSWERS_PAGE = (
    ROOT / "docs" / f"{name}.md" for name in ("commands", "settings", "answers")
)
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, SECURITY, *sorted((ROOT / "docs").glob("*.md"))]
PROMISES = [ROOT / "docs" / "guarantees.md", ROOT / "docs" / "herd.md", SECURITY]
EXAMPLES = [
    ROOT / "routes.yaml",
    *(path for path in sorted((ROOT / "examples").glob("*.yaml")) if path.stem != "compose"),
]
HEADINGS: dict[str, type[Section]] = {
    "The file": config.Config,
    "upstreams": config.Upstream,
    "tls": config.Tls,
    "timeouts": config.Timeouts,
    "health_check": config.HealthCheck,
    "outlier": config.Outlier,
    "coalesce": config.Coalesce,
    "routes": config.Route,
    "mirror": config.Mirror,
    "match": config.Match,
    "tests": config.Test,
    "expect": config.Expect,
}
REST: dict[str, Any] = {
    "version": 1,
    "upstreams": {
        "production": {"url": "https://eventgate-main.discovery.wmnet:4492/v1/events"},
        "staging": {"url": "https://staging.svc.eqiad.wmnet:4492/v1/events"},
    },
    "routes": [{"name": "everything", "to": "production"}],
}
"""What a part of a file is completed with."""

COMMANDS = {name: load(name) for name in app.commands}


def blocks(language: str) -> Iterator[Any]:
    """Yield every fenced block in this language on every page."""
    for page in PAGES:
        if (language, page.stem) == ("yaml", "liftwing"):
            continue  # values of the chart, which tests/helm renders
        fence = rf"^ *```{language}\n(.*?)^ *```"
        for indented in re.findall(fence, page.read_text(), re.MULTILINE | re.DOTALL):
            block = textwrap.dedent(indented)
            first = block.splitlines()[0]
            yield pytest.param(block, id=f"{page.stem}: {first}")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table below a heading of the reference: key → the other cells."""
    below = re.split(rf"^#+ {heading}$", REFERENCE.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {key.strip("`"): rest for key, *rest in cells[2:]}


def transcripts() -> Iterator[Any]:
    """Yield each `$ eventgate-sidecar …` that is shown with its output, and that output."""
    for parameter in blocks("console"):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", parameter.values[0], re.MULTILINE):
            yield pytest.param(command, output, id=command)


def all_sections() -> set[type[Section]]:
    """Return every section that `config` has."""
    return {each for each in Section.__subclasses__() if each.__module__ == config.__name__}


def test_every_section_is_in_the_reference() -> None:
    """A new section of routes.yaml must be documented."""
    assert set(HEADINGS.values()) == all_sections()


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_key_is_in_the_reference(heading: str) -> None:
    """The table of a section has exactly its keys, in order."""
    assert list(rows(heading)) == keys_of(HEADINGS[heading])


def means(default: str, field: FieldInfo) -> bool:
    """Whether the words of a table say what this field defaults to."""
    if field.required:
        return default == "required"
    value = default.strip("`")
    if isinstance(field.default, float):
        return duration(value) == field.default
    if value.endswith("iB"):
        return bool(size_in_bytes(value) == field.default)
    if isinstance(field.default, bool):
        return value == str(field.default).lower()
    if isinstance(field.default, int | str):
        return value == str(field.default)
    return default not in ("", "required")  # in words: nothing, everything, or a section of its own


@pytest.mark.parametrize("heading", HEADINGS)
def test_defaults_are_as_the_reference_says(heading: str) -> None:
    """Each default in a table is the default in the code."""
    by_key = {field.encode_name: field for field in fields(HEADINGS[heading])}
    assert [key for key, (default, _) in rows(heading).items() if not means(default, by_key[key])] == []


@pytest.mark.parametrize("block", list(blocks("yaml")))
def test_yaml_that_is_shown_is_accepted(block: str) -> None:
    """Every piece of routes.yaml on a page is valid, and its tests pass; parts are completed first."""
    part = yaml.safe_load(block)
    if "version" not in part:
        upstreams = {**REST["upstreams"], **part.get("upstreams", {})}
        block = yaml.safe_dump({**REST, **part, "upstreams": upstreams})
    assert inspect(block).problems == ()


@pytest.mark.parametrize(("form", "show"), [("md", in_markdown), ("wikitext", in_wikitext)], ids=["md", "wikitext"])
def test_the_page_of_streams_has_the_table_of_the_shipped_file(
    form: str, show: Callable[[Sequence[Stream]], str]
) -> None:
    """`make docs` was run after the last change of `routes.yaml`."""
    shipped = loader.read((ROOT / "routes.yaml").read_text(encoding="utf-8"))
    assert show(streams_of(shipped)) in (ROOT / "docs" / f"streams.{form}").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_passes_its_own_tests(path: Path) -> None:
    """Each file is valid."""
    assert len(inspect(path.read_text()).approved.tests) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_lets_staging_into_a_production_stream(path: Path) -> None:
    """Production accepts only testing streams from staging, whatever the routes say."""
    spoilt = yaml.safe_load(path.read_text())
    spoilt["routes"] = [{"name": "mistake", "to": "production"}]
    spoilt["tests"] = [
        {
            "name": f"{stream} from staging",
            "labels": {"env": "staging"},
            "event": {"meta": {"stream": stream}},
            "expect": {"refused": True},
        }
        for stream in (
            "mediawiki.revision_score_damaging",
            "mediawiki.page_outlink_topic_prediction_change.v1",
            "mediawiki.cirrussearch.page_weighted_tags_change.v1",
        )
    ]
    assert inspect(yaml.safe_dump(spoilt)).problems == ()


@pytest.mark.parametrize(("command", "output"), list(transcripts()))
def test_output_that_is_shown_is_right(command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command shown with output prints that output."""
    monkeypatch.chdir(ROOT)
    for variable in [name for name in os.environ if name.startswith("SIDECAR_")]:
        monkeypatch.delenv(variable)
    program, *arguments = shlex.split(command)
    assert program == "eventgate-sidecar"
    assert CliRunner().invoke(app, arguments).output.strip() == output.strip()


@pytest.mark.parametrize("page", PAGES + EXAMPLES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    """No page shows a command or an option that does not exist."""
    for command, rest in re.findall(r"eventgate-sidecar ([a-z]+)\b([^`\n]*)", page.read_text()):
        assert command in COMMANDS
        described = COMMANDS[command]
        below = getattr(described, "commands", {})
        if below and rest.split():
            described = below[rest.split()[0]]
        options = {option for parameter in described.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def test_every_command_is_on_its_page() -> None:
    """A new command must be documented."""
    text = COMMANDS_PAGE.read_text()
    assert [command for command in COMMANDS if f"**`{command}`**" not in text] == []


def test_the_table_of_settings_is_complete() -> None:
    """docs/settings.md has each flag of `serve` with its variable and its default."""
    text = SETTINGS_PAGE.read_text()
    missing = []
    for parameter in COMMANDS["serve"].params:
        if parameter.name in ("help", "labels_variable", "file"):
            continue
        variable = parameter.envvar or "SIDECAR_LABELS"
        without = "off" if getattr(parameter, "is_flag", False) else "none"
        default = f"`{parameter.default}`" if isinstance(parameter.default, str) else without
        row = rf"\| `{parameter.opts[0]}(?: [^|]*)?` \| `{variable}` \| {re.escape(default)} \|"
        missing += [] if re.search(row, text) else [row]
    assert missing == []


def test_every_command_of_the_spool_is_on_the_page_of_commands() -> None:
    """A new one must be documented."""
    text = COMMANDS_PAGE.read_text()
    assert [command for command in spool.commands if not re.search(rf"^\| `{command}\b", text, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.name)
def test_every_promise_has_its_test(page: Path) -> None:
    """Each test named on the page exists."""
    named = set(re.findall(r"`(test_\w+|Test\w+)`", page.read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)|^(Test\w+) = ", tests, re.MULTILINE))
    assert named
    assert named - {name for names in there for name in names} == set()


def test_every_outcome_is_on_the_page_of_answers() -> None:
    """Each first word of `x-eventgate-sidecar` is explained."""
    text = ANSWERS_PAGE.read_text()
    assert [word for word in (*Outcome, MIXED) if f"| `{word}` |" not in text] == []


def test_every_make_target_is_documented() -> None:
    """CONTRIBUTING.md has all that `make help` lists."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = CONTRIBUTING.read_text()
    assert [target for target in targets if target != "help" and f"`make {target}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file or a heading of ours has a target."""
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def test_every_page_is_in_the_index() -> None:
    """docs/README.md links to it."""
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [page for page in pages if f"]({page})" not in index] == []


def test_the_readme_is_short() -> None:
    """It takes five minutes to read."""
    assert len(README.read_text().split()) <= 1300


def likely_mistakes() -> Iterator[Any]:
    """Yield each edit of docs/mistakes.md, and what `check` says to it."""
    page = (ROOT / "docs" / "mistakes.md").read_text()
    shown = r"^## \d+\. (.*)\n\n```diff\n((?:.*\n)*?)```\n\n```text\n((?:.*\n)*?)```"
    for name, edit, said in re.findall(shown, page, re.MULTILINE):
        yield pytest.param(edit.splitlines(keepends=True), said, id=name)


def test_there_are_fifteen_likely_mistakes() -> None:
    """As the title of docs/mistakes.md says."""
    assert len(list(likely_mistakes())) == 15


@pytest.mark.parametrize(("edit", "said"), list(likely_mistakes()))
def test_a_likely_mistake_is_answered_as_its_page_says(
    edit: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made in the tutorial's file, it has the place, cause and fix shown."""
    right = (ROOT / "examples" / "tutorial.yaml").read_text()
    before, after = ("".join(line[1:] for line in edit if line[0] in signs) for signs in (" -", " +"))
    assert right.count(before) == 1
    (tmp_path / "routes.yaml").write_text(right.replace(before, after))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["check", "routes.yaml"])
    assert result.exit_code == 1
    assert result.output.startswith(said)


def test_the_tutorial_ends_with_its_example() -> None:
    """The rules in docs/tutorial.md are those of examples/tutorial.yaml."""
    *_, shown = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert shown in (ROOT / "examples" / "tutorial.yaml").read_text()
