"""Carries out a schedule: hosts, producers, faults, kills and edits; then gathers the records."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from sidecar.spool.directory import SpoolDir
from sidecar.spool.record import Quota
from tests.longrun import records
from tests.longrun.client import PATIENCE_SECONDS
from tests.longrun.lives import INTAKE, Lives, processor_of, rewrite
from tests.longrun.records import Records, Trouble
from tests.longrun.schedule import BY_NAME, Schedule
from tests.netns.lab import Lab
from tests.netns.network import LabError, words_of
from tests.netns.pod import SETTINGS, UPSTREAM

AT_START_SECONDS = 3.0
"""How long a fault lasts that is present when a sidecar starts."""
EMPTY_SECONDS = 120.0
"""Maximum time until the spool is empty after the last event and the last fault."""
BROKEN = (
    "version: 1\nupstreams: {}\nroutes: []\n",
    "version: 1\n  routes: - nonsense\n",
    "version: 1\nupstreams: {a: {url: http://localhost/v1/events}}\nroutes: [{name: r, to: b}]\n",
)
Say = Callable[[str], None]


def routes(ca_file: Path, number: int = 0) -> str:
    """Return a configuration; each number differs in its routes, and every other one in its upstream as well."""
    failback = f"{3 + number // 2 % 2}s"
    upstream = {**UPSTREAM, **SETTINGS, "failback": failback, "tls": {"ca_file": str(ca_file)}}
    taken = [
        {"name": f"quick-{number}", "match": {"stream": "quick"}, "to": "staging", "acknowledge": "spooled"},
        {"name": f"score-{number}", "match": {"stream": "score"}, "to": "staging", "stream": f"score.v{number}"},
    ]
    return yaml.safe_dump({"version": 1, "upstreams": {"staging": upstream}, "routes": taken}, sort_keys=False)


@dataclass
class Player:
    """Carries out the schedule, each kind of action in its own task."""

    schedule: Schedule
    lab: Lab
    lives: Lives
    begun: float
    tell: Say
    troubles: list[Trouble] = field(default_factory=list)

    async def play(self) -> None:
        """Return when everything is done."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._faults())
            tasks.create_task(self._kills())
            tasks.create_task(self._edits())
            tasks.create_task(self._reach(self.schedule.seconds))

    def say(self, words: str) -> None:
        """Report progress."""
        self.tell(f"{asyncio.get_running_loop().time() - self.begun:8.1f} s  {words}")

    async def _faults(self) -> None:
        for each in self.schedule.faults:
            await self._reach(each.at)
            async with self._noted(each.name), each.scenario.setting(self.lab):
                await self._reach(each.begins)
                self.say(f"fault {each.name}: {each.scenario.title}")
                async with each.scenario.fault(self.lab):
                    await self._reach(each.until)

    async def _kills(self) -> None:
        for each in self.schedule.kills:
            await self._reach(each.at)
            self.say(f"{each.signal} to sidecar {len(self.lives.lives)}")
            await self.lives.end(signal.Signals[each.signal])
            await asyncio.sleep(each.away)
            if not each.fault:
                await self.lives.start()
                continue
            self.say(f"fault {each.fault}: {BY_NAME[each.fault].title}")
            async with self._noted(each.fault), BY_NAME[each.fault].fault(self.lab):
                await self.lives.start(wait_ready=False)
                await asyncio.sleep(AT_START_SECONDS)

    async def _edits(self) -> None:
        broken = itertools.cycle(BROKEN)
        for each in self.schedule.edits:
            await self._reach(each.at)
            self.say(f"{each.kind} routes.yaml")
            text = routes(self.lab.ca_file, each.number) if each.kind == "good" else next(broken)
            rewrite(self.lives.routes, text)
            self.lives.tell(signal.SIGHUP)

    async def _reach(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self.begun + at - asyncio.get_running_loop().time()))

    @contextlib.asynccontextmanager
    async def _noted(self, name: str) -> AsyncIterator[None]:
        """Record the start and end of a fault."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        finally:
            self.troubles.append(Trouble(name, began, clock()))


async def run(schedule: Schedule, lab: Lab, folder: Path, say: Say) -> Records:
    """Carry out a schedule in a lab; all files stay in `folder`."""
    clock = asyncio.get_running_loop().time
    output, log = folder / "requests", folder / "client.log"
    client = (
        *(sys.executable, "-m", "tests.longrun.client", "--port", str(INTAKE), "--seed", str(schedule.seed)),
        *("--seconds", str(schedule.seconds), "--output", str(output)),
    )
    async with Lives(lab, folder) as lives, lab.network.running("pod", *client, log=log) as producers:
        rewrite(lives.routes, routes(lab.ca_file))
        await lives.start()
        assert producers.stdin is not None
        assert producers.stdout is not None
        if not await producers.stdout.readline():
            raise LabError(f"the producers do not start: {words_of(log)}")
        begun = clock() + 0.5
        producers.stdin.write(f"{begun!r}\n".encode())
        player = Player(schedule, lab, lives, begun, say)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(lives.watch())
            await player.play()
            processor = _processors(lab)
            # Its last line has its processor time.
            async with asyncio.timeout(4 * PATIENCE_SECONDS):
                processor["producers"] = float(await producers.stdout.readline() or "nan")
                status = await producers.wait()
            if status or words_of(log):
                raise LabError(f"the producers failed: {words_of(log)}")
            player.say("all is posted; waiting until the spool is empty")
            await lives.until_the_spool_is_empty(EMPTY_SECONDS)
            watching.cancel()
        await lives.end(signal.SIGTERM)
        return _gathered(player, lives, processor)


def _processors(lab: Lab) -> dict[str, float]:
    gates = {f"EventGate in {host}": processor_of(gate.pid) for host, gate in lab.eventgates.items()}
    return {**gates, "the run itself": sum(os.times()[:2])}


def _gathered(player: Player, lives: Lives, processor: dict[str, float]) -> Records:
    looks = [json.dumps({**asdict(each), "began": each.began - player.begun}) + "\n" for each in lives.samples]
    (lives.folder / "samples").write_text("".join(looks))
    logs = [life.log for life in lives.lives]
    dead, left = _in_spool(lives.spool)
    actions = records.actions_in(logs)
    last: dict[int, float] = {}
    for sample in lives.samples:
        last[sample.life] = sample.processor
    return Records(
        schedule=player.schedule,
        begun=player.begun,
        ended=player.begun + player.schedule.seconds,
        requests=records.requests_in(lives.folder / "requests"),
        lives=lives.lives,
        samples=lives.samples,
        troubles=player.troubles,
        arrived=records.arrivals_in(gate.output for gate in player.lab.eventgates.values()),
        dead=dead,
        left=left,
        complaints=records.complaints_in(logs),
        logged=actions,
        processor={"sidecar": sum(last.values()), **processor},
        machine_load=os.getloadavg(),
    )


def _in_spool(folder: Path) -> tuple[frozenset[int], int]:
    """Return the events that are dead letters, and the number of waiting ones."""
    directory = SpoolDir(folder, Quota())
    with contextlib.closing(directory):
        letters, waiting = directory.commit(
            [lambda file: list(file.dead_letters()), lambda file: len(list(file.waiting()))], 0.0
        )
    letters = [letter for letter, _ in letters]
    return frozenset(int(json.loads(each.event.body)["meta"]["id"][:8]) for each in letters), waiting
