"""Decide what may be repeated, and when; the one user of tenacity."""

from __future__ import annotations

import logging
import operator
import re
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeVar

import attrs

from pandium.errors import APIError, ConnectFailed, ConnectorError, PandiumError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import tenacity

    from pandium._clock import Clock

__all__ = ["Budget", "Repeat", "Retry", "repeat_of", "repeating", "retrying"]

T = TypeVar("T")

_log = logging.getLogger("pandium")

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_TOO_MANY = 429


def _seconds(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if not (isinstance(value, (int, float)) and 0 <= value < inf):
        raise ValueError(f"{attribute.name} must be 0 or more seconds, not {value!r}")


def _at_least_once(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number from 1, not {value!r}")


@attrs.frozen
class Retry:
    """
    How often, and after which pauses, a request is repeated.

    At most ``attempts`` in all; before the n-th repetition a random pause between 0 and
    ``initial`` x 2^(n-1) seconds, at most ``maximum``; none that would end later than
    ``max_elapsed`` seconds after the first attempt began. A ``Retry-After`` of the server is
    never cut short: if it does not fit, the error is raised.
    """

    attempts: int = attrs.field(default=4, validator=_at_least_once)
    initial: float = attrs.field(default=0.5, validator=_seconds)
    maximum: float = attrs.field(default=8.0, validator=_seconds)
    max_elapsed: float = attrs.field(default=60.0, validator=_seconds)

    @classmethod
    def never(cls) -> Retry:
        """Make a policy that sends each request once."""
        return cls(attempts=1)


class Repeat(Enum):
    """Which failures of a request may be answered by sending it again."""

    IDEMPOTENT = "no answer, or an answer that may pass"
    UNSENT = "only what surely did not run: no connection, or 429"
    PROXIED = "no connection, or a 429 that is not the upstream's"

    def covers(self, error: BaseException) -> bool:
        """Tell whether this failure may be answered by sending the request again."""
        if isinstance(error, ConnectorError):
            return False
        if isinstance(error, APIError):
            return error.status_code in _PASSING and (
                self is Repeat.IDEMPOTENT or error.status_code == _TOO_MANY
            )
        if self is Repeat.IDEMPOTENT:
            return isinstance(error, TransportError)
        return isinstance(error, ConnectFailed)


_METADATA = re.compile(r"/v2/tenants/[^/]+/metadata")
_PROXY = re.compile(r"/v2/tenants/[^/]+/connectors/[^/]+/(call|soap|xml)")


def repeat_of(method: str, path: str) -> Repeat:
    """Tell what may be repeated of a request, by its method and its encoded path."""
    if method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        return Repeat.IDEMPOTENT
    if method == "PATCH" and _METADATA.fullmatch(path):
        return Repeat.IDEMPOTENT
    return Repeat.PROXIED if method == "POST" and _PROXY.fullmatch(path) else Repeat.UNSENT


class Budget:
    """
    What a client may spend on repetitions: a token each, and a tenth of one back a success.

    A server that is down so gets a burst of them and then none; one that is sick gets at most a
    tenth more requests. A 429 costs nothing, as the server is well and asked for it.
    """

    def __init__(self, tokens: float = 100.0) -> None:
        self._most = tokens
        self._tokens = tokens

    def refill(self) -> None:
        """Take note of a success."""
        self._tokens = min(self._most, self._tokens + 0.1)

    def spend(self, error: BaseException | None) -> bool:
        """Take a token for one repetition after this error; false if there is none left."""
        if isinstance(error, APIError) and error.status_code == _TOO_MANY:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def retrying(
    attempt: Callable[[], Awaitable[T]], policy: Retry, repeat: Repeat, budget: Budget, clock: Clock
) -> T:
    """Call `attempt` until it succeeds or must not be repeated; its last error is raised."""
    began = clock.now()
    try:
        # Most calls end here, without the cost of setting up what may follow.
        result = await attempt()
    except PandiumError as error:
        if policy.attempts == 1 or not repeat.covers(error):
            raise
        failures = [error]
    else:
        budget.refill()
        return result

    import tenacity  # noqa: PLC0415 - most who import this repeat nothing for a while

    async def attempt_on() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    def must_stop(state: tenacity.RetryCallState) -> bool:
        elapsed = clock.now() - began
        return (
            state.attempt_number >= policy.attempts
            or elapsed + state.upcoming_sleep > policy.max_elapsed
            or not budget.spend(_error_of(state))
        )

    backoff = tenacity.wait_random_exponential(multiplier=policy.initial, max=policy.maximum)

    def pause(state: tenacity.RetryCallState) -> float:
        wanted = _retry_after(state)
        return backoff(state) if wanted is None else wanted

    retryer = tenacity.AsyncRetrying(
        sleep=clock.sleep,
        stop=must_stop,
        wait=pause,
        retry=tenacity.retry_if_exception(repeat.covers),
        before_sleep=_log_repetition,
        reraise=True,
    )
    result = await retryer(attempt_on)
    budget.refill()
    return result


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _retry_after(state: tenacity.RetryCallState) -> float | None:
    error = _error_of(state)
    return error.retry_after if isinstance(error, APIError) else None


def _log_repetition(state: tenacity.RetryCallState) -> None:
    _log.warning(
        "%s; attempt %d follows in %.1f s",
        _error_of(state),
        state.attempt_number + 1,
        state.upcoming_sleep,
    )


async def repeating(
    look: Callable[[], Awaitable[bool]],
    pause: Callable[[], float],
    is_over: Callable[[], bool],
    clock: Clock,
) -> bool:
    """Call `look` after each pause until it gives true, or false once the time is over."""
    import tenacity  # noqa: PLC0415 - as above

    retryer = tenacity.AsyncRetrying(
        sleep=clock.sleep,
        stop=lambda _: is_over(),
        wait=lambda _: pause(),
        retry=tenacity.retry_if_result(operator.not_),
        retry_error_callback=lambda _: False,
    )
    await clock.sleep(pause())
    return await retryer(look)
