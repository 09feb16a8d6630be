"""The retry policy for polling: when tenacity decides to poll again."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pandium import (
    APIError,
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    DecodeError,
    NotFound,
    Outcome,
    RateLimited,
    RequestTimeout,
    ServerError,
    TriggerStatus,
    WaitTimeout,
)
from pandium._waiting.policy import PollPolicy
from pandium._waiting.polling import TriggerWait
from pandium.emulator import ManualClock
from support.runs import scripted_run

RETRIED: list[Exception] = [
    NotFound("no run yet", status_code=404),
    APIError("timed out", status_code=408),
    APIError("a gateway asks for another protocol", status_code=101),
    APIError("the gateway's client closed the connection", status_code=460),
    APIError("the gateway's client closed the request", status_code=499),
    APIError("moved", status_code=302),
    RateLimited("slow down", status_code=429),
    ServerError("error", status_code=500),
    ServerError("down", status_code=503),
    ConnectFailed("refused"),
    ConnectionLost("gone"),
    RequestTimeout("too slow"),
    DecodeError("not JSON"),
]


class FalseError(Exception):
    """An error that is false, such as one that contains an empty list of errors."""

    def __len__(self) -> int:
        return 0


FATAL: list[Exception] = [
    AuthenticationError("no", status_code=403),
    APIError("bad", status_code=400),
    APIError("gone", status_code=410),
    ZeroDivisionError(),
    FalseError(),
]


def new_wait(**options: Any) -> TriggerWait:
    return TriggerWait("key", "7", scripted_run().options(**options), 0.0)


def name(error: Exception) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status_code', '')}"


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_the_end_of_a_run_ends_the_polling(outcome: Outcome) -> None:
    """A run that has ended is not polled again, not even after the time limit."""
    assert PollPolicy().decide(new_wait(), outcome) is None
    assert PollPolicy().decide(new_wait(timeout=0.0), outcome) is None


@pytest.mark.parametrize("outcome", [Outcome.ACTIVE, *RETRIED], ids=str)
def test_what_may_change_is_polled_again(outcome: Outcome | Exception) -> None:
    """After an active status, a 404 or a transient error, polling continues as usual."""
    assert PollPolicy().decide(new_wait(), outcome) == 1.0


@pytest.mark.parametrize("outcome", [Outcome.ACTIVE, *RETRIED], ids=str)
def test_the_time_limit_ends_the_polling(outcome: Outcome | Exception) -> None:
    """Once the time limit has been reached, WaitTimeout is raised instead of polling again."""
    with pytest.raises(WaitTimeout) as caught:
        PollPolicy().decide(new_wait(timeout=0.0), outcome)
    assert caught.value.trigger_id == "7"


@pytest.mark.parametrize("timeout", [0.0, 100.0])
@pytest.mark.parametrize("error", FATAL, ids=name)
def test_other_errors_end_the_polling(error: Exception, timeout: float) -> None:
    """An error that polling again cannot resolve is raised unchanged."""
    with pytest.raises(type(error)) as caught:
        PollPolicy().decide(new_wait(timeout=timeout), error)
    assert caught.value is error


@pytest.mark.parametrize("outcome", [Outcome.ACTIVE, *RETRIED, *FATAL], ids=str)
def test_nothing_of_the_retry_library_escapes(outcome: Outcome | Exception) -> None:
    """No error, cause or context has a type from tenacity."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each kind of error
        PollPolicy().decide(new_wait(timeout=0.0), outcome)
    error: BaseException | None = caught.value
    while error is not None:
        assert not type(error).__module__.startswith("tenacity")
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("error", RETRIED, ids=name)
def test_transient_errors_are_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A transient error is logged with the trigger's id. A 404 is not logged."""
    PollPolicy().decide(new_wait(), error)
    is_404 = isinstance(error, NotFound)
    expected = [] if is_404 else [f"polling trigger 7 failed: {error}; polling continues"]
    assert caplog.messages == expected


@pytest.mark.anyio
async def test_an_outage_is_logged_rarely(caplog: pytest.LogCaptureFixture) -> None:
    """Errors of one kind are logged once a minute for all triggers, and the others are counted."""
    clock = ManualClock()
    policy, first = PollPolicy(), new_wait(clock=clock)
    second = attrs.evolve(first, trigger_id="8")
    for wait in (first, second, first):
        policy.decide(wait, ConnectFailed("refused"))
    policy.decide(second, ServerError("down", status_code=503))
    policy.decide(second, ServerError("broken", status_code=500))
    async with clock.autojump():
        await clock.sleep(61)
    policy.decide(second, ConnectFailed("refused"))
    more = " (and 2 more polls since the last warning)"
    assert caplog.messages == [
        "polling trigger 7 failed: refused; polling continues",
        f"polling trigger 8 failed: down; polling continues{more}",
        "polling trigger 8 failed: broken; polling continues",
        "polling trigger 8 failed: refused; polling continues",
    ]


@pytest.mark.anyio
async def test_a_404_is_polled_again_at_any_time() -> None:
    """A 404 before the first status or between two statuses does not end a wait."""
    runs = scripted_run((0, None), (1200, "Running"), (1230, None), (1260, "Succeeded"))
    assert await runs.wait() == TriggerStatus("Succeeded")


@pytest.mark.anyio
async def test_transient_errors_are_waited_out() -> None:
    """A wait survives a sequence of all transient errors."""
    runs = scripted_run(*((10.0 * number, error) for number, error in enumerate(RETRIED)))
    runs.scripts["0"].append((80, "Succeeded"))
    assert (await runs.wait()).status == "Succeeded"


@pytest.mark.anyio
async def test_an_error_that_is_false_ends_a_wait() -> None:
    """An error that user code raises in a poll is raised by the wait, even if it is false."""
    error = FalseError()
    with pytest.raises(FalseError) as caught:
        await scripted_run((0, "Running"), (10, error)).wait()
    assert caught.value is error


@pytest.mark.anyio
async def test_another_error_ends_a_wait_at_once() -> None:
    """The error for a rejected key is raised by the first poll that receives it."""
    runs = scripted_run((0, "Running"), (10, AuthenticationError("no", status_code=403)))
    with pytest.raises(AuthenticationError):
        await runs.wait()
    assert runs.clock.now() < 20
