"""A client's clock and how a test replaces it."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from pandium._clock import RealClock, create_clock, use_clock


def test_the_real_clock_is_the_default() -> None:
    """A client uses the event loop's clock unless a test replaces it."""
    assert isinstance(create_clock(), RealClock)


def test_a_clock_is_used_within_its_block_only() -> None:
    """A replaced clock is in effect within the block, even if the block ends with an error."""
    clock = RealClock()
    with pytest.raises(KeyError), use_clock(clock):
        assert create_clock() is clock
        raise KeyError
    assert create_clock() is not clock


def test_the_innermost_block_decides() -> None:
    """In nested blocks, the innermost clock is used, then the outer one again."""
    outer, inner = RealClock(), RealClock()
    with use_clock(outer):
        with use_clock(inner):
            assert create_clock() is inner
        assert create_clock() is outer


def test_overlapping_blocks_may_end_in_any_order() -> None:
    """If the outer block ends first, the inner clock remains in use until its own block ends."""
    outer, inner = RealClock(), RealClock()
    outer_block, inner_block = use_clock(outer), use_clock(inner)
    outer_block.__enter__()
    inner_block.__enter__()
    outer_block.__exit__(None, None, None)
    assert create_clock() is inner
    inner_block.__exit__(None, None, None)
    assert isinstance(create_clock(), RealClock)
    assert create_clock() not in (outer, inner)


@pytest.mark.anyio
async def test_the_real_clock_follows_the_event_loop() -> None:
    """The real clock uses the event loop's time to read, sleep and cancel, and never stops."""
    clock = RealClock()
    began = clock.now()
    assert began == pytest.approx(anyio.current_time(), abs=1)
    with clock.waiting_for_io():
        await clock.sleep(0.01)
    # Event loops may wake a task up to one tick early.
    assert clock.now() - began > 0.009
    with clock.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_the_wall_clock_is_utc() -> None:
    """The real clock returns the current date and time in UTC."""
    wall = RealClock().wall()
    assert wall.tzinfo is UTC
    assert abs(datetime.now(UTC) - wall) < timedelta(seconds=5)
