"""Accept either a function that takes a request or an ASGI application as a handler."""

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from pandium.emulator.connectors.upstreams import Handler

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def read_handler(given: Any) -> Handler:
    """
    Return a handler that takes a `ConnectorRequest`.

    An ASGI application is recognized by its three arguments.

    :raises ValueError: if the object is neither such a function nor an application.
    """
    handler: Handler = given
    if _takes(given, 1):
        return handler
    if _takes(given, 3):
        # Imported here because it loads httpx, which is slow.
        from pandium.emulator.connectors.asgi import call_app  # noqa: PLC0415 - see above

        app: ASGIApp = given
        return partial(call_app, app)
    form = "must take a ConnectorRequest, or be an ASGI application"
    raise ValueError(f"handler: {form}, not {given!r}")


def _takes(given: Any, count: int) -> bool:
    """Return whether an object can be called with this number of positional arguments."""
    try:
        inspect.signature(given).bind(*[None] * count)
    except TypeError:  # not callable, or not with this number of arguments
        return False
    except ValueError:  # some functions written in C have no signature
        return count == 1
    return True
