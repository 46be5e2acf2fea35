"""How each proxy is set up: one way in, one upstream, connections kept, TLS verified, nothing logged per event.

The sidecar and nginx rename the stream; Envoy and HAProxy only pass on what they get. The sidecar is also measured
with `acknowledge: spooled`: each event is on the disk, fsynced, before its answer.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.cases import DIRECT, ENVOY, HAPROXY, NGINX, SIDECAR, SPOOLED, Case
from bench.load import RENAMED, STREAM
from bench.processes import Running, free_port
from bench.upstream import PATH, Upstream

NGINX_MODULES = Path("/usr/lib/nginx/modules")
ENVOY_BINARY = "lib/python*/site-packages/envoy/_bin/envoy"
IDLE_SECONDS = 4
"""EventGate closes a connection that idles for 5 s; a proxy that is to keep it has to let go sooner."""

Command = list[str]
SetUp = Callable[[Upstream, int, Path], Command]


@dataclass(frozen=True)
class Way:
    """A way to the upstream that is open now."""

    url: str
    process: Running | None
    """None for direct."""

    @property
    def address(self) -> tuple[str, int]:
        """Say where it listens."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0


async def open_way(name: str, case: Case, upstream: Upstream, folder: Path, envoy: Path | None) -> Way:
    """Start a proxy, and wait until it is ready."""
    if name == DIRECT:
        return Way(upstream.url, None)
    port, admin = free_port(), free_port()
    ready_port, ready_path = port, None
    if name in {SIDECAR, SPOOLED}:
        command = _sidecar(upstream, port, admin, folder, case, spooled=name == SPOOLED)
        ready_port, ready_path = admin, "/readyz"
    elif name == ENVOY:
        command = [str(envoy), *_envoy(upstream, port, folder)]
    else:
        command = PEERS[name](upstream, port, folder)
    process = await Running.start(command, folder / f"{name}.log", ready_port, ready_path)
    return Way(f"http://127.0.0.1:{port}{PATH}", process)


def _sidecar(upstream: Upstream, port: int, admin: int, folder: Path, case: Case, *, spooled: bool) -> Command:
    tls = {"tls": {"ca_file": str(upstream.ca)}} if upstream.tls else {}
    stream = STREAM if case.streams == 1 else f"{STREAM}*"
    route = {"name": "rename", "match": {"labels": {"env": "staging"}, "stream": stream}, "stream": RENAMED}
    if spooled:
        route |= {"acknowledge": "spooled", **({"order_by": ["meta.request_id"]} if case.ordered else {})}
    others = [{"name": f"other{n}", "match": {"stream": f"other.stream{n:03}*"}} for n in range(case.routes - 2)]
    every = [*others, route, {"name": "rest", "match": {"stream": "*"}}]
    routes = {
        "version": 1,
        "upstreams": {"bench": {"url": upstream.url, **tls}},
        "routes": [{**each, "to": "bench"} for each in every],
    }
    file = folder / "routes.yaml"
    file.write_text(json.dumps(routes))  # JSON is YAML
    listen = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}")
    return [
        *(sys.executable, "-m", "sidecar", "serve", "--routes", str(file), *listen),
        *("--label", "env=staging", "--drain", "0s"),
        *(("--spool", tempfile.mkdtemp(dir=folder)) if spooled else ()),  # a fresh one for each run
    ]


def _envoy(upstream: Upstream, port: int, folder: Path) -> Command:
    def address(host: str, number: int) -> dict[str, object]:
        return {"socket_address": {"address": host, "port_value": number}}

    types = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "bench"}}]}
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"}}
        ],
    }
    options = {
        "@type": f"{types}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster: dict[str, object] = {
        "name": "bench",
        "type": "STRICT_DNS",
        "load_assignment": {
            "cluster_name": "bench",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream.host, upstream.port)}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    if upstream.tls:
        context = {"common_tls_context": {"validation_context": {"trusted_ca": {"filename": str(upstream.ca)}}}}
        typed = {"@type": f"{types}.transport_sockets.tls.v3.UpstreamTlsContext", "sni": upstream.host, **context}
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "in", "address": address("127.0.0.1", port), "filter_chains": [chain]}
    file = folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return ["--config-path", str(file), "--disable-hot-restart", "--log-level", "error", "--concurrency", "1"]


_NGINX = """
{user}
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 10m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    upstream bench {{
        server {server};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout {idle}s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            rewrite_by_lua_block {{
                ngx.req.read_body()
                local body = ngx.req.get_body_data()
                if body then
                    ngx.req.set_body_data((ngx.re.gsub(body,
                        [["stream":\\s*"{stream}"]], [["stream":"{renamed}"]], "jo")))
                end
            }}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            {tls}
            proxy_pass {scheme}://bench;
        }}
    }}
}}
"""


def _nginx(upstream: Upstream, port: int, folder: Path) -> Command:
    tls = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {upstream.ca}; proxy_ssl_name {upstream.host};"
    text = _NGINX.format(
        user="user root;" if os.geteuid() == 0 else "",
        modules=NGINX_MODULES,
        folder=folder,
        server=f"{upstream.host}:{upstream.port}",
        idle=IDLE_SECONDS,
        port=port,
        stream=STREAM.replace(".", "[.]"),
        renamed=RENAMED,
        tls=tls if upstream.tls else "",
        scheme="https" if upstream.tls else "http",
    )
    file = folder / "nginx.conf"
    file.write_text(text)
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(file)]


def _haproxy(upstream: Upstream, port: int, folder: Path) -> Command:
    tls = f" ssl verify required ca-file {upstream.ca} sni str({upstream.host})" if upstream.tls else ""
    text = f"""
global
    maxconn 4096
    nbthread 1
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend bench
backend bench
    server bench {upstream.host}:{upstream.port} pool-purge-delay {IDLE_SECONDS}s{tls}
"""
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return ["haproxy", "-db", "-f", str(file)]


PEERS: dict[str, SetUp] = {NGINX: _nginx, HAPROXY: _haproxy}
