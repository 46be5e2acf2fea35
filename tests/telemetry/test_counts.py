"""Promises of `counts`: plain numbers that become metrics at a scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from sidecar.telemetry.counts import MAX_FLOWS, MAX_TAKEN_OVER, OTHER_ORIGINS, OTHER_STREAM, Counts


def exposed(counts: Counts) -> list[str]:
    """Return them as in a scrape."""
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode().splitlines()


def test_counts_are_exposed() -> None:
    """Each number has its labels, whatever was counted since the last scrape."""
    counts = Counts()
    counts.events["s", "delivered"] += 2
    counts.flow("s", "scores", "delivered", 2)
    counts.answers[201] += 1
    counts.post("main", "eqiad", "answered", 0.002)
    counts.post("main", "eqiad", "ambiguous", 9.0)
    shown = exposed(counts)
    assert 'eventgate_sidecar_events_total{outcome="delivered",stream="s"} 2.0' in shown
    assert 'eventgate_sidecar_route_events_total{outcome="delivered",route="scores"} 2.0' in shown
    assert 'eventgate_sidecar_requests_total{status="201"} 1.0' in shown
    assert 'eventgate_sidecar_posts_total{endpoint="eqiad",result="ambiguous",upstream="main"} 1.0' in shown
    assert 'eventgate_sidecar_post_seconds_count{endpoint="eqiad",upstream="main"} 2.0' in shown


def test_a_producer_cannot_grow_the_flows() -> None:
    """Flows over the bound count as other streams; the counts per route stay complete."""
    counts = Counts()
    for number in range(2 * MAX_FLOWS):
        counts.flow(str(number), "all", "delivered", 1)
    assert len(counts.flows) == MAX_FLOWS + 1
    assert counts.flows[OTHER_STREAM, "all", "delivered"] == MAX_FLOWS
    assert counts.routed == {("all", "delivered"): 2 * MAX_FLOWS}


def test_labels_of_pods_cannot_grow_the_counts() -> None:
    """Hand-overs of pods with ever new labels count as those of others."""
    counts = Counts()
    for number in range(2 * MAX_TAKEN_OVER):
        counts.take_over(f"isvc={number}", "main", 2)
    assert len(counts.taken_over) == MAX_TAKEN_OVER + 1
    assert counts.taken_over[OTHER_ORIGINS, "main"] == 2 * MAX_TAKEN_OVER


def test_buckets_are_cumulative() -> None:
    """As in Prometheus: a time equal to a bound is in its bucket, and the last bucket has all."""
    counts = Counts()
    for seconds in (0.0005, 0.001, 0.0011, 7.0):
        counts.seconds.observe(seconds)
    shown = [line.rpartition(" ") for line in exposed(counts) if line.startswith("eventgate_sidecar_request_seconds")]
    values = {name.removeprefix("eventgate_sidecar_request_seconds"): float(value) for name, _, value in shown}
    assert (values['_bucket{le="0.001"}'], values['_bucket{le="0.0025"}']) == (2.0, 3.0)
    assert (values['_bucket{le="5.0"}'], values['_bucket{le="+Inf"}'], values["_count"]) == (3.0, 4.0, 4.0)
