"""
Protection against other websites: only this machine's programs and the page may use the API.

A website can make a browser send requests to a loopback address. `Origin` and `Sec-Fetch-Site`
identify such requests, and `Host` identifies DNS rebinding.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandium.emulator.control.control_responses import error_response

PREFIX = "/_emulator"
PAGE = "/"
STATE = f"{PREFIX}/state"
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)
OWN_SITE = frozenset({"same-origin", "none"})  # "none" means that the user opened the URL
JSON_TYPE = re.compile(r"application/([-.\w]+\+)?json *(;.*)?")
MAX_BYTES = 1024 * 1024
MAX_STATE_BYTES = 64 * MAX_BYTES


def is_control(path: str) -> bool:
    """Return whether a path belongs to the control API or is the page."""
    return path in (PAGE, PREFIX) or path.startswith(f"{PREFIX}/")


class RequestGuard:
    """Reject requests from other sites, and bodies that are too large or not JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        limit = MAX_STATE_BYTES if scope["path"] == STATE else MAX_BYTES
        foreign_headers = list(_foreign_headers(scope))
        if foreign_headers:
            await error_response(403, *foreign_headers)(scope, receive, send)
        elif _declared_length(scope) > limit:
            await error_response(413, ("body", _too_long(limit)))(scope, receive, send)
        elif wrong_types := list(_wrong_content_types(scope)):
            await error_response(415, *wrong_types)(scope, receive, send)
        else:
            await self._app(scope, _limit_body(receive, limit), send)


def _foreign_headers(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield an error for each header that shows that a request comes from another site."""
    hosts = _values(scope, b"host") or [""]
    for host in hosts:
        if not LOOPBACK.fullmatch(host):
            yield "header.host", f"must be 127.0.0.1 or localhost, not {host!r}"
    if scope["path"] == PAGE:  # it contains no data, and other sites may link to it
        return
    for origin in _values(scope, b"origin"):
        if origin != f"http://{hosts[0]}":
            yield "header.origin", f"must be the emulator's own origin, not {origin!r}"
    for site in _values(scope, b"sec-fetch-site"):
        if site not in OWN_SITE:
            yield "header.sec-fetch-site", f"must be same-origin or none, not {site!r}"


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]


def _declared_length(scope: Mapping[str, Any]) -> int:
    return max((int(one) for one in _values(scope, b"content-length")), default=0)


def _wrong_content_types(scope: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield an error if the content type of a body is not JSON."""
    if not _declared_length(scope) and not _values(scope, b"transfer-encoding"):
        return
    given = ", ".join(_values(scope, b"content-type"))
    if not JSON_TYPE.fullmatch(given):
        what = f"not {given!r}" if given else "and is missing"
        yield "header.content-type", f"must be application/json, {what}"


def _limit_body(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that raises once the body exceeds the limit."""
    size = 0

    async def limited_receive() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _too_long(limit))
        return message

    return limited_receive


def _too_long(limit: int) -> str:
    return f"must be at most {limit} bytes"
