"""The dates of cron schedules, and their random delays."""

import random
from datetime import UTC, datetime

from cronsim import CronSim
from pydantic import Field

from pandium.emulator.state.record_base import Record

# The shortest time between two dates of a schedule.
MINUTE = 60


class ScheduleDelay(Record):
    """
    The maximum delay of a scheduled run in seconds, and the seed of the random delays.

    A delay depends only on the seed, the tenant and the date.
    """

    within: float = Field(default=0.0, ge=0, le=MINUTE)
    seed: int = 0

    def seconds(self, tenant_id: int, date: datetime) -> float:
        """Return the delay of a tenant's run at a date."""
        source = random.Random(f"{self.seed} {tenant_id} {date.isoformat()}")  # noqa: S311 - no secret
        return source.uniform(0.0, self.within)


class Schedule:
    """The dates of a cron expression after a date, in UTC, for the next fifty years."""

    def __init__(self, text: str, after: datetime) -> None:
        self.text = text
        self._dates = CronSim(text, after.astimezone(UTC))

    def next(self) -> datetime | None:
        """Advance to the next date and return it, or return None if there is none."""
        return next(self._dates, None)
