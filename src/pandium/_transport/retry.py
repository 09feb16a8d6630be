"""Decide what may be repeated, and when; the one user of tenacity."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import attrs

from pandium._validation import as_attrs_validator, validate_seconds, validate_whole_number
from pandium.errors import APIError, PandiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import tenacity

    from pandium._clock import Clock
    from pandium._transport.spec import RetrySafety

__all__ = ["Budget", "Retry", "retrying"]

T = TypeVar("T")

_log = logging.getLogger("pandium")

_TOO_MANY = 429


_seconds = as_attrs_validator(validate_seconds)
_whole_number = as_attrs_validator(validate_whole_number)


@attrs.frozen
class Retry:
    """
    How often, and after which pauses, a request is repeated.

    At most ``attempts`` in all; before the n-th repetition a random pause between 0 and
    ``initial`` x 2^(n-1) seconds, at most ``maximum``; none that would end later than
    ``max_elapsed`` seconds after the first attempt began. A ``Retry-After`` of the server is
    never cut short: if it does not fit, the error is raised.
    """

    attempts: int = attrs.field(default=4, validator=_whole_number)
    initial: float = attrs.field(default=0.5, validator=_seconds)
    maximum: float = attrs.field(default=8.0, validator=_seconds)
    max_elapsed: float = attrs.field(default=60.0, validator=_seconds)

    @classmethod
    def never(cls) -> Retry:
        """Make a policy that sends each request once."""
        return cls(attempts=1)


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
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    safety: RetrySafety,
    budget: Budget,
    clock: Clock,
) -> T:
    """Call `attempt` until it succeeds or must not be repeated; its last error is raised."""
    began = clock.now()
    try:
        # Most calls end here, without the cost of setting up what may follow.
        result = await attempt()
    except PandiumError as error:
        if policy.attempts == 1 or not safety.allows(error):
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
        retry=tenacity.retry_if_exception(safety.allows),
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
