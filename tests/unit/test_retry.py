"""What may be repeated, how often, and after which pauses."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import errors
from pandium._clock import RealClock
from pandium._transport.retry import Budget, Repeat, Retry, repeat_of
from pandium._transport.retry import retrying as retrying_on_a_budget
from pandium.errors import APIError, PandiumError

EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
TENANT = "/v2/tenants/7"


@attrs.define
class FakeClock(RealClock):
    """A clock that stands still but for its sleeps, which it records."""

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
    """An attempt that takes some time, and fails with one error after the other."""

    clock: FakeClock
    failures: list[BaseException]
    seconds: float = 0.0
    calls: int = 0

    async def __call__(self) -> str:
        self.calls += 1
        self.clock.time += self.seconds
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def retrying(attempt: Attempts, policy: Retry, repeat: Repeat, clock: FakeClock) -> str:
    """Repeat without regard to the budget, which has tests of its own."""
    return await retrying_on_a_budget(attempt, policy, repeat, Budget(1e9), clock)


def answer(
    status: int, retry_after: float | None = None, cls: type[APIError] = APIError
) -> APIError:
    return cls(str(status), status_code=status, retry_after=retry_after)


# The table: what is repeated of which request.

FAILURES: dict[str, Callable[[], BaseException]] = {
    "no connection": lambda: errors.ConnectFailed("x"),
    "too slow": lambda: errors.RequestTimeout("x"),
    "lost": lambda: errors.ConnectionLost("x"),
    "no answer": lambda: errors.TransportError("x"),
    **{
        str(status): lambda status=status: answer(status)  # type: ignore[misc]
        for status in (302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 501, 502, 503, 504, 505)
    },
    "upstream's 429": lambda: answer(429, cls=errors.ConnectorError),
    "upstream's 503": lambda: answer(503, cls=errors.ConnectorError),
    "unreadable": lambda: errors.DecodeError("x"),
    "other": lambda: PandiumError("x"),
    "a bug": lambda: ValueError("x"),
    "interrupted": KeyboardInterrupt,
}
COVERED = {
    Repeat.IDEMPOTENT: {
        *("no connection", "too slow", "lost", "no answer"),
        *("408", "429", "500", "502", "503", "504"),
    },
    Repeat.UNSENT: {"no connection", "429"},
    Repeat.PROXIED: {"no connection", "429"},
}
REQUESTS = [
    ("GET", "/v2/tenants", Repeat.IDEMPOTENT),
    ("GET", f"{TENANT}/metadata", Repeat.IDEMPOTENT),
    ("GET", "/v2/runs/triggers/7/status", Repeat.IDEMPOTENT),
    ("HEAD", "/v2/tenants", Repeat.IDEMPOTENT),
    ("OPTIONS", "/v2/tenants", Repeat.IDEMPOTENT),
    ("DELETE", TENANT, Repeat.IDEMPOTENT),
    ("PATCH", f"{TENANT}/metadata", Repeat.IDEMPOTENT),
    ("PATCH", "/v2/tenants/a%2Fb/metadata", Repeat.IDEMPOTENT),
    ("POST", f"{TENANT}/sync", Repeat.UNSENT),
    ("POST", "/v2/integrations/7/sync", Repeat.UNSENT),
    ("POST", "/v2/sourcecontrol/build", Repeat.UNSENT),
    ("POST", "/v2/tenants", Repeat.UNSENT),
    ("POST", f"{TENANT}/metadata", Repeat.UNSENT),
    ("PUT", f"{TENANT}/metadata", Repeat.UNSENT),
    ("PATCH", TENANT, Repeat.UNSENT),
    ("PATCH", f"{TENANT}/connectors/crm/disconnect", Repeat.UNSENT),
    ("PATCH", f"{TENANT}/connectors/crm/metadata", Repeat.UNSENT),
    ("PATCH", f"{TENANT}/metadata/more", Repeat.UNSENT),
    ("PATCH", "/v2/integrations/7/metadata", Repeat.UNSENT),
    ("PATCH", f"/x{TENANT}/metadata", Repeat.UNSENT),
    ("PATCH", f"{TENANT}/connectors/crm/call", Repeat.UNSENT),
    ("POST", f"{TENANT}/connectors/crm/call", Repeat.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/soap", Repeat.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/xml", Repeat.PROXIED),
    ("POST", f"{TENANT}/connectors/a%2Fb/call", Repeat.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/caller", Repeat.UNSENT),
    ("POST", f"{TENANT}/connectors/call", Repeat.UNSENT),
]


@pytest.mark.parametrize(("method", "path", "repeat"), REQUESTS)
def test_a_request_has_its_row_of_the_table(method: str, path: str, repeat: Repeat) -> None:
    """Method and path alone say what may be repeated of a request."""
    assert repeat_of(method, path) is repeat


@given(method=st.sampled_from(["POST", "PUT", "PATCH"]), path=st.text("/v2tenasmdcorl7%.?"))
def test_a_request_that_writes_is_not_repeated_freely(method: str, path: str) -> None:
    """No unknown endpoint that writes is repeated as if that did no harm."""
    assert repeat_of(method, path) is not Repeat.IDEMPOTENT or path.endswith("/metadata")


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("repeat", Repeat)
def test_a_failure_is_repeated_as_the_table_says(repeat: Repeat, failure: str) -> None:
    """Each row of the table covers the failures listed for it, and no other."""
    assert repeat.covers(FAILURES[failure]()) is (failure in COVERED[repeat])


# Calling again.


@pytest.mark.anyio
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("repeat", Repeat)
async def test_a_failure_that_is_covered_is_answered_by_another_attempt(
    repeat: Repeat, failure: str
) -> None:
    """What the table covers is tried again, and anything else is raised at once."""
    clock, error = FakeClock(), FAILURES[failure]()
    attempts = Attempts(clock, [error])
    if failure in COVERED[repeat]:
        assert await retrying(attempts, Retry(), repeat, clock) == "done"
        assert (attempts.calls, len(clock.sleeps)) == (2, 1)
    else:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever it was
            await retrying(attempts, Retry(), repeat, clock)
        assert caught.value is error
        assert (attempts.calls, clock.sleeps) == (1, [])


@pytest.mark.anyio
async def test_a_success_is_given_without_a_pause() -> None:
    """A first attempt that succeeds is the only one."""
    clock = FakeClock()
    attempts = Attempts(clock, [])
    assert await retrying(attempts, Retry(), Repeat.IDEMPOTENT, clock) == "done"
    assert (attempts.calls, clock.sleeps) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize("most", [1, 2, 4, 9])
async def test_there_are_at_most_so_many_attempts(most: int) -> None:
    """After the last attempt its own error is raised, as it was and with no other around it."""
    clock = FakeClock()
    failures: list[BaseException] = [answer(503) for _ in range(20)]
    last = failures[most - 1]
    attempts = Attempts(clock, failures)
    with pytest.raises(APIError) as caught:
        await retrying(attempts, Retry(most, max_elapsed=1e9), Repeat.IDEMPOTENT, clock)
    assert caught.value is last
    assert caught.value.__cause__ is None
    assert (attempts.calls, len(clock.sleeps)) == (most, most - 1)


@pytest.mark.anyio
async def test_never_is_one_attempt() -> None:
    """Retry.never() sends once, whatever the server asks for."""
    for error in (answer(429, 0.0), answer(503), errors.ConnectFailed("x")):
        clock = FakeClock()
        attempts = Attempts(clock, [error])
        with pytest.raises(type(error)) as caught:
            await retrying(attempts, Retry.never(), Repeat.IDEMPOTENT, clock)
        assert caught.value is error
        assert (attempts.calls, clock.sleeps) == (1, [])


@pytest.mark.anyio
async def test_nothing_of_the_retry_library_escapes() -> None:
    """The type, cause and context of what is raised are not of the library behind it."""
    for repeat in Repeat:
        for make in FAILURES.values():
            clock = FakeClock()
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever it was
                await retrying(Attempts(clock, [make() for _ in range(9)]), Retry(), repeat, clock)
            seen: BaseException | None = caught.value
            while seen is not None:
                assert not type(seen).__module__.startswith("tenacity")
                seen = seen.__cause__ or seen.__context__


async def pauses_of(policy: Retry) -> list[float]:
    clock = FakeClock()
    attempts = Attempts(clock, [answer(503) for _ in range(policy.attempts)])
    with pytest.raises(APIError):
        await retrying(attempts, policy, Repeat.IDEMPOTENT, clock)
    return clock.sleeps


@pytest.mark.anyio
@pytest.mark.parametrize(("initial", "maximum"), [(0.5, 8.0), (1.0, 1.5), (3.0, 2.0), (0.0, 8.0)])
async def test_a_pause_has_full_jitter(initial: float, maximum: float) -> None:
    """The n-th pause is anywhere from 0 to initial x 2^(n-1), and never above the maximum."""
    policy = Retry(7, initial=initial, maximum=maximum, max_elapsed=1e9)
    # Of 300 draws the chance to miss a tenth at either end is below 10^-13.
    runs = [await pauses_of(policy) for _ in range(300)]
    for number, pauses in enumerate(zip(*runs, strict=True)):
        bound = min(initial * 2**number, maximum)
        assert 0 <= min(pauses) <= 0.1 * bound
        assert 0.9 * bound <= max(pauses) <= bound


@pytest.mark.anyio
async def test_a_pause_without_length_is_one_all_the_same() -> None:
    """A policy without pauses still tries as often as it says."""
    assert await pauses_of(Retry(5, initial=0, maximum=0, max_elapsed=0)) == [0, 0, 0, 0]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [3.0, 7.0, 25.0])
async def test_no_pause_ends_after_the_time_is_over(seconds: float) -> None:
    """No repetition begins later than max_elapsed seconds after the first attempt did."""
    for _ in range(20):
        clock = FakeClock()
        policy = Retry(1000, initial=2.0, maximum=5.0, max_elapsed=30.0)
        attempts = Attempts(clock, [answer(503) for _ in range(1000)], seconds)
        with pytest.raises(APIError):
            await retrying(attempts, policy, Repeat.IDEMPOTENT, clock)
        began = clock.time - seconds - 1000.0
        assert began <= 30.0
        # It gave up only when another attempt and the longest pause would not have fitted.
        assert began + seconds + 5.0 > 30.0


@pytest.mark.anyio
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.25, 8.0, 55.0, 60.0])
async def test_the_pause_that_a_server_asks_for_is_kept_exactly(
    status: int, seconds: float
) -> None:
    """Retry-After is the pause itself: not jittered, and not cut to the maximum."""
    clock = FakeClock()
    attempts = Attempts(clock, [answer(status, seconds)])
    assert await retrying(attempts, Retry(), Repeat.IDEMPOTENT, clock) == "done"
    assert clock.sleeps == [seconds]


@pytest.mark.anyio
@pytest.mark.parametrize("repeat", Repeat)
async def test_a_pause_that_does_not_fit_is_the_error(repeat: Repeat) -> None:
    """Where Retry-After would end after the time is over, the error is raised at once."""
    for seconds in (60.001, 3600.0, float("inf")):
        clock, error = FakeClock(), answer(429, seconds)
        attempts = Attempts(clock, [error])
        with pytest.raises(APIError) as caught:
            await retrying(attempts, Retry(), repeat, clock)
        assert caught.value is error
        assert (attempts.calls, clock.sleeps) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize(("taken", "fits"), [(49.0, True), (50.0, True), (51.0, False)])
async def test_the_time_of_the_attempts_counts(taken: float, fits: bool) -> None:  # noqa: FBT001
    """Whether a Retry-After fits depends on when the first attempt began."""
    clock = FakeClock()
    attempts = Attempts(clock, [answer(503, 10.0)], taken)
    if fits:
        assert await retrying(attempts, Retry(), Repeat.IDEMPOTENT, clock) == "done"
        assert clock.sleeps == [10.0]
    else:
        with pytest.raises(APIError):
            await retrying(attempts, Retry(), Repeat.IDEMPOTENT, clock)
        assert clock.sleeps == []


@pytest.mark.anyio
@pytest.mark.parametrize("first", [0.0, 2.5, 70.0, None])
@pytest.mark.parametrize("then", [0.0, 4.0, 58.0, None])
async def test_no_pause_is_shorter_than_a_server_asks_for(
    first: float | None, then: float | None
) -> None:
    """In any row of answers each wait is the one asked for, or the error is raised instead."""
    clock = FakeClock()
    wanted = [first, then]
    attempts = Attempts(clock, [answer(503, seconds) for seconds in wanted])
    try:
        await retrying(attempts, Retry(), Repeat.IDEMPOTENT, clock)
    except APIError as error:
        assert sum(clock.sleeps) + (error.retry_after or 0.0) > 60.0  # noqa: PT017 - one of two
    for slept, seconds in zip(clock.sleeps, wanted, strict=False):
        assert seconds is None or slept == seconds


@pytest.mark.anyio
async def test_each_failure_is_judged_anew() -> None:
    """A failure that is not covered ends the row although others before it were."""
    clock = FakeClock()
    attempts = Attempts(clock, [answer(503), errors.ConnectionLost("x"), answer(404), answer(503)])
    with pytest.raises(APIError, match="404"):
        await retrying(attempts, Retry(attempts=9), Repeat.IDEMPOTENT, clock)
    assert attempts.calls == 3


# The policy.


def test_a_policy_has_its_documented_defaults() -> None:
    """Without arguments there are 4 attempts, pauses from 0.5 to 8 seconds, and a minute in all."""
    assert Retry() == Retry(attempts=4, initial=0.5, maximum=8.0, max_elapsed=60.0)
    names = list(inspect.signature(Retry).parameters)
    assert names == ["attempts", "initial", "maximum", "max_elapsed"]
    assert Retry.never().attempts == 1


def test_a_policy_is_a_frozen_value() -> None:
    """A policy cannot be changed, and equal ones are one member of a set."""
    policy: Any = Retry()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.attempts = 9
    assert {policy, Retry()} == {Retry()}


@pytest.mark.parametrize("attempts", [0, -1, 1.5, 4.0, "4", None])
def test_attempts_that_are_no_whole_number_from_one_are_refused(attempts: Any) -> None:
    """A number of attempts below 1, or of another type, is a ValueError that names it."""
    with pytest.raises(ValueError, match="attempts must be a whole number from 1, not "):
        Retry(attempts=attempts)


@pytest.mark.parametrize("name", ["initial", "maximum", "max_elapsed"])
@pytest.mark.parametrize(
    "value", [-0.001, -1, float("-inf"), float("inf"), float("nan"), "1", None]
)
def test_a_negative_time_is_refused(name: str, value: object) -> None:
    """A time below 0, without end, or none at all, is a ValueError that names its argument."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name} must be 0 or more seconds, not "):
        Retry(**arguments)


@pytest.mark.parametrize("name", ["initial", "maximum", "max_elapsed"])
@pytest.mark.parametrize("value", [0, 1, 0.5, 1e9])
def test_a_time_from_zero_is_taken(name: str, value: float) -> None:
    """A time of 0 or more, whole or not, is kept as it is."""
    arguments: dict[str, Any] = {name: value}
    assert getattr(Retry(**arguments), name) == value


# The budget.


@pytest.mark.anyio
async def test_a_dead_server_gets_a_burst_of_repetitions_and_then_none() -> None:
    """Once the tokens are spent, each call is sent once."""
    clock, budget = FakeClock(), Budget(10)
    calls = []
    for _ in range(20):
        attempts = Attempts(clock, [answer(503) for _ in range(4)])
        with pytest.raises(APIError):
            await retrying_on_a_budget(attempts, Retry(), Repeat.IDEMPOTENT, budget, clock)
        calls.append(attempts.calls)
    assert sum(calls) == 20 + 10
    assert set(calls[4:]) == {1}


@pytest.mark.anyio
async def test_successes_earn_a_tenth_of_a_repetition() -> None:
    """With the tokens spent, ten successes allow one repetition, and no more are saved than fit."""
    clock, budget = FakeClock(), Budget(1)
    for _ in range(100):
        await retrying_on_a_budget(Attempts(clock, []), Retry(), Repeat.IDEMPOTENT, budget, clock)
    attempts = Attempts(clock, [answer(503) for _ in range(4)])
    with pytest.raises(APIError):
        await retrying_on_a_budget(attempts, Retry(), Repeat.IDEMPOTENT, budget, clock)
    assert attempts.calls == 2


@pytest.mark.anyio
async def test_a_429_costs_nothing() -> None:
    """A server that asks for patience is well: its repetitions are not counted."""
    clock, budget = FakeClock(), Budget(0)
    attempts = Attempts(clock, [answer(429, 1.0), answer(429, 1.0)])
    done = await retrying_on_a_budget(attempts, Retry(), Repeat.UNSENT, budget, clock)
    assert (done, attempts.calls) == ("done", 3)
