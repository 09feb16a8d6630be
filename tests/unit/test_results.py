"""Results as an async iterator, and their progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AuthenticationError, Outcome, Progress, RunResult, TriggerStatus
from support.runs import ScriptedRuns, scripted_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def test_progress_counts_triggers_results_polls_and_time() -> None:
    """A trigger is active until its result, which is a success, a failure or unknown."""
    runs = ScriptedRuns(
        {
            "good": [(0, "Running"), (60, "Succeeded")],
            "bad": [(0, "Running"), (30, "Failed (Timeout)")],
            "late": [(0, None)],
            "rejected": [(0, AuthenticationError("no", status_code=403))],
        }
    )
    async with runs.clock.autojump():
        async with runs.results(list(runs.scripts), timeout=100.0) as results:
            count = 0
            async for _ in results:
                count += 1
                progress = results.progress
                assert progress.triggered == 4
                assert progress.active == 4 - count
                assert progress.succeeded + progress.failed + progress.unknown == count
                assert progress.polls == len(runs.polls)
                assert progress.seconds == pytest.approx(runs.clock.now())
        await runs.clock.sleep(1000)
    seconds = results.progress.seconds
    assert results.progress == Progress(
        total=4,
        triggered=4,
        active=0,
        succeeded=1,
        failed=1,
        unknown=2,
        polls=len(runs.polls),
        seconds=seconds,
    )
    assert seconds == pytest.approx(100, abs=0.1)


def test_progress_is_zero_before_the_block() -> None:
    """Nothing is counted before the ``async with`` block is entered."""
    assert ScriptedRuns({}).results([]).progress == Progress()


async def test_a_result_with_an_error_counts_as_unknown() -> None:
    """A wait that ended with an error is not a success, whatever its last status."""
    runs = scripted_run((0, "Succeeded"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with runs.clock.autojump(), runs.results(["0"], on_status=fail) as results:
        assert isinstance((await anext(results)).error, ZeroDivisionError)
    assert (results.progress.succeeded, results.progress.unknown) == (0, 1)


async def test_leaving_the_block_stops_the_work() -> None:
    """After the block, no polls are sent, and an async generator used as source is closed."""
    runs = ScriptedRuns({"a": [(10, "Succeeded")], "b": [(0, None)]})
    is_closed = False

    async def source() -> AsyncIterator[Any]:
        nonlocal is_closed
        try:
            yield "a"
            yield "b"
            await anyio.sleep_forever()
        finally:
            is_closed = True

    async with runs.clock.autojump():
        async with runs.results(source()) as results:
            assert (await anext(results)).trigger_id == "a"
            assert results.progress.active == 1
        polls, left_at = len(runs.polls), runs.clock.now()
        await runs.clock.sleep(1000)
    assert is_closed
    assert left_at < 20
    assert len(runs.polls) == polls
    assert results.progress.active == 0


async def test_canceling_the_block_stops_the_work() -> None:
    """A block that is canceled while waiting for a result ends immediately."""
    runs = scripted_run((0, None))
    async with runs.clock.autojump():
        with runs.clock.move_on_after(50) as scope:
            async with runs.results(["0"]) as results:
                await anext(results)
        assert scope.cancelled_caught
        assert runs.clock.now() == pytest.approx(50, abs=0.01)
        polls = len(runs.polls)
        await runs.clock.sleep(100)
    assert len(runs.polls) == polls


async def test_the_outcome_is_what_classify_returns() -> None:
    """The outcome of a result is the reading of `classify`, and is what the progress counts."""
    runs = ScriptedRuns({"a": [(0, "Done, mostly")], "b": [(0, "Succeeded")]})

    def classify(status: TriggerStatus) -> Outcome:
        return Outcome.FAILED if status.status == "Succeeded" else Outcome.SUCCEEDED

    async with runs.clock.autojump(), runs.results(["a", "b"], classify=classify) as results:
        outcomes = {result.trigger_id: result.outcome async for result in results}
    assert outcomes == {"a": Outcome.SUCCEEDED, "b": Outcome.FAILED}
    assert (results.progress.succeeded, results.progress.failed) == (1, 1)


async def test_the_total_is_the_number_of_triggers_once_they_have_been_read() -> None:
    """`total` is None until the last trigger has been read."""
    runs = ScriptedRuns({"a": [(0, "Succeeded")], "b": [(100, "Succeeded")]})
    totals: list[int | None] = []

    async def source() -> AsyncIterator[str]:
        for trigger in ("a", "b"):
            totals.append(results.progress.total)
            yield trigger
            await runs.clock.sleep(50)

    results = runs.results(source())
    async with runs.clock.autojump(), results:
        totals += [results.progress.total async for _ in results]
    assert totals == [None, None, None, 2]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (TriggerStatus("Succeeded"), Outcome.SUCCEEDED),
        (TriggerStatus("Failed (Timeout)"), Outcome.FAILED),
        (TriggerStatus("Running"), Outcome.UNKNOWN),
        (None, Outcome.UNKNOWN),
    ],
)
def test_a_result_that_a_user_creates_has_an_outcome(
    status: TriggerStatus | None, outcome: Outcome
) -> None:
    """The outcome of a result that was not created by a wait is that of its status."""
    result = RunResult("1", status, None, 2, 3.0)
    assert (result.outcome, result.outcome_unknown) == (outcome, outcome is Outcome.UNKNOWN)
