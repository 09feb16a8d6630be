"""Results as an async iterator, and their progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AuthenticationError, Progress
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
    assert results.progress == Progress(4, 0, 1, 1, 2, len(runs.polls), seconds)
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
