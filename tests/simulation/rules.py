"""The configuration of a plan: as `routes.yaml`, and its effects by an independent implementation for the oracle."""

from __future__ import annotations

import copy
import fnmatch
import json
from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]
PORT = 4492
RENAMED = {"main": "primary"}
"""Which upstream an edit gives another name."""
CHANGES: dict[str, Config] = {
    "options": {"timeouts": {"attempt": "1200ms"}},
    "accepts": {"accepts": [{"stream": ["weighted.*", "scores.v2"]}]},
}
"""Edits of an upstream."""
CA_FILE = "CA_FILE"
"""Placeholder for the path of the CA file, which is only known when the configuration is written."""


def host(upstream: str, centre: str) -> str:
    """Return the name of an endpoint's machine."""
    return f"{upstream}.{centre}.example"


def first(setup: Mapping[str, Any]) -> Config:
    """Return the first configuration of a plan."""
    upstreams = {}
    for name, centres in setup["centres"].items():
        upstreams[name] = {
            "url": f"http{'s' if setup.get('tls') else ''}://{name}.{{datacenter}}.example:{PORT}/v1/events",
            "datacenters": centres,
            **(setup["options"] if name == "main" else {}),
            **({"tls": {"ca_file": CA_FILE}} if setup.get("tls") else {}),
            **(setup.get("accepts", {}).get(name, {})),
        }
    return {"version": 1, "upstreams": upstreams, "routes": copy.deepcopy(setup["routes"])}


def edited(config: Config, edit: str, number: int) -> Config | None:
    """Return the configuration after an edit; None if the file is broken."""
    config = copy.deepcopy(config)
    scores = next(each for each in config["routes"] if each["name"] == "scores")
    match edit:
        case "broken":
            return None
        case "refuses":
            config["routes"].insert(0, {"name": "no", "match": {"stream": "scores.v1"}, "reject": "not now"})
        case "renames":
            scores["stream"] = f"renamed.{number}"
        case "moves":
            scores["to"] = "test"
        case "no file":
            config["upstreams"]["main"]["url"] = config["upstreams"]["main"]["url"].replace("http:", "https:")
            config["upstreams"]["main"]["tls"] = {"ca_file": "/nowhere/ca.pem"}
        case "removes":
            del config["upstreams"]["test"]
            config["routes"] = [each for each in config["routes"] if each["to"] != "test"]
        case "other name":
            config["upstreams"][RENAMED["main"]] = config["upstreams"].pop("main")
            for route in config["routes"]:
                route["to"] = RENAMED.get(route["to"], route["to"])
        case _:
            config["upstreams"]["main"] |= CHANGES[edit]
    return config


def as_yaml(config: Config | None, ca_file: str) -> str:
    """Return the text of the file."""
    text = "version: 1\nupstreams: {main: [\n" if config is None else json.dumps(config, indent=1)
    return text.replace(CA_FILE, ca_file)


def is_good(edit: str) -> bool:
    """Whether a running sidecar loads the file after this edit."""
    return edit not in ("broken", "no file")


def decide(config: Config, stream: str) -> tuple[str, str] | None:
    """Return an event's upstream and the name it is sent under; None: it is refused."""
    route = route_of(config, stream)
    if route is None or "reject" in route:
        return None
    return _accepted(config, route["to"], route.get("stream", stream))


def allowed(config: Config, stream: str) -> tuple[str, str] | None:
    """Return the same, with the upstream called as the gates call it."""
    way = decide(config, stream)
    return way and ({new: old for old, new in RENAMED.items()}.get(way[0], way[0]), way[1])


def copied(config: Config, stream: str) -> tuple[str, str] | None:
    """Return the upstream of an event's copy and the name it is sent under; None: there is no copy."""
    route = route_of(config, stream)
    if route is None or "mirror" not in route or decide(config, stream) is None:
        return None
    mirror = route["mirror"]
    return _accepted(config, mirror["to"], mirror.get("stream", stream))


def _accepted(config: Config, upstream: str, name: str) -> tuple[str, str] | None:
    accepts = config["upstreams"][upstream].get("accepts")
    if accepts is not None and not any(_fits(each["stream"], name) for each in accepts):
        return None
    return upstream, name


def route_of(config: Config, stream: str) -> dict[str, Any] | None:
    """Return the route of an event."""
    return next((each for each in config["routes"] if _fits(each["match"]["stream"], stream)), None)


def _fits(patterns: str | list[str], stream: str) -> bool:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(stream, each) for each in patterns)
