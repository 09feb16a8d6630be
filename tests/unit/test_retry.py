"""Retries: their number, their delays and their cost to the budget."""

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from pandium import errors
from pandium._clock import RealClock
from pandium._http.limits import RetryBudget
from pandium._transport.retry import Retry, send_with_retries
from pandium._transport.spec import RetrySafety
from pandium.errors import APIError, Attempt, RateLimited
from support.failures import error_response

EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
IDEMPOTENT = RetrySafety.IDEMPOTENT


@attrs.define
class SleepRecorder(RealClock):
    """A clock that advances only when it sleeps, and records the sleeps."""

    time: float = 1000.0
    sleeps: list[float] = attrs.field(factory=list)

    def now(self) -> float:
        return self.time

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.time)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


@attrs.define
class Attempts:
    """An attempt that waits for its turn, takes some time and raises a sequence of failures."""

    clock: SleepRecorder
    failures: list[BaseException]
    seconds: float = 0.0
    queued: float = 0.0
    recorded: list[Attempt] = attrs.field(factory=list)
    calls: int = 0

    async def __call__(self) -> str:
        self.calls += 1
        self.clock.time += self.queued
        self.recorded.append(Attempt(self.clock.wall(), self.seconds, ""))
        self.clock.time += self.seconds
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def send(
        self,
        policy: Retry = Retry(),  # noqa: B008 - frozen
        safety: RetrySafety = IDEMPOTENT,
        budget: RetryBudget | None = None,
    ) -> str:
        return await send_with_retries(
            self,
            policy,
            safety,
            budget or RetryBudget(1e9),
            clock=self.clock,
            attempts=self.recorded,
        )


def failing(*failures: BaseException, seconds: float = 0.0) -> Attempts:
    return Attempts(SleepRecorder(), list(failures), seconds)


def unavailable(count: int) -> list[BaseException]:
    return [error_response(503) for _ in range(count)]


FAILURES: list[BaseException] = [
    errors.ConnectFailed("x"),
    errors.ConnectionLost("x"),
    error_response(404),
    error_response(429),
    error_response(503),
    ValueError("x"),
    KeyboardInterrupt(),
]


# The number of attempts


@pytest.mark.anyio
@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("safety", RetrySafety)
async def test_a_failure_is_retried_if_its_safety_allows_it(
    safety: RetrySafety, failure: BaseException
) -> None:
    """A failure is retried if the retry safety allows it, and otherwise raised unchanged."""
    attempts = failing(failure)
    if safety.allows(failure):
        assert await attempts.send(safety=safety) == "done"
        assert (attempts.calls, len(attempts.clock.sleeps)) == (2, 1)
    else:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - the failures have various classes
            await attempts.send(safety=safety)
        assert caught.value is failure
        assert (attempts.calls, attempts.clock.sleeps) == (1, [])


@pytest.mark.anyio
async def test_a_success_is_returned_without_a_delay() -> None:
    """After a successful first attempt, there are no others."""
    attempts = failing()
    assert await attempts.send() == "done"
    assert (attempts.calls, attempts.clock.sleeps) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [1, 2, 4, 9])
async def test_the_number_of_attempts_is_limited(limit: int) -> None:
    """After the last attempt, its error is raised unchanged and without a cause."""
    failures = unavailable(20)
    last = failures[limit - 1]
    attempts = failing(*failures)
    with pytest.raises(APIError) as caught:
        await attempts.send(Retry(limit, max_elapsed=1e9))
    assert caught.value is last
    assert caught.value.__cause__ is None
    assert (attempts.calls, len(attempts.clock.sleeps)) == (limit, limit - 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "failure", [error_response(429, 0.0), error_response(503), errors.ConnectFailed("x")], ids=repr
)
async def test_retry_never_sends_once(failure: BaseException) -> None:
    """`Retry.never()` sends a request once, whatever the failure or the server's `Retry-After`."""
    attempts = failing(failure)
    with pytest.raises(type(failure)) as caught:
        await attempts.send(Retry.never())
    assert caught.value is failure
    assert (attempts.calls, attempts.clock.sleeps) == (1, [])


@pytest.mark.anyio
async def test_each_failure_is_judged_by_itself() -> None:
    """A failure that must not be retried ends the attempts, regardless of earlier failures."""
    lost = errors.ConnectionLost("x")
    attempts = failing(error_response(503), lost, error_response(404), error_response(503))
    with pytest.raises(APIError, match="404"):
        await attempts.send(Retry(attempts=9))
    assert attempts.calls == 3


@pytest.mark.anyio
@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("safety", RetrySafety)
async def test_nothing_of_tenacity_escapes(safety: RetrySafety, failure: BaseException) -> None:
    """Neither the error nor its causes have a type from tenacity."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - the failures have various classes
        await failing(*[failure] * 9).send(safety=safety)
    error: BaseException | None = caught.value
    while error is not None:
        assert not type(error).__module__.startswith("tenacity")
        error = error.__cause__ or error.__context__


# Delays


async def delays_of(policy: Retry) -> list[float]:
    attempts = failing(*unavailable(policy.attempts))
    with pytest.raises(APIError):
        await attempts.send(policy)
    return attempts.clock.sleeps


@pytest.mark.anyio
@pytest.mark.parametrize(("initial", "maximum"), [(0.5, 8.0), (1.0, 1.5), (3.0, 2.0), (0.0, 8.0)])
async def test_delays_have_full_jitter(initial: float, maximum: float) -> None:
    """The nth delay is between 0 and initial * 2^(n-1) and at most the maximum."""
    policy = Retry(7, initial=initial, maximum=maximum, max_elapsed=1e9)
    # The probability that 300 draws miss a tenth at either end is below 10^-13.
    runs = [await delays_of(policy) for _ in range(300)]
    for number, delays in enumerate(zip(*runs, strict=True)):
        bound = min(initial * 2**number, maximum)
        assert 0 <= min(delays) <= 0.1 * bound
        assert 0.9 * bound <= max(delays) <= bound


@pytest.mark.anyio
async def test_a_policy_without_delays_retries_as_often() -> None:
    """Zero delays do not change the number of attempts."""
    assert await delays_of(Retry(5, initial=0, maximum=0, max_elapsed=0)) == [0, 0, 0, 0]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [3.0, 7.0, 25.0])
async def test_no_retry_starts_after_max_elapsed(seconds: float) -> None:
    """The last attempt starts within max_elapsed seconds of the first, but as late as possible."""
    for _ in range(20):
        attempts = failing(*unavailable(1000), seconds=seconds)
        with pytest.raises(APIError):
            await attempts.send(Retry(1000, initial=2.0, maximum=5.0, max_elapsed=30.0))
        last_start = attempts.clock.time - seconds - 1000.0
        # Another attempt with the longest delay would have exceeded the limit.
        assert 30.0 - seconds - 5.0 < last_start <= 30.0


@pytest.mark.anyio
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.25, 8.0, 55.0, 60.0])
async def test_retry_after_is_the_shortest_delay(status: int, seconds: float) -> None:
    """The delay is `Retry-After` or the backoff, whichever is longer, even above the maximum."""
    attempts = failing(error_response(status, seconds))
    assert await attempts.send(Retry(initial=4.0, maximum=4.0)) == "done"
    [delay] = attempts.clock.sleeps
    assert delay == seconds if seconds >= 4.0 else seconds <= delay <= 4.0


@pytest.mark.anyio
async def test_a_retry_after_of_zero_does_not_replace_the_back_off() -> None:
    """If `Retry-After` is zero or in the past, the backoff applies."""
    delays = []
    for _ in range(50):
        attempts = failing(error_response(503, 0.0))
        await attempts.send()
        delays += attempts.clock.sleeps
    assert max(delays) > 0.25


@pytest.mark.anyio
@pytest.mark.parametrize("safety", RetrySafety)
@pytest.mark.parametrize("seconds", [60.001, 3600.0, float("inf")])
async def test_a_retry_after_beyond_max_elapsed_is_raised(
    safety: RetrySafety, seconds: float
) -> None:
    """If waiting for `Retry-After` would exceed max_elapsed, the error is raised immediately."""
    error = error_response(429, seconds)
    attempts = failing(error)
    with pytest.raises(APIError) as caught:
        await attempts.send(safety=safety)
    assert caught.value is error
    assert (attempts.calls, attempts.clock.sleeps) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize(("taken", "fits"), [(49.0, True), (50.0, True), (51.0, False)])
async def test_the_time_of_attempts_counts_towards_max_elapsed(taken: float, fits: bool) -> None:  # noqa: FBT001
    """max_elapsed includes the duration of attempts, from the start of the first one."""
    attempts = failing(error_response(503, 10.0), seconds=taken)
    if fits:
        assert await attempts.send() == "done"
        assert attempts.clock.sleeps == [10.0]
    else:
        with pytest.raises(APIError):
            await attempts.send()
        assert attempts.clock.sleeps == []


@pytest.mark.anyio
async def test_the_time_in_a_queue_does_not_count_towards_max_elapsed() -> None:
    """A request that waits long for its turn, before any attempt, is retried like others."""
    attempts = failing(*[error_response(503, 10.0)] * 3, seconds=5.0)
    attempts.queued = 1000.0
    assert await attempts.send() == "done"
    assert attempts.clock.sleeps == [10.0] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("first", [0.0, 2.5, 70.0, None])
@pytest.mark.parametrize("second", [0.0, 4.0, 58.0, None])
async def test_no_delay_is_shorter_than_retry_after(
    first: float | None, second: float | None
) -> None:
    """Each delay is at least as long as requested, or the error is raised."""
    wanted = [first, second]
    attempts = failing(*(error_response(503, seconds) for seconds in wanted))
    try:
        await attempts.send()
    except APIError as error:
        waited = sum(attempts.clock.sleeps)
        assert waited + max(error.retry_after or 0.0, 8.0) > 60.0  # noqa: PT017 - the error is one of two possible results
    for slept, seconds in zip(attempts.clock.sleeps, wanted, strict=False):
        assert slept >= (seconds or 0.0)


# The policy


def test_a_policy_has_its_documented_defaults() -> None:
    """The defaults are 4 attempts, delays from 0.5 to 8 seconds, and a total of one minute."""
    assert Retry() == Retry(attempts=4, initial=0.5, maximum=8.0, max_elapsed=60.0)
    names = list(inspect.signature(Retry).parameters)
    assert names == ["attempts", "initial", "maximum", "max_elapsed"]
    assert Retry.never().attempts == 1


def test_a_policy_is_a_frozen_value() -> None:
    """A policy cannot be changed, and policies with equal values are equal."""
    policy: Any = Retry()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.attempts = 9
    assert {policy, Retry()} == {Retry()}


@pytest.mark.parametrize("attempts", [0, -1, 1.5, 4.0, "4", None])
def test_attempts_must_be_a_whole_number_from_one(attempts: Any) -> None:
    """Any other number of attempts is a ValueError that names the argument."""
    with pytest.raises(ValueError, match="attempts must be an integer of at least 1, not "):
        Retry(attempts=attempts)


@pytest.mark.parametrize("name", ["initial", "maximum", "max_elapsed"])
@pytest.mark.parametrize(
    "value", [-0.001, -1, float("-inf"), float("inf"), float("nan"), "1", None]
)
def test_times_must_be_finite_and_not_negative(name: str, value: object) -> None:
    """Any other time is a ValueError that names the argument."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name} must be a non-negative number of seconds, not "):
        Retry(**arguments)


@pytest.mark.parametrize("name", ["initial", "maximum", "max_elapsed"])
@pytest.mark.parametrize("value", [0, 1, 0.5, 1e9])
def test_times_of_zero_or_more_are_accepted(name: str, value: float) -> None:
    """A non-negative time, an integer or a float, is stored unchanged."""
    arguments: dict[str, Any] = {name: value}
    assert getattr(Retry(**arguments), name) == value


# The budget


@pytest.mark.anyio
async def test_an_outage_gets_one_burst_of_retries_and_then_none() -> None:
    """Once the budget is exhausted, each request is sent once."""
    budget = RetryBudget(10)
    calls = []
    for _ in range(20):
        attempts = failing(*unavailable(4))
        with pytest.raises(APIError):
            await attempts.send(budget=budget)
        calls.append(attempts.calls)
    assert sum(calls) == 20 + 10
    assert set(calls[4:]) == {1}


@pytest.mark.anyio
async def test_ten_successes_earn_one_retry() -> None:
    """Each success refills the budget by a tenth of a retry, up to its maximum."""
    budget = RetryBudget(1)
    for _ in range(100):
        await failing().send(budget=budget)
    attempts = failing(*unavailable(4))
    with pytest.raises(APIError):
        await attempts.send(budget=budget)
    assert attempts.calls == 2


@pytest.mark.anyio
async def test_a_429_with_retry_after_costs_nothing() -> None:
    """A retry that the server requested is not charged to the budget."""
    limited = [error_response(429, 1.0, RateLimited) for _ in range(2)]
    attempts = failing(*limited)
    done = await attempts.send(safety=RetrySafety.NOT_SENT, budget=RetryBudget(0))
    assert (done, attempts.calls) == ("done", 3)


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [None, 0.0])
async def test_a_429_without_a_wait_is_charged(seconds: float | None) -> None:
    """A 429 without a positive `Retry-After` costs as much as any other retry."""
    attempts = failing(error_response(429, seconds, RateLimited))
    with pytest.raises(RateLimited):
        await attempts.send(budget=RetryBudget(0))
    assert attempts.calls == 1
