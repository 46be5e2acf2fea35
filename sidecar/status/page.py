"""The status page: one HTML text made of one `Status`, complete without JavaScript, and without any other request.

With JavaScript it is live: every two seconds the whole page comes once more, as a server-sent event. There is one way
to write it, so what is live and what is loaded cannot differ. A page that nobody looks at asks for nothing; one that
gets no stream, as there are too many, loads itself anew. Everything that is not written here is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from sidecar.events.results import Outcome
from sidecar.routes.config import in_size_words
from sidecar.status.value import (
    AddressNow,
    EndpointNow,
    Level,
    SpoolNow,
    Status,
    UpstreamNow,
    age,
    problems_of,
    rate,
    sentence,
)

HOUR = 3600.0
STYLE = """
:root{color-scheme:light dark;--bg:#fff;--card:#f6f8fa;--line:#d0d7de;--text:#1f2328;--dim:#59636e;
--good:#1a7f37;--warn:#9a6700;--bad:#cf222e;--none:#e3e7eb;--tint:#dafbe1}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#161b22;--line:#30363d;--text:#e6edf3;--dim:#9198a1;
--good:#3fb950;--warn:#d29922;--bad:#f85149;--none:#21262d}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1rem;background:var(--bg);color:var(--text);
font:16px/1.45 system-ui,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.4rem;line-height:1.3;margin:0;padding:.8rem 1rem;border:1px solid var(--line);border-left:.5rem solid;
border-radius:.4rem;background:var(--card)}
h1.well{border-left-color:var(--good)}h1.warning{border-left-color:var(--warn)}h1.bad{border-left-color:var(--bad)}
h2{font-size:1.15rem;margin:1.6rem 0 .5rem}h3{font-size:1rem;margin:0}
p{margin:.5rem 0}.dim{color:var(--dim);font-weight:normal}
ul.problems{margin:.5rem 0;padding-left:1.5rem}
.cards{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
article{display:flex;flex-direction:column}article svg{margin-top:auto}
article,.card{border:1px solid var(--line);border-radius:.4rem;padding:.7rem .9rem;background:var(--card)}
dl{display:grid;grid-template-columns:6.5rem 1fr;gap:.15rem .6rem;margin:.5rem 0}
dt{color:var(--dim)}dd{margin:0}dd .dim,th .dim{white-space:nowrap}
.healthy{color:var(--good)}.unhealthy,.ejected,.gone{color:var(--bad)}.suspected,.probation{color:var(--warn)}
.unknown{color:var(--dim)}
svg{display:block;width:100%;height:1.6rem;border-radius:.2rem;background:var(--none)}
svg.tall{height:3.5rem}
svg .healthy,svg .passed,svg .delivered{fill:var(--good)}
svg .unhealthy,svg .ejected,svg .failed{fill:var(--bad)}
svg .suspected,svg .probation,svg .spooled{fill:var(--warn)}svg .unknown{fill:var(--dim)}
svg .mark{fill:var(--text)}
.axis{display:flex;justify-content:space-between;color:var(--dim);font-size:.8rem}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.4rem}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th,td{text-align:left;padding:.3rem .7rem;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0;color:var(--dim);font-weight:normal}
tbody th{font-weight:normal;overflow-wrap:normal;min-width:9rem}
td{overflow-wrap:break-word}td:not(.number){min-width:6rem}
#failures tbody th{min-width:5rem}#failures tbody th .dim{display:block}#failures td:not(.number){width:100%}
.number{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal}
.wide:focus-visible{outline:2px solid}
pre{white-space:pre-wrap;margin:.5rem 0;font-size:.85rem}
code{font-size:.82em}
#lost{border:2px solid var(--bad);border-radius:.4rem;padding:.5rem 1rem;font-weight:bold}
footer{margin-top:2rem;color:var(--dim);font-size:.85rem}a{color:inherit}
@media(max-width:30rem){body{padding:.6rem}h1{font-size:1.15rem}dl{grid-template-columns:5.5rem 1fr}
th,td{padding:.3rem .4rem}td:not(.number){min-width:4.5rem}tbody th{min-width:7.8rem}}
"""
SCRIPT = """
const put=(id,next)=>{const now=document.getElementById(id),then=next.getElementById(id);
if(now.innerHTML!==then.innerHTML||now.className!==then.className)now.replaceWith(then)};
const lost=yes=>{document.getElementById('lost').hidden=!yes};
const show=text=>{last=Date.now();lost(false);if(getSelection().type==='Range')return;
const next=new DOMParser().parseFromString(text,'text/html');put('sentence',next);put('rest',next);
document.title=next.title};
const load=async()=>{try{const answer=await fetch(location.href,{signal:AbortSignal.timeout(5000)});
if(!answer.ok)throw 0;show(await answer.text())}catch{lost(true)}};
let last=Date.now(),live=null;
const leave=()=>{if(live)live.close();live=null};
const listen=()=>{leave();last=Date.now();live=new EventSource('/_sidecar/status/live');
live.onmessage=event=>show(event.data);
live.onerror=()=>{if(live.readyState===EventSource.CLOSED){leave();load()}else lost(true)}};
const look=()=>{if(document.hidden)leave();else if(!live||Date.now()-last>8000){if(live)lost(true);listen()}};
document.addEventListener('visibilitychange',look);setInterval(look,5000);look();
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style and script, and nothing else."""

_MARKS = {Level.WELL: "✓", Level.WARNING: "▲", Level.BAD: "✕"}
_SYMBOLS = {"healthy": "●", "suspected": "◐", "probation": "◐", "unknown": "○"}


def page(status: Status) -> str:
    """Return the page."""
    problems = problems_of(status)
    level, words = (problems[0].level if problems else Level.WELL), sentence(status, problems)
    refused = status.configuration["refused"]
    items = "".join(f"<li>{escape(each.words)}</li>" for each in problems[1:])
    labels = ", ".join(f"{name}={value}" for name, value in status.labels.items()) or "no labels"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{_MARKS[level]} {level}: eventgate-sidecar</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="10"></noscript><style>{STYLE}</style></head>
<body><header><div role="status">
<h1 id="sentence" class="{level}">{_MARKS[level]} {escape(words)}</h1></div>
<p id="lost" role="alert" hidden>The sidecar does not answer any more. What is shown here is old.</p></header>
<main id="rest">{f'<ul class="problems">{items}</ul>' if items else ""}
<p class="dim">{escape(labels)} · {rate(status.events_per_second)} · up {age(status.now - status.started)}</p>
{_configuration(status) if refused else ""}
{"".join(_upstream(each, status) for each in sorted(status.upstreams, key=_concern))}
{_events(status)}{_routes(status)}{_spool(status.spool)}{"" if refused else _configuration(status)}{_failures(status)}
<footer>eventgate-sidecar {escape(status.version)} · {_day(status.now)} {_clock(status.now)} UTC ·
<a href="/_sidecar/status.json">status.json</a></footer></main>
<script>{SCRIPT}</script></body></html>
"""


def _concern(upstream: UpstreamNow) -> tuple[bool, bool]:
    """Sort what needs a look first, and last what this pod does not need."""
    return not upstream.used, all(each.usable for each in upstream.endpoints)


def _upstream(upstream: UpstreamNow, status: Status) -> str:
    to = f"→ {escape(upstream.first)}" if upstream.first and not upstream.out else "→ nowhere"
    unused = "" if upstream.used else ' <span class="dim">(no route leads here from this pod)</span>'
    cards = "".join(_endpoint(each, upstream, status) for each in upstream.endpoints)
    return f'<section><h2>{escape(upstream.name)} {to}{unused}</h2><div class="cards">{cards}</div></section>'


def _endpoint(endpoint: EndpointNow, upstream: UpstreamNow, status: Status) -> str:
    rows = [("URL", f"<code>{_breakable(endpoint.url)}</code>"), ("Name", _breakable(endpoint.way))]
    gone = f'<p class="gone">✕ {escape(endpoint.why)}</p>' if not endpoint.addresses else ""
    addresses = "".join(_address(each, endpoint, upstream, status.now) for each in endpoint.addresses)
    return f"<article><h3>{escape(endpoint.name)}</h3>{_list(rows)}{gone}{addresses}</article>"


def _address(address: AddressNow, endpoint: EndpointNow, upstream: UpstreamNow, now: float) -> str:
    since = f" since {_ago(address.since, now)}" if address.since else ""
    until = f", out for {age(address.ejected_until - now)} more" if address.ejected_until else ""
    state = f'<strong class="{escape(address.health)}">{_SYMBOLS.get(address.health, "✕")} {escape(address.health)}'
    rows = [("State", f"{state}</strong>{since}{until}"), ("Why", escape(address.reason))]
    if len(endpoint.addresses) > 1:
        rows.insert(0, ("Address", escape(address.ip)))
    if address.checked:
        took = f", {_ms(address.check_seconds)}" if address.check_seconds else ""
        rows.append(("Last check", f"{_ago(address.checked, now)}{took}: {escape(address.check)}"))
    if address.answered:
        took = f"{_ms(address.post_seconds)} in the middle, {_ms(address.slow_post_seconds)} at the slow end"
        rows.append(("POSTs", f"last answered {age(now - address.answered)} ago; {took}"))
    return _list(rows) + _time_line(address, endpoint, upstream, now)


def _time_line(address: AddressNow, endpoint: EndpointNow, upstream: UpstreamNow, now: float) -> str:
    """Draw the last hour: a second is a unit; health above, one tick per minute of checks below, failovers across.

    What is not healthy is taller, and a minute with a failed check too, for who does not tell red from green.
    """
    begin = now - HOUR
    bounds = [*(each.begin for each in address.spans), now]
    shapes = [
        _box(
            each.begin - begin,
            5 if each.health == "healthy" else 0,
            end - each.begin,
            11 if each.health == "healthy" else 16,
            each.health,
            f"{_clock(each.begin)} {each.health}: {each.reason}",
        )
        for each, end in zip(address.spans, bounds[1:], strict=True)
    ]
    for minute in endpoint.checks:
        kind = "failed" if minute.failed else "passed"
        words = f"{_clock(minute.begin)} checks: {minute.passed} passed, {minute.failed} failed"
        shapes.append(_box(max(minute.begin - begin, 0) + 5, 18, 50, 7 if minute.failed else 3, kind, words))
    shapes += [
        _box(each.at - begin - 4, 0, 8, 25, "mark", f"{_clock(each.at)} {each.before} → {each.after}")
        for each in upstream.failovers
    ]
    changes = "; ".join(f"{_clock(each.begin)} {each.health}" for each in address.spans[-6:]) or "nothing known"
    return _svg(shapes, 25, f"{endpoint.name} {address.ip}, the last hour (UTC): {changes}")


def _events(status: Status) -> str:
    """Draw the events of each minute, the delivered at the bottom."""
    begin = status.now - HOUR
    highest = max((sum(each.outcomes.values()) for each in status.minutes), default=0) or 1
    shapes = []
    for minute in status.minutes:
        words = _counts(minute.outcomes) or "no events"
        level = 100.0
        for kind, count in _kinds(minute.outcomes):
            height = 100.0 * count / highest
            level -= height
            where = max(minute.begin - begin, 0) + 3
            shapes.append(_box(where, level, 54, height, kind, f"{_clock(minute.begin)} {words}"))
    label = f"Events of each minute of the last hour, {highest} at most"
    last = _counts(status.last_minute) or "none"
    return (
        f'<section><h2>Events</h2><div class="card"><p>Last minute: {escape(last)}. Most in a minute: {highest}.</p>'
        f"{_svg(shapes, 100, label, 'tall')}</div></section>"
    )


def _kinds(outcomes: Mapping[str, int]) -> list[tuple[str, int]]:
    delivered, spooled = outcomes.get(Outcome.DELIVERED, 0), outcomes.get(Outcome.SPOOLED, 0)
    return [("delivered", delivered), ("spooled", spooled), ("failed", sum(outcomes.values()) - delivered - spooled)]


def _routes(status: Status) -> str:
    rows = [
        (
            escape(each.name),
            escape(f"refused: {each.reject}" if each.to is None else f"{each.to}"),
            _breakable(each.stream or "the same") if each.to else "",
            str(sum(each.outcomes.values())),
        )
        for each in status.routes
    ]
    happened = [outcome for outcome in Outcome if any(each.outcomes.get(outcome) for each in status.streams)]
    streams = [
        (
            _breakable("other streams" if each.stream == "_other" else each.stream),
            escape(", ".join(each.routes) or "–"),
            *(str(each.outcomes.get(outcome, 0)) for outcome in happened),
        )
        for each in status.streams
    ]
    heads = ["Stream", "Route", *(outcome.capitalize() for outcome in happened)]
    return (
        "<section><h2>Routes</h2>"
        + _table("Routes", ["Route", "Goes to", "Sent as", "Events"], rows, numbers_from=3)
        + "<h2>Streams since the start</h2>"
        + (_table("Streams", heads, streams, numbers_from=2) if streams else "<p>No event came yet.</p>")
        + "</section>"
    )


def _spool(spool: SpoolNow | None) -> str:
    if spool is None:
        return '<section><h2>Spool</h2><p class="dim">There is none; see --spool.</p></section>'
    waiting = f"{spool.events} events" + (f", the oldest for {age(spool.oldest_seconds)}" if spool.events else "")
    by_upstream = ", ".join(f"{name}: {count}" for name, count in spool.upstreams.items())
    percent = spool.bytes * 100 // spool.max_bytes
    rows = [
        ("Waiting", escape(waiting + (f" ({by_upstream})" if by_upstream else ""))),
        ("On the way", str(spool.in_flight)),
        ("Full", f"{percent} % of {in_size_words(spool.max_bytes)}"),
        ("Dead letters", str(spool.dead_letters)),
        ("Directory", f"<code>{escape(spool.directory)}</code>"),
    ]
    if spool.trouble:
        rows.insert(0, ("Trouble", f'<strong class="gone">✕ {escape(spool.trouble)}</strong>'))
    return f'<section><h2>Spool</h2><div class="card">{_list(rows)}</div></section>'


def _configuration(status: Status) -> str:
    known = status.configuration
    rows = [
        ("File", f"<code>{escape(str(known['file']))}</code>"),
        ("In force", f"<code>{escape(str(known['in_force']))}</code>"),
        ("Digest", f"<code>{escape(str(known['digest']))}</code>"),
        ("Loaded", _ago(known["since"], status.now)),
    ]
    refused = ""
    if known["refused"]:
        refused = (
            f'<p class="gone"><strong>✕ The file on disk is refused:</strong></p><pre>{escape(known["refused"])}</pre>'
        )
    return f'<section><h2>Configuration</h2><div class="card">{_list(rows)}{refused}</div></section>'


def _failures(status: Status) -> str:
    rows = [
        (
            f'{_clock(each.at)} <span class="dim">{age(status.now - each.at)} ago</span>',
            escape(each.words),
            str(each.times) if each.times > 1 else "",
        )
        for each in status.failures
    ]
    table = _table("Last failures", ["UTC", "What", "Times"], rows, numbers_from=2)
    return f'<section id="failures"><h2>Last failures</h2>{table if rows else "<p>None.</p>"}</section>'


def _table(label: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    """Return a table that scrolls by itself where it is too wide; its cells are HTML."""

    def cell(place: int, text: str) -> str:
        tag = 'th scope="row"' if place == 0 else "td"
        kind = ' class="number"' if place >= numbers_from else ""
        return f"<{tag}{kind}>{text}</{tag[:2]}>"

    top = "".join(
        f'<th scope="col"{" class=number" if place >= numbers_from else ""}>{escape(head)}</th>'
        for place, head in enumerate(heads)
    )
    body = "".join(f"<tr>{''.join(cell(place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    where = f'class="wide" role="region" tabindex="0" aria-label="{escape(label)}"'
    return f"<div {where}><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows)}</dl>"


def _svg(shapes: Iterable[str], height: int, label: str, kind: str = "") -> str:
    drawn = f'<svg class="{kind}" viewBox="0 0 3600 {height}" preserveAspectRatio="none" role="img"'
    axis = '<div class="axis" aria-hidden="true"><span>an hour ago</span><span>30 min</span><span>now</span></div>'
    return f'{drawn} aria-label="{escape(label)}">{"".join(shapes)}</svg>{axis}'


def _box(x: float, y: float, width: float, height: float, kind: str, words: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 4.0):.1f}" height="{height:.1f}"'
    return f'<rect class="{escape(kind)}" {size}><title>{escape(words)}</title></rect>'


def _breakable(text: str) -> str:
    """Return it as HTML that is broken before the parts of a name, rather than anywhere."""
    return re.sub(r"(?<=\w)([./_](?=[a-z])|:(?=\d))", r"<wbr>\1", escape(text))


def _counts(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count)


def _ago(time: float, now: float) -> str:
    return f'{_clock(time)} UTC <span class="dim">({age(now - time)} ago)</span>'


def _clock(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%H:%M:%S}"


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def _ms(seconds: float | None) -> str:
    return f"{(seconds or 0.0) * 1000:.0f} ms" if (seconds or 0.0) >= 0.01 else f"{(seconds or 0.0) * 1000:.1f} ms"
