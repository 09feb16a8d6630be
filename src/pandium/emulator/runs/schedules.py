"""The dates of cron schedules, and their random delays."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim

# The shortest time between two dates of a schedule.
MINUTE = 60


@dataclass(frozen=True, slots=True)
class ScheduleDelay:
    """
    The random delay between a date of a schedule and the start of the run, in seconds.

    A delay depends only on the seed, the tenant and the date.
    """

    within: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        within, seed = self.within, self.seed
        is_number = isinstance(within, int | float) and not isinstance(within, bool)
        if not is_number or not 0 <= within <= MINUTE:
            raise ValueError(f"within: must be 0 to {MINUTE} seconds, not {within!r}")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"seed: must be an integer, not {seed!r}")

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
        """Return the next date and move on, or return None if there is none."""
        return next(self._dates, None)
