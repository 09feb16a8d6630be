"""The one source of time of an emulator: that of every day, or a faster one."""

import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from math import inf

import anyio

NOTHING = nullcontext()
NOT_MANUAL = "this clock goes by itself; Emulator(clock=ManualClock()) has one that is driven"


class Clock:
    """
    Count seconds since the start, and name the date that each of them has.

    While one second of every day goes by, this clock goes on by `speed` of them. It has all that
    the client asks of a clock, so that a client may sleep by it. A subclass that overrides `now`
    drives an emulator: nothing else reads the time.

    :raises ValueError: the speed is not finite and above 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.epoch: datetime = datetime.now(UTC)
        self._speed = validate_speed(speed)
        self._base = (time.monotonic(), 0.0)

    @property
    def speed(self) -> float:
        """How fast it goes; a sleep that has begun keeps the speed at which it began."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        speed = validate_speed(speed)
        self._base = (time.monotonic(), Clock.now(self))
        self._speed = speed

    def now(self) -> float:
        """Return the seconds since the start."""
        began, seconds = self._base
        return seconds + (time.monotonic() - began) * self._speed

    def at(self, seconds: float) -> datetime:
        """Return the date of a moment; the same moment always has the same date."""
        return self.epoch + timedelta(seconds=seconds)

    def wall(self) -> datetime:
        """Return the date of now."""
        return self.at(self.now())

    def put_forward(self, seconds: float) -> None:
        """Go on by so many seconds at once; a sleep that has begun takes no notice."""
        self._base = (time.monotonic(), Clock.now(self) + seconds)

    async def sleep(self, seconds: float) -> None:
        """Return once so many seconds of this clock are over."""
        await anyio.sleep(seconds / self._speed)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel what is within once so many seconds of this clock are over."""
        return anyio.move_on_after(seconds / self._speed)

    def waiting_for_io(self) -> AbstractContextManager[object]:
        """Do nothing: this clock waits for nobody."""
        return NOTHING

    async def advance(self, seconds: float) -> None:
        """
        Refuse: a `ManualClock` can be advanced, this one cannot.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"cannot advance by {seconds!r} seconds: {NOT_MANUAL}")

    def autojump(self) -> AbstractAsyncContextManager[None]:
        """
        Refuse: a `ManualClock` can skip, this one cannot.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"cannot skip: {NOT_MANUAL}")


def validate_speed(speed: object) -> float:
    """Read a speed, or raise ValueError."""
    if isinstance(speed, int | float) and not isinstance(speed, bool) and 0 < speed < inf:
        return speed
    raise ValueError(f"speed: must be a finite number above 0, not {speed!r}")
