"""Ask the sidecar that runs on this machine (see `inquiry`)."""

from __future__ import annotations

import http.client
import json
from typing import Any

from sidecar.errors import SettingError
from sidecar.event import Event

SECONDS = 5.0


def explained_by(address: str, event: Event) -> Any:
    """Return what the sidecar that listens on `address` would do with `event`; nothing is sent on.

    Raises:
        SettingError: nobody answers there, or somebody else.

    """
    return _asked(address, "POST", "/_sidecar/explain", event.raw)


def status_of(address: str) -> Any:
    """Return what is true now of the sidecar that listens on `address`.

    Raises:
        SettingError: nobody answers there, or somebody else.

    """
    return _asked(address, "GET", "/_sidecar/status.json")


def _asked(address: str, method: str, path: str, content: bytes | None = None) -> Any:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise SettingError(f"{address!r} is no address; write host:port, as 127.0.0.1:8888")
    host = "127.0.0.1" if host == "0.0.0.0" else host.strip("[]")  # noqa: S104  it listens everywhere, here too
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        connection.request(method, path, content, {"content-type": "application/json"} if content else {})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except OSError as error:
        raise SettingError(f"no sidecar answers at {address}: {error.strerror or error}") from None
    except (http.client.HTTPException, ValueError):
        raise SettingError(f"what answers at {address} is no sidecar") from None
    finally:
        connection.close()
    if answer.status != 200:
        words = body.get("detail") if isinstance(body, dict) else body
        raise SettingError(f"the sidecar at {address} refuses: {words}")
    return body
