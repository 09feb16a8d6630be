"""
Who may control an emulator: programs on this machine, and its own page.

A browser carries requests of any site to this machine, so that loopback alone is no border. A
foreign name in `Host` gives a rebound name away, `Origin` and `Sec-Fetch-Site` another site.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandium.emulator.control.control_responses import refusal

PREFIX = "/_emulator"
PAGE = "/"
STATE = f"{PREFIX}/state"
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)
OWN_SITE = frozenset({"same-origin", "none"})  # "none" is the user's own doing, such as a bookmark
MOST = 1024 * 1024
MOST_STATE = 64 * MOST


def is_control(path: str) -> bool:
    """Say whether a path is the control API's or the page's."""
    return path in (PAGE, PREFIX) or path.startswith(f"{PREFIX}/")


class Gate:
    """Let nothing foreign and nothing endless in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        most = MOST_STATE if scope["path"] == STATE else MOST
        strangers = list(_strangers(scope))
        if strangers:
            await refusal(403, *strangers)(scope, receive, send)
        elif _announced(scope) > most:
            await refusal(413, ("body", _too_long(most)))(scope, receive, send)
        else:
            await self._app(scope, _bounded(receive, most), send)


def _strangers(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find the headers that a request of this machine's own would not have, by place."""
    hosts = _values(scope, b"host") or [""]
    for host in hosts:
        if not LOOPBACK.fullmatch(host):
            yield "header.host", f"must be 127.0.0.1 or localhost, not {host!r}"
    if scope["path"] == PAGE:  # it holds nothing, and links of others may lead to it
        return
    for origin in _values(scope, b"origin"):
        if origin != f"http://{hosts[0]}":
            yield "header.origin", f"must not be another site, {origin!r}"
    for site in _values(scope, b"sec-fetch-site"):
        if site not in OWN_SITE:
            yield "header.sec-fetch-site", f"must not be another site's, {site!r}"


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]


def _announced(scope: Mapping[str, Any]) -> int:
    return max((int(one) for one in _values(scope, b"content-length")), default=0)


def _bounded(receive: Receive, most: int) -> Receive:
    """Pass on messages until their bodies are too long together."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise HTTPException(413, _too_long(most))
        return message

    return bounded


def _too_long(most: int) -> str:
    return f"must have {most} bytes at most"
