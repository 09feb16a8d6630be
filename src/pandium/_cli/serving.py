"""Run the `mcp` command: serve tools for AI agents on standard input and output."""

from __future__ import annotations

import os
from functools import partial

from pandium._cli.key import find_key
from pandium._cli.options import get_option, set_default_option
from pandium._cli.session import run
from pandium._mcp.server import serve

__all__ = ["serve_tools"]


def serve_tools(*, allow_writes: bool) -> int:
    """
    Serve the tools until standard input ends, and return the exit code.

    :param allow_writes: whether to offer the tools that change something.
    :raises ConfigurationError: if there is no API key or another setting is invalid.
    """
    # Standard input carries the protocol, so there can be no prompt.
    find_key(get_option("key_file"), can_prompt=False)
    if not _is_api_selected():
        set_default_option("environment", "sandbox")
    return run(partial(serve, allow_writes=allow_writes))


def _is_api_selected() -> bool:
    options = (get_option("environment"), get_option("base_url"))
    variables = (os.environ.get(name, "").strip() for name in ("PANDIUM_ENV", "PANDIUM_BASE_URL"))
    return any((*options, *variables))
