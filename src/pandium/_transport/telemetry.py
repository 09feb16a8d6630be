"""Report each call to OpenTelemetry if the OpenTelemetry API is installed."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from pandium._version import __version__
from pandium.errors import Attempt, PandiumError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

__all__ = ["load_instruments", "observe_call"]

_log = logging.getLogger("pandium")

_Attributes: TypeAlias = "dict[str, str | int]"

_NOTHING = nullcontext()
# The names follow https://opentelemetry.io/docs/specs/semconv/http/
_DURATION = "http.client.request.duration"
# The providers in these modules are placeholders that record nothing.
_API_MODULES = ("opentelemetry.trace", "opentelemetry.metrics")


@cache
def load_instruments() -> Any:
    """
    Return the tracer, the histogram and the modules `trace` and `metrics`.

    Return `None` if OpenTelemetry is missing or broken.
    """
    try:
        # This is faster than a failing import. It raises ValueError for a stub in `sys.modules`.
        if find_spec("opentelemetry") is None:
            return None
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an optional dependency

        meter = metrics.get_meter("pandium", __version__)
        histogram = meter.create_histogram(
            _DURATION, unit="s", description="Duration of a call, including its retries."
        )
        return trace.get_tracer("pandium", __version__), histogram, trace, metrics
    except ImportError:  # the namespace package belongs to another distribution
        return None
    except Exception:  # noqa: BLE001 - an error in a provider must not break a call
        _log.warning("could not initialize OpenTelemetry; calls are not traced", exc_info=True)
        return None


def observe_call(
    method: str, template: str, origin: str, attempts: Sequence[Attempt], now: Callable[[], float]
) -> AbstractContextManager[None]:
    """Record one call as a span, with its attempts as events, and measure its duration."""
    instruments = load_instruments()
    if instruments is None or not _has_provider(*instruments[2:]):
        return _NOTHING
    return _ObservedCall(instruments, method, template, origin, attempts, now)


def _has_provider(trace: Any, metrics: Any) -> bool:
    """Return whether the application has configured OpenTelemetry by now."""
    try:
        providers = trace.get_tracer_provider(), metrics.get_meter_provider()
        return not all(type(provider).__module__.startswith(_API_MODULES) for provider in providers)
    except Exception:  # noqa: BLE001 - a provider that cannot be loaded must not break a call
        _warn_of_providers()
        return False


@cache
def _warn_of_providers() -> None:
    """Log the current exception, once per process."""
    _log.warning("could not load an OpenTelemetry provider; calls are not traced", exc_info=True)


class _ObservedCall(AbstractContextManager[None]):
    """A call in progress. Errors in OpenTelemetry are logged and never interrupt the call."""

    def __init__(  # noqa: PLR0913, PLR0917 - `observe_call`'s arguments, plus one
        self,
        instruments: Any,
        method: str,
        template: str,
        origin: str,
        attempts: Sequence[Attempt],
        now: Callable[[], float],
    ) -> None:
        self._tracer, self._histogram, self._trace, _ = instruments
        self._name = f"{method} {template}"
        self._attributes = _attributes_of(method, template, origin)
        self._attempts = attempts
        self._now = now
        self._stack = ExitStack()
        self._span: Any = None

    def __enter__(self) -> None:
        self._started = self._now()
        with _logging_errors():
            self._span = self._stack.enter_context(
                self._tracer.start_as_current_span(
                    self._name,
                    kind=self._trace.SpanKind.CLIENT,
                    attributes=self._attributes,
                    record_exception=False,  # a traceback may contain the user's secrets
                    set_status_on_exception=False,
                )
            )

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _logging_errors():
            result = _status_of(self._attempts)
            if isinstance(exc, PandiumError):
                result["error.type"] = type(exc).__name__
            if self._span is not None:
                self._describe(exc, result)
            self._histogram.record(self._now() - self._started, self._attributes | result)
        with _logging_errors():
            self._stack.close()

    def _describe(self, exc: BaseException | None, result: _Attributes) -> None:
        if isinstance(exc, PandiumError):
            self._span.set_status(self._trace.StatusCode.ERROR, str(exc))
        self._span.set_attributes(result)
        for attempt in self._attempts:
            self._span.add_event("attempt", _event_of(attempt), int(attempt.at.timestamp() * 1e9))


@contextmanager
def _logging_errors() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - an error in a provider must not break a call
        _log.warning("OpenTelemetry failed to record a call", exc_info=True)


def _attributes_of(method: str, template: str, origin: str) -> _Attributes:
    return {
        "http.request.method": method,
        "url.template": template,
        **_server_attributes(origin),
    }


@lru_cache(maxsize=16)  # the host of a log may differ from run to run
def _server_attributes(origin: str) -> _Attributes:
    url = urlsplit(origin)
    return {
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }


def _status_of(attempts: Sequence[Attempt]) -> _Attributes:
    if attempts and attempts[-1].result.isdigit():
        return {"http.response.status_code": int(attempts[-1].result)}
    return {}


def _event_of(attempt: Attempt) -> dict[str, str | float]:
    return {"result": attempt.result, "seconds": attempt.seconds}
