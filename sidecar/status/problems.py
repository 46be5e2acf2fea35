"""Finds what is wrong now, the worst first, and writes the sentence at the top of the page.

The sentence is for an operator on call: what is wrong, and what happens to events meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from sidecar.status.value import EndpointNow, Level, ProblemNow, SpoolNow, Status, UpstreamNow, short
from sidecar.upstreams.addresses import SILENT_DNS

NEARLY_FULL = 80
"""Percent."""
NO_ACTION = "No action is needed"
PROBE = "Run eventgate-sidecar probe --running, in the pod or through a port-forward, to see which step fails"


def problems_of(status: Status) -> list[ProblemNow]:
    """Return what is wrong, the worst first."""
    used = [each for each in status.upstreams if each.used]
    found = [
        *_of_spool(status.spool),
        *_of_upstreams(used, status),
        *_of_authorities(used),
        *_of_configuration(status),
        *_of_events(status),
        *_of_waiting(status.spool, told=any(each.out and not each.only_copies for each in used)),
        *_of_orphans(status),
    ]
    return sorted(found, key=lambda each: each.level is not Level.BAD)


def level_of(problems: Sequence[ProblemNow]) -> Level:
    """Return the severity; `problems` has the worst first."""
    return problems[0].level if problems else Level.WELL


def sentence(status: Status, problems: Sequence[ProblemNow]) -> str:
    """Describe the state in one sentence."""
    if problems:
        more = f" (and {_count(len(problems) - 1, 'more problem')})" if len(problems) > 1 else ""
        return f"{problems[0].words}{more}"
    used = [each for each in status.upstreams if each.used]
    if any(all(not end.addresses for end in each.endpoints) for each in used):
        return "Starting: the first DNS look-ups and health checks are in progress"
    ways = ", ".join(each.title for each in used) or "no route leads anywhere from this pod"
    return f"All well: {ways}; {rate(status.events_per_second)}; nothing waiting"


def as_data(status: Status) -> dict[str, Any]:
    """Return the status for JSON."""
    problems = problems_of(status)
    return {
        "sentence": sentence(status, problems),
        "level": level_of(problems),
        "problems": msgspec.to_builtins(problems),
        **msgspec.to_builtins(status),
    }


def rate(per_second: float) -> str:
    """Format a number of events per second."""
    return f"{per_second:.0f} events/s" if per_second >= 10 or not per_second else f"{per_second:.1f} events/s"


def age(seconds: float) -> str:
    """Format a duration in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _of_upstreams(used: Sequence[UpstreamNow], status: Status) -> Iterator[ProblemNow]:
    """Yield the problems of upstreams, or of the resolver if none of their names can be looked up."""
    ends = [end for each in used for end in each.endpoints if end.looked_up]
    names = list(dict.fromkeys(end.host for end in ends))
    dead = len(names) > 1 and all(end.problem.startswith(SILENT_DNS) for end in ends)
    out = [each for each in used if each.out and not each.only_copies]
    if dead:
        nowhere = [each for each in out if not any(end.addresses for end in each.endpoints)]
        words = f"The DNS resolver is down: none of {len(names)} names can be looked up ({ends[0].problem})"
        known = f"no address of {_and(each.name for each in nowhere)} is known. {_meanwhile(status.spool)}"
        level, then = (Level.BAD, known) if nowhere else (Level.WARNING, "the last known addresses are in use")
        step = f"{'' if nowhere else f'{NO_ACTION} for events. '}Tell the team that runs the cluster's DNS"
        yield ProblemNow(level, f"{words}; {then}", step, "DNS fails")
        used = [each for each in used if each not in nowhere]
        out = [*nowhere, *(each for each in out if each not in nowhere)]
    for each in used:
        yield from _of_upstream(each, status, told=each in out[1:])
    if not dead:
        yield from _of_names(used)


def _of_upstream(upstream: UpstreamNow, status: Status, *, told: bool) -> Iterator[ProblemNow]:
    """Yield the problems of an upstream; `told`: what happens to events was already said for another one."""
    out = [each for each in upstream.looked_at if not each.usable]
    if upstream.out:
        lasts = age(status.now - max(each.since for each in out)) if all(each.since for each in out) else ""
        silent = f"has answered for {lasts}" if lasts else "answers"
        words = f"{upstream.name}: no datacenter {silent} ({_whys(out)})"
        if upstream.only_copies:
            step = f"{NO_ACTION} for events. {PROBE}"
            yield ProblemNow(Level.WARNING, f"{words}. It gets copies only; they are lost", step, "A mirror is down")
            return
        step = f"{PROBE}. If all pods are affected, EventGate is down: tell the team that runs it"
        words = words if told else f"{words}. {_meanwhile(status.spool)}"
        yield ProblemNow(Level.BAD, words, step, "EventGateSidecarUpstreamDown")
        return
    waiting = [each for each in out if each.awaits_trial]
    if waiting and len(out) == len(upstream.endpoints):
        words = f"{upstream.name}: {_on_probation(waiting)}"
        yield ProblemNow(Level.WARNING, words, f"{NO_ACTION}: the next event tries it", "One datacenter is down")
        out = [each for each in out if not each.awaits_trial]
    for each in out:
        down = f"has been down for {age(status.now - each.since)}" if each.since else "is down"
        where = f"events go to {upstream.first}" if upstream.first else "nothing takes its place"
        step = f"{NO_ACTION} for events. {PROBE}" if upstream.first else PROBE
        words = f"{upstream.name}: {each.name} {down} ({each.why}); {where}"
        yield ProblemNow(Level.WARNING, words, step, "One datacenter is down")


def _on_probation(endpoints: Sequence[EndpointNow]) -> str:
    names = _and(each.name for each in endpoints)
    verb, whose = ("is", "its") if len(endpoints) == 1 else ("are", "their")
    return f"{names} {verb} on probation, waiting for an event: {whose} health checks pass again"


def _whys(endpoints: Sequence[EndpointNow]) -> str:
    """Return why they are out, each reason once."""
    names: dict[str, list[str]] = {}
    for each in endpoints:
        names.setdefault(each.why, []).append(each.name)
    return "; ".join(f"{_and(those)}: {why}" for why, those in names.items())


def _of_names(upstreams: Sequence[UpstreamNow]) -> Iterator[ProblemNow]:
    """Yield why names whose last known addresses are in use cannot be looked up, each reason once."""
    names: dict[str, list[str]] = {}
    for endpoint in (each for upstream in upstreams for each in upstream.endpoints):
        if endpoint.problem and endpoint.addresses:
            names.setdefault(short(endpoint.problem), []).append(endpoint.host)
    for why, those in names.items():
        words = f"DNS fails for {', '.join(those)} ({why}); the last known addresses are in use"
        yield ProblemNow(
            Level.WARNING, words, f"{NO_ACTION} for events. Check the names in routes.yaml and in DNS", "DNS fails"
        )


def _of_authorities(upstreams: Sequence[UpstreamNow]) -> Iterator[ProblemNow]:
    for problem in dict.fromkeys(each.ca_problem for each in upstreams if each.ca_problem):
        words = f"{short(problem)}; the previous certificates stay in use"
        step = "Fix the file or its ConfigMap: it is read again when it changes"
        yield ProblemNow(Level.WARNING, words, step, "EventGateSidecarUpstreamDown")


def _of_orphans(status: Status) -> Iterator[ProblemNow]:
    """Yield what waits for an upstream that is no longer in the configuration: only a name brings it back."""
    names = {upstream.name for upstream in status.upstreams}
    for name, count in (status.spool.upstreams if status.spool else {}).items():
        if count and name not in names:
            waits = (
                f"{_count(count, 'event')} in the spool for {name}, an upstream that is no longer in the "
                "configuration: not sent unless the upstream comes back"
            )
            step = f"Put {name} back into routes.yaml, or export and drop its events: eventgate-sidecar spool ls"
            yield ProblemNow(Level.WARNING, waits, step, "EventGateSidecarSpoolOld")


def _meanwhile(spool: SpoolNow | None) -> str:
    if spool is None:
        return "There is no spool: events fail, and model servers get 503"
    if spool.trouble:
        return "The spool cannot be used: events fail, and model servers get 503"
    if spool.full:
        return f"The spool is full: events fail, and model servers get 503; {_waiting(spool)}"
    return f"Events are kept in the spool: {_waiting(spool)}{_room(spool)}"


def _room(spool: SpoolNow) -> str:
    return "" if spool.lasts_seconds is None else f"; at this rate it is full in {age(spool.lasts_seconds)}"


def _waiting(spool: SpoolNow) -> str:
    if not spool.events:
        return "nothing waiting yet"
    waits = "waits" if spool.events == 1 else "wait"
    return f"{_count(spool.events, 'event')} {waits}, the oldest for {age(spool.oldest_seconds)}"


def _of_spool(spool: SpoolNow | None) -> Iterator[ProblemNow]:
    """Yield why the spool does not take events, or soon will not."""
    if spool is None:
        return
    full = "Bring the upstream back; meanwhile export dead letters and drop them, which makes room"
    if spool.trouble:
        words = f"The spool cannot be used: {short(spool.trouble)}. Events that need it get 503"
        step = "Make room on the disk, or fix the volume: the sidecar tries again every second"
        yield ProblemNow(Level.BAD, words, step, "EventGateSidecarSpoolBroken")
    elif spool.full:
        words = "The spool is full: events that need it are refused, and get 503"
        yield ProblemNow(Level.BAD, words, full, "EventGateSidecarSpoolFull")
    elif spool.percent >= NEARLY_FULL:
        words = f"The spool is {spool.percent} % full; once it is full, events that need it get 503{_room(spool)}"
        yield ProblemNow(Level.BAD, words, full, "EventGateSidecarSpoolFull")


def _of_waiting(spool: SpoolNow | None, *, told: bool) -> Iterator[ProblemNow]:
    """Yield what is in the spool; `told`: that events wait is said already, of an upstream that is out."""
    if spool is None:
        return
    if spool.events and not spool.trouble and not told:
        words = f"In the spool {_waiting(spool)}; {spool.in_flight} in flight"
        yield ProblemNow(Level.WARNING, words, f"{NO_ACTION}: they are being sent", "EventGateSidecarSpoolOld")
    if spool.dead_letters:
        words = f"{_count(spool.dead_letters, 'dead letter')} in the spool, no longer sent"
        step = "See why with eventgate-sidecar spool ls --dead, then retry or drop them"
        yield ProblemNow(Level.WARNING, words, step, "EventGateSidecarDeadLetters")


def _of_configuration(status: Status) -> Iterator[ProblemNow]:
    refused = status.configuration.get("refused")
    if refused:
        problems = [
            f"line {each['line']}: {each['path']} {each['message']}" for each in status.configuration["problems"]
        ]
        words, *more = problems or refused.splitlines()[:1]
        others = f"; and {_count(len(more), 'more problem')}" if more else ""
        lasts = age(status.now - status.configuration["since"])
        yield ProblemNow(
            Level.WARNING,
            f"routes.yaml is refused, and the configuration from {lasts} ago stays in force: {short(words)}{others}",
            "Fix the file: eventgate-sidecar check shows each problem with its fix",
            "EventGateSidecarConfigRefused",
        )


def _of_events(status: Status) -> Iterator[ProblemNow]:
    for outcome, level, words, step, runbook in (
        (
            "failed",
            Level.BAD,
            "failed: EventGate reported an error for them, or no endpoint could be reached",
            "See the last failures below: they have the stream and the reason",
            "EventGateSidecarEventsFailed",
        ),
        (
            "refused",
            Level.WARNING,
            "{were} refused: no route takes them, or their upstream does not accept them",
            "Run eventgate-sidecar explain --running --stream STREAM, for a stream of the last failures below",
            "EventGateSidecarEventsRefused",
        ),
        (
            "invalid",
            Level.WARNING,
            "{were} called invalid by EventGate",
            "Tell the model's developers: the last failures below have the stream and the reason",
            "Events are invalid",
        ),
    ):
        if status.last_minute.get(outcome):
            count = status.last_minute[outcome]
            became = words.format(were="was" if count == 1 else "were")
            yield ProblemNow(level, f"{_count(count, 'event')} in the last minute {became}", step, runbook)


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
