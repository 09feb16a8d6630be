"""Report each call to OpenTelemetry, if its API is installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from pandium._version import __version__
from pandium.errors import Attempt, PandiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["observe_call"]

_Attributes: TypeAlias = "dict[str, str | int]"

_NOTHING = nullcontext()
# Names are those of https://opentelemetry.io/docs/specs/semconv/http/
_DURATION = "http.client.request.duration"


@cache
def _instruments() -> Any:
    # At the first call, so that programs without the extra, or without calls, pay nothing.
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra

    meter = metrics.get_meter("pandium", __version__)
    histogram = meter.create_histogram(
        _DURATION, unit="s", description="Duration of a call, including its retries."
    )
    return trace.get_tracer("pandium", __version__), trace, histogram


def observe_call(
    method: str, template: str, base_url: str, attempts: Sequence[Attempt], now: Callable[[], float]
) -> AbstractContextManager[None]:
    """Record a span of one call, with its attempts as events, and how long it took."""
    instruments = _instruments()
    if instruments is None:
        return _NOTHING
    return _record_call(instruments, method, template, base_url, attempts, now)


@contextmanager
def _record_call(  # noqa: PLR0913, PLR0917 - those of `observe_call`, and the instruments
    instruments: Any,
    method: str,
    template: str,
    base_url: str,
    attempts: Sequence[Attempt],
    now: Callable[[], float],
) -> Iterator[None]:
    tracer, trace, histogram = instruments
    attributes = _attributes_of(method, template, base_url)
    started = now()
    with tracer.start_as_current_span(
        f"{method} {template}",
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,  # a traceback may contain secrets of the user's code
        set_status_on_exception=False,
    ) as span:
        result: _Attributes = {}
        try:
            yield
        except PandiumError as error:
            result = {"error.type": type(error).__name__}
            span.set_status(trace.StatusCode.ERROR, str(error))
            raise
        finally:
            result.update(_status_of(attempts))
            span.set_attributes(result)
            for attempt in attempts:
                span.add_event("attempt", _event_of(attempt), int(attempt.at.timestamp() * 1e9))
            histogram.record(now() - started, attributes | result)


def _attributes_of(method: str, template: str, base_url: str) -> _Attributes:
    return {
        "http.request.method": method,
        "url.template": template,
        **_server_attributes(base_url),
    }


@cache
def _server_attributes(base_url: str) -> _Attributes:
    host = urlsplit(base_url)
    return {
        "server.address": host.hostname or "",
        "server.port": host.port or (443 if host.scheme == "https" else 80),
    }


def _status_of(attempts: Sequence[Attempt]) -> _Attributes:
    if attempts and attempts[-1].result.isdigit():
        return {"http.response.status_code": int(attempts[-1].result)}
    return {}


def _event_of(attempt: Attempt) -> dict[str, str | float]:
    return {"result": attempt.result, "seconds": attempt.seconds}
