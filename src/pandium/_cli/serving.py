"""Run the `mcp` command: serve tools for AI agents on standard input and output."""

from __future__ import annotations

import sys
from functools import partial

from pandium._cli.options import set_default_option
from pandium._cli.session import run
from pandium._cli.settings import DEFAULT, find_api, find_profile
from pandium._mcp.server import serve
from pandium.errors import ConfigurationError

__all__ = ["serve_tools"]


def serve_tools(*, allow_writes: bool) -> int:
    """
    Serve the tools until standard input ends, and return the exit code.

    :param allow_writes: whether to offer the tools that change something.
    :raises ConfigurationError: if there is no API key, another setting is invalid, standard input
        is closed, or Python has removed the docstrings, which describe the tools.
    """
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed")
    if sys.flags.optimize > 1:
        raise ConfigurationError(
            "without docstrings, the tools have no descriptions: unset PYTHONOPTIMIZE"
        )
    if find_api(find_profile()).source == DEFAULT:
        set_default_option("environment", "sandbox")
    # Standard input carries the protocol, so there can be no prompt.
    return run(partial(serve, allow_writes=allow_writes), can_prompt=False)
