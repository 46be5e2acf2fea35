"""The sidecar in a pod, as the chart renders it: every bar that a pod can show."""

from __future__ import annotations

import json
import signal
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.helm.engine import ROOT, remove_built
from tests.helm.release import SIDECAR
from tests.pod import gateway, image, needs
from tests.pod.manifests import MODEL, TAG, release
from tests.pod.podman import Podman, PodmanError, podman
from tests.pod.stage import (
    GATES,
    HOSTS,
    Datacenters,
    Pod,
    container,
    datacenters,
    playing,
    posts_in,
    wrong,
)

Measured = Callable[[str, object], None]
MEGABYTE = 1_000_000
MEBIBYTE = 1024 * 1024

RELOADED_CODE = """
import json, subprocess, time
command = "eventgate-sidecar explain --running --json --stream mediawiki.revision_score_drafttopic".split()
until = time.monotonic() + 60
while True:
    upstream = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["upstream"]
    if upstream == "staging" or time.monotonic() > until:
        break
    time.sleep(0.5)
print(json.dumps(upstream))
"""
SPOOLED_CODE = """
import json, re, time, urllib.request
def waiting():
    try:
        with urllib.request.urlopen("http://127.0.0.1:9102/metrics", timeout=5) as answer:
            return int(float(re.search(r"(?m)^eventgate_sidecar_spool_events (.+)$", answer.read().decode())[1]))
    except OSError:
        return None
"""
EMPTIED_CODE = """
until = time.monotonic() + 60
while (left := waiting()) != hopeless and time.monotonic() < until:
    time.sleep(0.2)
print(json.dumps(left))
"""
STATE_CODE = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status").read().splitlines())
def refusal(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
print(json.dumps({
    "uid": status["Uid"].split(), "gid": status["Gid"].split(), "no_new_privileges": status["NoNewPrivs"],
    "capabilities": sorted({status[key] for key in status if key.startswith("Cap")}),
    "root": refusal("/x"), "tmp": refusal("/tmp/x"), "routes": refusal("/etc/eventgate-sidecar/x"),
    "peak": int(status["VmHWM"].split()[0]) * 1024,
}))
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman, and the sidecar's image."""
    if why := needs.missing():
        pytest.skip(f"THE POD IS NOT TESTED: {why}")
    with podman(tmp_path_factory.mktemp("podman"), tuple(gate.host for gate in GATES)) as tool:
        try:
            image.make_base(tool)
            tool("run", "--rm", "--network", "none", "--memory", "100m", "--cpus", "0.2", image.BASE, "true")
        except PodmanError as error:
            pytest.skip(f"THE POD IS NOT TESTED: no container runs here: {error}")
        image.build(tool, image.fetch_wheels(tool), TAG)
        yield tool
    remove_built()


@pytest.fixture(scope="module")
def gates(tool: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datacenters]:
    """The emulated datacenters."""
    with datacenters(tool, tmp_path_factory.mktemp("datacenters")) as gates:
        yield gates


@pytest.fixture
def pod(tool: Podman, gates: Datacenters, tmp_path: Path) -> Iterator[Pod]:
    """A new pod for each test."""
    with playing(tool, release(), tmp_path, gates.ca_file) as pod:
        yield pod


@pytest.fixture
def measured(record_property: Measured) -> Measured:
    """Record a measured value; all are shown at the end."""
    return record_property


def test_the_image_is_small_and_its_build_reproducible(tool: Podman, measured: Measured) -> None:
    """It adds less than 150 MB to its base, and a second build gives the same image, byte for byte."""
    added = image.size(tool, f"{image.IMAGE}:{TAG}") - image.size(tool, image.BASE)
    measured("image over its base", f"{added / MEGABYTE:.0f} MB")
    assert added < 150 * MEGABYTE
    first = tool("image", "inspect", "--format", "{{.Id}}", f"{image.IMAGE}:{TAG}")
    assert image.build(tool, image.BUILD / "wheels", "again") == first


def test_the_image_has_a_numeric_user_and_no_compiler(tool: Podman) -> None:
    """`runAsNonRoot` needs a user id other than 0 in the image; it has no compiler, linker or make."""
    config = json.loads(tool("image", "inspect", f"{image.IMAGE}:{TAG}"))[0]
    assert config["Config"]["User"] == "900:900"
    tools = "import shutil; print([x for x in ('cc', 'gcc', 'g++', 'clang', 'make', 'ld') if shutil.which(x)])"
    found = tool("run", "--rm", "--network", "none", "--entrypoint", "python3", f"{image.IMAGE}:{TAG}", "-c", tools)
    assert found == "[]"


def test_the_container_is_restricted_as_the_chart_says(pod: Pod) -> None:
    """It is user 900, cannot get capabilities, and its root file system is read-only."""
    found = pod.python(SIDECAR, STATE_CODE)
    assert found.pop("peak") > 0
    assert found == {
        "uid": ["900"] * 4,
        "gid": ["900"] * 4,
        "no_new_privileges": "1",
        "capabilities": ["0000000000000000"],
        "root": "Read-only file system",
        "tmp": "Read-only file system",
        "routes": "Read-only file system",
    }


def test_events_arrive_as_routed(pod: Pod, gates: Datacenters) -> None:
    """With the shipped routes.yaml every event arrives in the right place, unchanged, and in no production stream."""
    posts = pod.post(100, 4)
    assert wrong(posts, gates.records()) == []


def test_a_hung_datacenter_delays_no_answer(pod: Pod, gates: Datacenters, measured: Measured) -> None:
    """While one hangs, the model server is answered as before, and the other gets the events."""
    gates.processes["eqiad"].send_signal(signal.SIGSTOP)
    try:
        posts = pod.post(100, 4)
    finally:
        gates.processes["eqiad"].send_signal(signal.SIGCONT)
    measured("slowest answer while eqiad hung", f"{max(post.seconds for post in posts) * 1000:.0f} ms")
    assert wrong(posts, gates.records()) == []


def test_it_is_ready_soon_on_a_fifth_of_a_core(pod: Pod, measured: Measured) -> None:
    """The container is ready within 2.5 seconds after its start."""
    measured("ready after", f"{pod.ready_after:.2f} s")
    assert pod.ready_after <= 2.5


def test_a_fifth_of_a_core_and_100_mib_suffice_for_300_events_a_second(
    pod: Pod, gates: Datacenters, measured: Measured
) -> None:
    """None is lost, each is answered in time for the model server, and the container is not killed."""
    posts = pod.post(3000, 10)
    took = [post.seconds for post in posts]
    peak = pod.python(SIDECAR, STATE_CODE)["peak"]
    measured("300 events/s for 10 s", f"p50 {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")
    measured("resident memory at most", f"{peak / MEBIBYTE:.0f} MiB")
    assert wrong(posts, gates.records()) == []
    assert (pod.state(SIDECAR)["RestartCount"], pod.state(SIDECAR)["Running"]) == (0, True)
    assert max(took) < 4


def test_an_edited_config_map_is_loaded(tool: Podman, gates: Datacenters, tmp_path: Path) -> None:
    """Events go where the changed routes.yaml says, without a new pod."""
    edited = yaml.safe_load((ROOT / "routes.yaml").read_text())
    assert edited["routes"].pop(0)["name"] == "staging-scores-to-test-stream"
    del edited["tests"]
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump(edited))
    with playing(tool, release(reload={"enabled": True}), tmp_path, gates.ca_file) as pod:
        assert wrong(pod.post(20, 1), gates.records()) == []
        pod.edit_routes(tmp_path / "edited.yaml")
        assert pod.python(SIDECAR, RELOADED_CODE) == "staging"
        assert wrong(pod.post(20, 1), gates.records(), tmp_path / "edited.yaml") == []
        assert pod.state(SIDECAR)["RestartCount"] == 0


def test_a_killed_sidecar_loses_nothing_of_its_spool(tool: Podman, gates: Datacenters, tmp_path: Path) -> None:
    """While every EventGate hangs, events are answered 202. After SIGKILL and a restart they are sent.

    An event that reached a hanging EventGate may arrive twice, with the same `meta.id`.
    """
    with playing(tool, release(spool={"enabled": True}), tmp_path, gates.ca_file) as pod:
        for process in gates.processes.values():
            process.send_signal(signal.SIGSTOP)
        try:
            posts = pod.post(60, 3)
            assert {post.status for post in posts} == {202}
            assert pod.python(MODEL, SPOOLED_CODE + "print(json.dumps(waiting()))") == len(posts)
            pod.kill(SIDECAR)
        finally:
            for process in gates.processes.values():
                process.send_signal(signal.SIGCONT)
        hopeless = sum(post.kind.status == 500 for post in posts)  # EventGate meets an error with them each time
        assert pod.python(MODEL, f"{SPOOLED_CODE}hopeless = {hopeless}\n{EMPTIED_CODE}") == hopeless
        assert pod.state(SIDECAR)["RestartCount"] == 1
        good = [post for post in posts if not post.kind.wrong]
        assert wrong(good, gates.records(), allowed=("wrongly_answered", "doubled")) == []


def test_a_deleted_pod_loses_nothing_of_its_spool(tool: Podman, gates: Datacenters, tmp_path: Path) -> None:
    """1,000 events answered 202 while EventGate is down arrive once, although the pod is deleted with its emptyDir."""
    url = f"http://{gateway.HOST}:{gateway.PORT}/v1/events"
    objects = release(spool={"enabled": True, "hand_over": url}, drain="30s")
    with gateway.gateway(tool, tmp_path, HOSTS, gates.ca_file) as there:
        hosts = {**HOSTS, gateway.HOST: there.address}
        gates.fault("refuse")
        try:
            with playing(tool, objects, tmp_path, gates.ca_file, hosts) as pod:
                posts = pod.post(1000, 10)
                # As kubelet does it: podman's own `pod stop` removes the network first.
                tool("kill", "--signal", "TERM", container(MODEL), container(SIDECAR))
                tool("wait", container(MODEL), container(SIDECAR))
                posts += posts_in(pod.log(MODEL))  # as it drains
                log = pod.log(SIDECAR)
            assert {post.status for post in posts} == {202}
            taken = there.gauge("eventgate_sidecar_spool_taken_over_events_total")
            assert taken == there.gauge("eventgate_sidecar_spool_events") == len(posts), log[-4000:]
        finally:
            gates.fault("none")
        hopeless = sum(post.kind.status == 500 for post in posts)  # EventGate meets an error with them each time
        assert there.gauge("eventgate_sidecar_spool_events", hopeless) == hopeless, there.log()[-4000:]
        good = [post for post in posts if not post.kind.wrong]
        assert len(good) > 800
        assert wrong(good, gates.records(), allowed=("wrongly_answered",)) == []


def test_it_takes_the_posts_of_a_draining_model_server(pod: Pod, gates: Datacenters) -> None:
    """Both get SIGTERM at once. The sidecar takes the last event, and then ends without SIGKILL."""
    pod.podman("kill", "--signal", "TERM", container(MODEL), container(SIDECAR))
    pod.podman("wait", container(MODEL), container(SIDECAR))
    posts = posts_in(pod.log(MODEL))
    assert len(posts) >= 80
    assert wrong(posts, gates.records()) == []
    assert {name: pod.state(name)["ExitCode"] for name in (MODEL, SIDECAR)} == {MODEL: 0, SIDECAR: 0}
