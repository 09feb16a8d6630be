"""The page at `/`: a single file whose security policy blocks all external resources."""

import base64
import functools
import hashlib
import re
from importlib.resources import files

from fastapi import Request, Response

FILE = files("pandium.emulator.control") / "page.html"
HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


@functools.cache
def _file() -> str:
    return FILE.read_text(encoding="utf-8")


async def page(_request: Request) -> Response:
    """Return the page."""
    return html_response(_file())


def html_response(text: str) -> Response:
    """Return a page that may run only its inline code and connect only to its own origin."""
    headers = {"content-security-policy": _policy(text), **HEADERS}
    return Response(text, headers=headers, media_type="text/html")


@functools.lru_cache(maxsize=4)
def _policy(text: str) -> str:
    rules = {
        "default-src": "'none'",
        "script-src": _hashes(text, "script"),
        "style-src": _hashes(text, "style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes(text: str, tag: str) -> str:
    """Return the hash of the page's inline script or style, or `'none'` if there is none."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return " ".join(map(_hash, contents)) or "'none'"


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
