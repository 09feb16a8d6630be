"""Decide whether and when to retry a request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import attrs

from pandium._validation import as_attrs_validator, validate_seconds, validate_whole_number
from pandium.errors import APIError, PandiumError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import tenacity

    from pandium._clock import Clock
    from pandium._http.limits import RetryBudget
    from pandium._transport.spec import RetrySafety
    from pandium.errors import Attempt

__all__ = ["Retry", "send_with_retries"]

T = TypeVar("T")

_log = logging.getLogger("pandium")
_seconds = as_attrs_validator(validate_seconds)
_whole_number = as_attrs_validator(validate_whole_number)


@attrs.frozen
class Retry:
    """
    A retry policy: the number of attempts and the delays between them.

    The delay before the nth retry is chosen at random between 0 and ``initial * 2 ** (n - 1)``
    seconds, and is at most ``maximum``. If the server requests a longer delay with
    ``Retry-After``, the client waits that long instead. If the delay would exceed
    ``max_elapsed``, the error is raised immediately.

    ```python
    from pandium import AsyncPandium, Retry

    client = AsyncPandium(retry=Retry(attempts=6, maximum=30.0))
    ```

    :ivar attempts: the maximum number of attempts, including the first one.
    :ivar initial: the upper bound of the first delay, in seconds.
    :ivar maximum: the upper bound of every random delay, in seconds.
    :ivar max_elapsed: the maximum total time of the attempts and the delays between them, in
        seconds. The time that a request waits for its turn, because of ``max_connections``,
        ``requests_per_second`` or a 429 of another request, does not count. However, a pause after
        a 429 must not be longer than this.
    :raises ValueError: if ``attempts`` is less than 1, or a duration is negative or infinite.
    """

    attempts: int = attrs.field(default=4, validator=_whole_number)
    initial: float = attrs.field(default=0.5, validator=_seconds)
    maximum: float = attrs.field(default=8.0, validator=_seconds)
    max_elapsed: float = attrs.field(default=60.0, validator=_seconds)

    @classmethod
    def never(cls) -> Retry:
        """Return a policy that sends each request once."""
        return cls(attempts=1)


Retry.__module__ = "pandium"  # as users import it


async def send_with_retries(  # noqa: PLR0913 - one argument for each part of the decision
    attempt: Callable[[], Awaitable[T]],
    policy: Retry,
    safety: RetrySafety,
    budget: RetryBudget,
    *,
    clock: Clock,
    attempts: Sequence[Attempt],
) -> T:
    """
    Call ``attempt`` until it succeeds or must not be retried.

    :param attempt: a function that sends the request once.
    :param policy: the retry policy.
    :param safety: the rule for which failures can be retried.
    :param budget: the client's retry budget.
    :param clock: the clock that measures the delays.
    :param attempts: the attempts so far. ``attempt`` adds to them.
    :returns: the result of the successful attempt.
    :raises PandiumError: the error of the last attempt.
    """
    try:
        # Most calls succeed at this point, without the cost of setting up tenacity.
        result = await attempt()
    except PandiumError as error:
        if policy.attempts == 1 or not safety.allows(error):
            raise
        first_error = [error]
    else:
        budget.refill()
        return result

    import tenacity  # noqa: PLC0415 - slow to import, and most programs never retry

    async def attempt_after_first() -> T:
        if first_error:
            raise first_error.pop()
        return await attempt()

    def should_stop(state: tenacity.RetryCallState) -> bool:
        elapsed = sum(one.seconds for one in attempts) + state.idle_for
        return (
            state.attempt_number >= policy.attempts
            or elapsed + state.upcoming_sleep > policy.max_elapsed
            or not budget.spend(_error_of(state))
        )

    backoff = tenacity.wait_random_exponential(multiplier=policy.initial, max=policy.maximum)

    def delay(state: tenacity.RetryCallState) -> float:
        # Use the longer of the two, so that a zero or past `Retry-After` does not cause a burst.
        return max(backoff(state), _retry_after(state))

    retrying = tenacity.AsyncRetrying(
        sleep=clock.sleep,
        stop=should_stop,
        wait=delay,
        retry=tenacity.retry_if_exception(safety.allows),
        before_sleep=_log_retry,
        reraise=True,
    )
    result = await retrying(attempt_after_first)
    budget.refill()
    return result


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _retry_after(state: tenacity.RetryCallState) -> float:
    error = _error_of(state)
    return (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0


def _log_retry(state: tenacity.RetryCallState) -> None:
    _log.warning(
        "%s; retrying in %.1f s (attempt %d)",
        _error_of(state),
        state.upcoming_sleep,
        state.attempt_number + 1,
    )
