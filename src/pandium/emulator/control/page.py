"""The page at `/`: one file, which may load and run nothing but what stands in it."""

import base64
import functools
import hashlib
import re
from pathlib import Path

from fastapi import Request, Response

FILE = Path(__file__).with_name("page.html")


@functools.cache
def _file() -> tuple[str, str]:
    """Return the page, and the policy by which a browser holds it to what it is."""
    text = FILE.read_text(encoding="utf-8")
    rules = {
        "default-src": "'none'",
        "script-src": _hash(text, "script"),
        "style-src": _hash(text, "style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return text, "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str, tag: str) -> str:
    [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


async def page(_request: Request) -> Response:
    """Answer with the page."""
    text, policy = _file()
    headers = {
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return Response(text, headers=headers, media_type="text/html")
