"""Cron strings: what is wrong with one, and when it is due."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

FIELDS = 5
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


class Schedule:
    """The dates of a cron string after a date, in UTC, as far as the next fifty years go."""

    def __init__(self, text: str, after: datetime) -> None:
        self.text = text
        self._dates = CronSim(text, after.astimezone(UTC))

    def next(self) -> datetime | None:
        """Return the next date; each call takes one."""
        return next(self._dates, None)
