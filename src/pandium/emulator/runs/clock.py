"""The clock of an emulator, which runs in real time or faster."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio

NOTHING = nullcontext()
MAX_SPEED = 1_000_000  # the clock reaches the end of the calendar after three days
NOT_MANUAL = "this clock runs by itself: use Emulator(clock=ManualClock()) to control the time"


class DueWork(Protocol):
    """Work outside the event loop that becomes due as a clock advances."""

    def next_due(self) -> datetime:
        """Return the next date at which there may be work."""
        ...

    async def finish(self) -> bool:
        """Do the work that is due, and return whether there was any."""
        ...


class Clock:
    """
    A clock that starts at the current date and runs at a constant speed.

    The emulator and the clients of a test can share it. To control the time in another way,
    override `now` in a subclass. All other methods that return the time call it.

    :param speed: the number of seconds that pass in one second of real time, 1 by default.
    :raises ValueError: if the speed is not a finite number above 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.epoch: datetime = datetime.now(UTC)
        self._speed = validate_speed(speed)
        self._base = (time.monotonic(), 0.0)

    @property
    def speed(self) -> float:
        """The speed. Changing it does not affect a sleep that has already begun."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        speed = validate_speed(speed)
        self._base = (time.monotonic(), Clock.now(self))
        self._speed = speed

    def now(self) -> float:
        """Return the time since the start, in seconds."""
        began, seconds = self._base
        return seconds + (time.monotonic() - began) * self._speed

    def at(self, seconds: float) -> datetime:
        """Return the date at a number of seconds after the start."""
        return self.epoch + timedelta(seconds=seconds)

    def wall(self) -> datetime:
        """Return the current date and time in UTC."""
        return self.at(self.now())

    def put_forward(self, seconds: float) -> None:
        """Add seconds to the current time. This does not affect a sleep that has already begun."""
        self._base = (time.monotonic(), Clock.now(self) + seconds)

    async def sleep(self, seconds: float) -> None:
        """Sleep for the given number of seconds of this clock."""
        await anyio.sleep(seconds / self._speed)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Return a context manager that cancels its block after this number of seconds."""
        return anyio.move_on_after(seconds / self._speed)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Return a context manager that does nothing, because this clock never stops."""
        return NOTHING

    def attach(self, _work: DueWork) -> Callable[[], None]:
        """Do nothing, because this clock does not wait. Return a function that does nothing."""
        return lambda: None

    async def advance(self, seconds: float) -> None:
        """
        Raise an error, because only a `ManualClock` can be advanced.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"cannot advance by {seconds!r} seconds: {NOT_MANUAL}")

    def autojump(self) -> AbstractAsyncContextManager[None]:
        """
        Raise an error, because only a `ManualClock` can jump to the next event.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"cannot jump to the next event: {NOT_MANUAL}")


def validate_speed(speed: object) -> float:
    """Validate a speed."""
    if isinstance(speed, int | float) and not isinstance(speed, bool) and 0 < speed <= MAX_SPEED:
        return speed
    raise ValueError(f"speed: must be above 0 and at most {MAX_SPEED:_}, not {speed!r}")
