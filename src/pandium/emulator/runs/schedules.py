"""Cron strings: what is wrong with one, and when it is due."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

FIELDS = 5
# The shortest time between two dates of a schedule.
MINUTE = 60
SOME_DATE = datetime(2026, 1, 1, tzinfo=UTC)


def find_cron_error(schedule: str) -> str | None:
    """Return what is wrong with a cron string, or None."""
    fields = len(schedule.split())
    if fields != FIELDS:  # the library takes a sixth, for seconds
        return f"five fields are due, not {fields}"
    try:
        CronSim(schedule, SOME_DATE)
    except CronSimError as error:
        return str(error).lower()
    return None


# The seconds after a date of a schedule at which the run of a tenant starts.
Delay = Callable[[int, datetime], float]


def no_delay(_tenant_id: int, _date: datetime) -> float:
    """Start each run on the minute."""
    return 0.0


def random_delay(within: object, seed: object) -> Delay:
    """Return a delay that depends only on its arguments and the seed, or raise ValueError."""
    if isinstance(within, bool) or not isinstance(within, int | float) or not 0 <= within <= MINUTE:
        raise ValueError(f"within: must be 0 to {MINUTE} seconds, not {within!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed: must be an integer, not {seed!r}")
    longest = within

    def delay(tenant_id: int, date: datetime) -> float:
        source = random.Random(f"{seed} {tenant_id} {date.isoformat()}")  # noqa: S311 - no secret
        return source.uniform(0.0, longest)

    return delay


class Schedule:
    """The dates of a cron string after a date, in UTC, as far as the next fifty years go."""

    def __init__(self, text: str, after: datetime) -> None:
        self.text = text
        self._dates = CronSim(text, after.astimezone(UTC))

    def next(self) -> datetime | None:
        """Return the next date; each call takes one."""
        return next(self._dates, None)
