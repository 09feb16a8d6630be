"""The one source of time of an emulator."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """
    Count seconds since the start, and name the date that each of them has.

    A subclass that overrides `now` drives an emulator: nothing else reads the time.
    """

    def __init__(self) -> None:
        self.epoch: datetime = datetime.now(UTC)
        self._zero = time.monotonic()

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._zero

    def at(self, seconds: float) -> datetime:
        """Return the date of a moment; the same moment always has the same date."""
        return self.epoch + timedelta(seconds=seconds)

    def wall(self) -> datetime:
        """Return the date of now."""
        return self.at(self.now())
