"""The retry policy for polling: tenacity decides after each poll whether and when to poll again."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, NoReturn

from pandium._user_code import is_user_error
from pandium.errors import (
    APIError,
    DecodeError,
    NotFound,
    RateLimited,
    ServerError,
    TransportError,
)
from pandium.models import Outcome

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from pandium._waiting.polling import TriggerWait

__all__ = ["PollPolicy", "is_transient"]

# A separate logger, so that a program can show these warnings even if it hides the others.
_log = logging.getLogger("pandium.waiting")

_LOG_INTERVAL = 60.0  # seconds

# Any redirect, Request Timeout, and the statuses with which a gateway reports a closed connection.
_TRANSIENT_STATUS_CODES = {*range(100, 200), *range(300, 400), 408, 460, 499}


class PollPolicy:
    """
    A tenacity policy that all triggers of a scheduler share. It does not use tenacity's retry loop.

    The loop would need a task and a ``RetryCallState`` for each trigger. Instead, a state is
    created for each decision, and the scheduler sleeps between polls.
    """

    def __init__(self) -> None:
        import tenacity  # noqa: PLC0415 - slow to import, and most programs never wait for runs

        self._log = TransientErrorLog()
        self._new_state = tenacity.RetryCallState
        self._sleep_action = tenacity.DoSleep
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(_is_active) | tenacity.retry_if_exception(_is_retryable),
            wait=lambda state: _wait_of(state).next_delay(),
            stop=lambda state: _wait_of(state).is_overdue(),
            after=self._log_error,
            retry_error_callback=_raise_timeout,
        )

    def decide(self, wait: TriggerWait, outcome: Outcome | Exception) -> float | None:
        """
        Decide whether to poll again.

        :param wait: the trigger that was polled.
        :param outcome: the current outcome of the run, or the error that the poll raised.
        :returns: the delay before the next poll in seconds, or ``None`` once the run has ended.
        :raises WaitTimeout: if the time limit has been reached.
        :raises Exception: the error that the poll raised, if polling again cannot help.
        """
        if isinstance(outcome, Exception) and not _is_retryable(outcome):
            raise outcome  # tenacity would return an error that is false instead of raising it
        state = self._new_state(self._retrying, fn=None, args=(wait,), kwargs={})
        if isinstance(outcome, Exception):
            state.set_exception((type(outcome), outcome, outcome.__traceback__))
        else:
            state.set_result(outcome)
        self._retrying.begin()  # creates the statistics that iter() updates
        action = self._retrying.iter(state)
        return float(action) if isinstance(action, self._sleep_action) else None

    def _log_error(self, state: RetryCallState) -> None:
        error = _error_of(state)
        if error is not None and not isinstance(error, NotFound):
            self._log.add(_wait_of(state), error)


class TransientErrorLog:
    """
    A log of failed polls that remains short during an outage.

    An error is logged as a warning unless one of the same kind, for any trigger, was logged within
    the last minute.
    """

    def __init__(self) -> None:
        self._logged_at: dict[object, float] = {}
        self._omitted = 0

    def add(self, wait: TriggerWait, error: BaseException) -> None:
        """
        Log an error, or count it.

        :param wait: the trigger whose poll failed.
        :param error: the error that the poll raised.
        """
        kind, now = (type(error), getattr(error, "status_code", None)), wait.options.clock.now()
        if now - self._logged_at.get(kind, -inf) < _LOG_INTERVAL:
            self._omitted += 1
            return
        more = f" (and {self._omitted} more polls since the last warning)" if self._omitted else ""
        self._logged_at[kind], self._omitted = now, 0
        polled = wait.options.polled.format(wait.trigger_id)
        _log.warning("polling %s failed: %s; polling continues%s", polled, error, more)


def _wait_of(state: RetryCallState) -> TriggerWait:
    wait: TriggerWait = state.args[0]
    return wait


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _is_active(outcome: Outcome) -> bool:
    return outcome is Outcome.ACTIVE


def _is_retryable(error: BaseException) -> bool:
    if is_user_error(error):
        return False
    # A 404 means that the trigger has no run yet.
    return isinstance(error, NotFound) or is_transient(error)


def is_transient(error: BaseException) -> bool:
    """Return whether polling again after an error may help."""
    # A redirect or a response that cannot be decoded is usually sent by a gateway, because the API
    # sends neither.
    if isinstance(error, (TransportError, ServerError, RateLimited, DecodeError)):
        return True
    return isinstance(error, APIError) and error.status_code in _TRANSIENT_STATUS_CODES


def _raise_timeout(state: RetryCallState) -> NoReturn:
    raise _wait_of(state).timeout_error()
