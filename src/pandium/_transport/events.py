"""Call the user's function for each response."""

from __future__ import annotations

import inspect
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pandium._cancellation import CancellationGuard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["OnResponse", "ResponseEvent", "notify"]

_log = logging.getLogger("pandium")


def _read_only(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({name.lower(): value for name, value in headers.items()})


def _rebuild(cls: type[ResponseEvent], *values: Any) -> ResponseEvent:
    return cls(*values)


@attrs.frozen
class ResponseEvent:
    """
    A response to one attempt of a request, as passed to ``on_response``.

    ```python
    from pandium import AsyncPandium, ResponseEvent


    def on_response(event: ResponseEvent) -> None:
        print(event.template, event.status_code, event.headers.get("x-ratelimit-remaining"))


    client = AsyncPandium(on_response=on_response)
    ```

    :ivar method: the HTTP method.
    :ivar path: the percent-encoded path of the request, without the query string.
    :ivar template: the path before ids are filled in, such as ``/v2/tenants/{tenant_id}``, which
        suits the name of a metric. ``(log)`` for the download of a log from the storage host.
    :ivar status_code: the HTTP status code.
    :ivar headers: the response headers. Names are in lower case, and the mapping is read-only.
    :ivar elapsed: the duration of the attempt, in seconds.
    :ivar attempt: the number of the attempt, starting at 1.
    """

    method: str
    path: str
    template: str
    status_code: int
    headers: Mapping[str, str] = attrs.field(converter=_read_only)
    elapsed: float
    attempt: int

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be pickled.
        values = attrs.asdict(self, recurse=False) | {"headers": dict(self.headers)}
        return _rebuild, (type(self), *values.values())


ResponseEvent.__module__ = "pandium"  # as users import it


OnResponse: TypeAlias = "Callable[[ResponseEvent], Awaitable[object] | object]"


async def notify(on_response: OnResponse, event: ResponseEvent) -> None:
    """Call the user's function. An error that it raises is logged."""
    try:
        with CancellationGuard("on_response"):
            returned = on_response(event)
            if returned is not None and inspect.isawaitable(returned):
                await returned
    except Exception:  # noqa: BLE001 - a user-supplied callback may raise anything
        text = "on_response failed for %s %s; the request is not affected"
        _log.warning(text, event.method, event.template, exc_info=True)
