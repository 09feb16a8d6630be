"""When a trigger is polled, and how the result of each poll is handled."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from math import inf, nan
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import attrs
import pytest

from pandium import (
    APIError,
    Attempt,
    ConnectionLost,
    DecodeError,
    NotFound,
    Outcome,
    PandiumError,
    Polling,
    RateLimited,
    ServerError,
    TriggerStatus,
    WaitTimeout,
)
from pandium._waiting.scheduler import wait_for_run
from support.runs import gaps, scripted_run

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

# Polling options


def test_polling_has_its_documented_defaults() -> None:
    """By default, polls start after 1 s and are 1 to 15 s apart, at most 20 per second."""
    assert Polling() == Polling(
        first=1.0, factor=0.1, minimum=1.0, maximum=15.0, jitter=0.2, rate=20.0
    )


@pytest.mark.parametrize("name", ["first", "factor", "minimum", "maximum", "jitter", "rate"])
@pytest.mark.parametrize("value", ["5", None, True, nan, -1])
def test_polling_options_are_non_negative_numbers(name: str, value: Any) -> None:
    """Anything else is a ValueError that names the argument."""
    with pytest.raises(ValueError, match=rf"^{name} must be .*, not "):
        Polling(**{name: value})


@pytest.mark.parametrize("name", ["first", "factor", "minimum", "maximum", "jitter"])
def test_only_the_rate_may_be_infinite(name: str) -> None:
    """An infinite rate means no limit. An infinite delay would never end."""
    assert Polling(rate=inf).rate == inf
    with pytest.raises(ValueError, match=rf"^{name} must be .*, not inf"):
        Polling(**{name: inf})


@pytest.mark.parametrize(
    ("name", "value"), [("jitter", 1), ("minimum", 16), ("rate", 0), ("rate", 5e-324)]
)
def test_polling_options_exclude_busy_loops_and_endless_delays(name: str, value: float) -> None:
    """A zero delay, a minimum above the maximum or hardly any rate is a ValueError."""
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        Polling(**{name: value})


# The times of polls


async def test_delays_grow_with_the_age_within_bounds() -> None:
    """The first poll is after ``first``. Each later delay is ``factor`` times the age."""
    runs = scripted_run((0, None), (399, "Succeeded"))
    await runs.wait(polling=Polling(first=2, factor=0.5, minimum=3, maximum=40, jitter=0))
    assert runs.poll_times()[:5] == pytest.approx([2, 5, 8, 12, 18])
    assert max(gaps(runs.poll_times())) == pytest.approx(40)


async def test_jitter_varies_each_delay_in_both_directions() -> None:
    """A delay varies by at most ``jitter`` times itself in either direction."""
    runs = scripted_run((0, None), (500, "Succeeded"))
    await runs.wait(polling=Polling(first=10, factor=0, minimum=10, maximum=10, jitter=0.2))
    delays = gaps([0.0, *runs.poll_times()])
    assert all(8 - 1e-6 <= delay <= 12 + 1e-6 for delay in delays)
    assert min(delays) < 9.9
    assert max(delays) > 10.1


@pytest.mark.parametrize("cls", [RateLimited, ServerError, NotFound])
async def test_retry_after_takes_precedence(cls: type[APIError]) -> None:
    """The poll after a ``Retry-After`` is sent exactly when the server allows it."""
    error = cls("later", status_code=429, retry_after=200)
    runs = scripted_run((0, "Running"), (10, error), (20, "Succeeded"))
    await runs.wait()
    assert gaps(runs.poll_times())[-1] == pytest.approx(200, abs=0.01)


async def test_no_poll_starts_while_requests_are_paused() -> None:
    """While the client is rate limited, no polls are sent or counted."""
    runs = scripted_run((0, "Running"), (400, "Succeeded"))
    options = runs.options(paused_until=lambda: 350.0 if runs.clock.now() >= 50 else -inf)
    async with runs.clock.autojump():
        await wait_for_run("0", options)
    assert not [time for time in runs.poll_times() if 50 < time < 349.99]
    assert options.counters.polls == len(runs.polls)


# The time limit


async def test_a_wait_ends_at_its_time_limit() -> None:
    """At the time limit there is one last poll, then a WaitTimeout with the last status."""
    runs = scripted_run((0, None), (50, "Running"))
    with pytest.raises(WaitTimeout) as caught:
        await runs.wait(timeout=100.0)
    assert runs.clock.now() == pytest.approx(100, abs=0.01)
    assert runs.poll_times()[-1] == pytest.approx(100, abs=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.trigger_id == "0"
    assert caught.value.last_status == TriggerStatus("Running")
    assert caught.value.polls == len(runs.polls)
    assert str(caught.value) == (
        "the run of trigger 0 did not end within 100 s"
        f" (last status 'Running', {len(runs.polls)} polls)"
    )


async def test_a_timeout_without_a_status_says_so() -> None:
    """If a trigger never had a run, the WaitTimeout's ``last_status`` is None."""
    with pytest.raises(WaitTimeout, match=r"within 5 s \(no status yet, \d polls\)") as caught:
        await scripted_run((0, None)).wait(timeout=5.0)
    assert caught.value.last_status is None


async def test_the_last_poll_finds_a_run_that_ended_in_time() -> None:
    """A run that ends between the last delay and the time limit does not time out."""
    runs = scripted_run((0, "Running"), (99.5, "Succeeded"))
    assert (await runs.wait(timeout=100.0)).status == "Succeeded"


async def test_the_last_poll_may_take_two_seconds() -> None:
    """A response within two seconds after the time limit is used."""
    runs = scripted_run((0, "Running"), (99.5, "Succeeded"))

    async def poll_status(trigger_id: str) -> TriggerStatus:
        status = await runs.poll_status(trigger_id)
        await runs.clock.sleep(1.9 if runs.clock.now() >= 100 else 0)
        return status

    assert (await runs.wait(timeout=100.0, poll_status=poll_status)).status == "Succeeded"


async def test_a_poll_that_hangs_is_cut_off_after_the_time_limit() -> None:
    """A poll without a response is canceled two seconds after the time limit."""
    runs = scripted_run((0, "Running"))

    async def poll_status(trigger_id: str) -> TriggerStatus:
        status = await runs.poll_status(trigger_id)
        if runs.clock.now() > 50:
            await anyio.sleep_forever()
        return status

    with pytest.raises(WaitTimeout) as caught:
        await runs.wait(timeout=100.0, poll_status=poll_status)
    assert runs.clock.now() == pytest.approx(102, abs=0.01)
    assert caught.value.last_status == TriggerStatus("Running")


async def test_retry_after_takes_precedence_over_the_last_poll() -> None:
    """There is no last poll at the time limit if ``Retry-After`` forbids it."""
    runs = scripted_run((0, RateLimited("later", status_code=429, retry_after=1000)))
    with pytest.raises(WaitTimeout):
        await runs.wait(timeout=100.0)
    assert len(runs.polls) == 1
    assert runs.clock.now() == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize(
    "error",
    [
        ServerError("503 Service Unavailable", status_code=503, body="x" * 1000),
        ConnectionLost("the connection broke"),
        DecodeError("not JSON", path="[0]"),
    ],
)
async def test_a_timeout_has_the_last_error_as_its_cause(error: PandiumError) -> None:
    """If the last poll failed, the WaitTimeout names its error and has it as ``__cause__``."""
    runs = scripted_run((0, ConnectionLost("an older error")), (50, "Running"), (80, error))
    with pytest.raises(WaitTimeout) as caught:
        await runs.wait(timeout=100.0)
    cause = caught.value.__cause__
    assert (type(cause), str(cause)) == (type(error), str(error))
    assert str(caught.value).endswith(f" polls); the last poll failed: {error}")
    assert caught.value.last_status == TriggerStatus("Running")


async def test_the_cause_of_a_timeout_keeps_no_body() -> None:
    """If many triggers fail alike, no response bodies, long messages or tracebacks are kept."""
    long = "x" * 3000
    error = ServerError("down", status_code=503, message=long, body=long, headers={"a": "b"})
    error.attempts = (Attempt(datetime.now(UTC), 0.1, "503"),)
    with pytest.raises(WaitTimeout) as caught:
        await scripted_run((0, error)).wait(timeout=5.0)
    cause = caught.value.__cause__
    assert isinstance(cause, ServerError)
    assert (cause.status_code, cause.body, cause.headers) == (503, None, {"a": "b"})
    assert cause.message == f"{'x' * 2000}..."
    assert cause.__traceback__ is None
    assert error.body == error.message == long


async def test_the_cause_of_a_timeout_keeps_no_deep_body() -> None:
    """A body that is nested too deeply to be measured is not kept either."""
    body: list[Any] = []
    for _ in range(100_000):
        body = [body]
    error = ServerError("down", status_code=503, body=body)
    error.attempts = (Attempt(datetime.now(UTC), 0.1, "503"),)
    with pytest.raises(WaitTimeout) as caught:
        await scripted_run((0, error)).wait(timeout=5.0)
    cause = caught.value.__cause__
    assert isinstance(cause, ServerError)
    assert cause.body is None


@pytest.mark.parametrize("last", ["Running", None])
async def test_a_timeout_after_a_response_has_no_cause(last: str | None) -> None:
    """An error that was followed by a status or a 404 is not the cause of a timeout."""
    with pytest.raises(WaitTimeout) as caught:
        await scripted_run((0, ConnectionLost("gone")), (50, last)).wait(timeout=100.0)
    assert caught.value.__cause__ is None
    assert str(caught.value).endswith(" polls)")


async def test_an_infinite_timeout_is_no_limit() -> None:
    """With ``timeout=inf``, a wait continues until the run ends."""
    runs = scripted_run((0, None), (500_000, "Succeeded"))
    polling = Polling(maximum=10_000, jitter=0)
    assert (await runs.wait(timeout=inf, polling=polling)).status == "Succeeded"


async def test_a_timeout_of_zero_is_one_poll() -> None:
    """With ``timeout=0``, the first poll is the last one."""
    assert (await scripted_run((0, "Succeeded")).wait(timeout=0.0)).status == "Succeeded"
    runs = scripted_run((0, "Running"))
    with pytest.raises(WaitTimeout):
        await runs.wait(timeout=0.0)
    assert runs.poll_times() == pytest.approx([0], abs=0.01)


@attrs.define
class RoundingClock:
    """A clock that advances by the duration of each sleep, with floating-point rounding errors."""

    time: float

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.time += seconds

    def move_on_after(self, _: float) -> anyio.CancelScope:
        return anyio.CancelScope()


# With these values, the last delay ends one rounding error before the time limit.
@pytest.mark.parametrize(
    ("start", "timeout"),
    [(60.559953013932684, 100.0), (97.98862775249707, 30.5), (31.383051991609168, 5)],
)
async def test_rounding_errors_do_not_extend_a_wait(start: float, timeout: float) -> None:  # noqa: ASYNC109 - a value under test, not a limit
    """A delay that ends a rounding error before the time limit is the last one."""
    polls = itertools.count(1)

    async def poll_status(_: str) -> TriggerStatus:
        assert next(polls) <= timeout + 1
        raise NotFound("no run yet", status_code=404)

    clock = RoundingClock(start)
    options = scripted_run().options(clock=clock, timeout=timeout, poll_status=poll_status)
    with pytest.raises(WaitTimeout):
        await wait_for_run("0", options)


# Statuses


async def test_an_unknown_status_is_active() -> None:
    """A wait continues on an undocumented status, unless ``classify`` decides otherwise."""
    runs = scripted_run((0, "Mulling"), (30, "Succeeded"))
    assert (await runs.wait()).status == "Succeeded"

    def classify(status: TriggerStatus) -> Outcome:
        return Outcome.SUCCEEDED if status.status == "Mulling" else Outcome.ACTIVE

    assert (await scripted_run((0, "Mulling")).wait(classify=classify)).status == "Mulling"


@pytest.mark.parametrize("outcome", [None, True, "succeeded", Outcome.UNKNOWN])
async def test_classify_must_return_an_outcome(outcome: object) -> None:
    """Any other value is an error and never counts as success, and so is UNKNOWN."""
    with pytest.raises(ValueError, match=r"classify must return ACTIVE, SUCCEEDED or FAILED, not "):
        await scripted_run((0, "Running")).wait(classify=lambda _: outcome)


async def test_on_status_is_called_once_per_change() -> None:
    """The callback, sync or async, receives each status that differs from the previous one."""
    seen: list[str] = []

    async def on_status(status: TriggerStatus, _: object) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(status.status)

    callbacks: list[Callable[..., Any]] = [lambda s, _: seen.append(s.status), on_status]
    for callback in callbacks:
        seen.clear()
        runs = scripted_run((0, "Pending"), (20, "Running"), (30, None), (40, "Running"))
        runs.scripts["0"].append((60, "Succeeded"))
        await runs.wait(on_status=callback)
        assert seen == ["Pending", "Running", "Succeeded"]


async def test_on_unknown_status_is_called_for_undocumented_statuses_only() -> None:
    """It is called whenever the status changes to an undocumented one."""
    seen: list[TriggerStatus] = []
    runs = scripted_run((0, "Mulling"), (20, "Running"), (40, "Mulling"), (60, "Succeeded"))
    await runs.wait(on_unknown_status=seen.append)
    assert seen == [TriggerStatus("Mulling")] * 2


class Hangs:
    """An ``on_status`` callback that hangs on one status."""

    def __init__(self, status: str) -> None:
        self.status = status

    async def __call__(self, status: TriggerStatus, _: object) -> None:
        if status.status == self.status:
            await anyio.sleep_forever()


async def test_a_callback_that_hangs_does_not_extend_a_wait() -> None:
    """``on_status`` is canceled two seconds after the time limit, with a warning."""
    runs = scripted_run((0, "Running"), (20, "Succeeded"))
    with pytest.raises(WaitTimeout) as caught:
        await runs.wait(timeout=100.0, on_status=Hangs("Running"))
    assert runs.clock.now() == pytest.approx(102, abs=0.01)
    assert caught.value.last_status == TriggerStatus("Running")


async def test_a_callback_that_hangs_hides_no_final_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the run has ended, its status is the result even if ``on_status`` was canceled."""
    runs = scripted_run((0, "Running"), (20, "Succeeded"))
    status = await runs.wait(timeout=100.0, on_status=Hangs("Succeeded"))
    assert status == TriggerStatus("Succeeded")
    assert runs.clock.now() == pytest.approx(102, abs=0.01)
    assert caplog.messages == [
        "on_status did not finish in time for trigger 0 ('Succeeded') and was canceled"
    ]
