"""Advance a run through its states: waiting, each phase of its script, and ended."""

from datetime import UTC, datetime, timedelta

from pandium.emulator.state.record_models import PhaseChange, Run
from pandium.emulator.state.scripts import Polls, Span

NEVER = datetime.max.replace(tzinfo=UTC)
# The vendor's status of a run that took too long.
KILLED = "Failed (Timeout)"


def later(date: datetime, seconds: float | None) -> datetime:
    """Return the date plus a number of seconds, or NEVER."""
    try:
        return NEVER if seconds is None else date + timedelta(seconds=seconds)
    except OverflowError:
        return NEVER


def expect(run: Run, date: datetime) -> None:
    """Set when a run at the front of its queue appears. A scheduled run appears immediately."""
    _start_step(run, 0 if run.is_scheduled else run.script.appears_after, date)


def next_change(run: Run) -> datetime:
    """Return the date at which the run advances without a poll, or NEVER."""
    until = run.until or NEVER
    if run.started_date is None:
        return until
    return min(until, later(run.started_date, run.script.killed_after))


def advance(run: Run, date: datetime) -> None:
    """Start the next phase or end the run, or kill it if its time limit has been reached."""
    if (run.until or NEVER) > date:
        _set_phase(run, KILLED, date)
        run.completed_date = date
    elif run.step == len(run.script.phases):
        run.completed_date = date
    else:
        run.started_date = run.started_date or date
        phase, span = run.script.phases[run.step]
        run.step += 1
        _set_phase(run, phase, date)
        _start_step(run, span, date)


def count_poll(run: Run, date: datetime) -> None:
    """Count a poll during a step that lasts for a number of polls."""
    run.polls -= 1
    run.until = None if run.polls else date


def _start_step(run: Run, span: Span, date: datetime) -> None:
    run.polls = span.polls if isinstance(span, Polls) else 0
    end = later(date, 0 if isinstance(span, Polls) else span)
    run.until = None if run.polls or end is NEVER else end


def _set_phase(run: Run, phase: str | None, date: datetime) -> None:
    run.phase = phase
    if phase is not None:
        run.history.append(PhaseChange(date=date, phase=phase))
