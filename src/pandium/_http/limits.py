"""Limit what one client sends: a pause after a 429, and a budget for retries."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pandium.errors import RateLimited

if TYPE_CHECKING:
    from pandium._clock import Clock

__all__ = ["RateLimitGate", "RetryBudget"]

_TOO_MANY_REQUESTS = 429


class RateLimitGate:
    """
    Hold back every request of a client while the server has asked for a pause.

    :ivar paused_until: the clock's time at which requests may be sent again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.paused_until = -inf

    def pause(self, seconds: float) -> None:
        """Pause for this many seconds from now, or longer if a longer pause is in effect."""
        self.paused_until = max(self.paused_until, self._clock.now() + seconds)

    async def wait(self, max_seconds: float) -> None:
        """
        Wait until requests may be sent.

        :param max_seconds: the longest wait that is acceptable.
        :raises RateLimited: at once, if the pause is longer than that.
        """
        while (seconds := self.paused_until - self._clock.now()) > 0:
            if seconds > max_seconds:
                raise RateLimited(
                    f"rate limited by an earlier 429 for another {seconds:.0f} s; not sent",
                    status_code=_TOO_MANY_REQUESTS,
                    retry_after=seconds,
                )
            await self._clock.sleep(seconds)


class RetryBudget:
    """
    Limit the retries of one client to a tenth of its requests.

    Each retry costs a token, and each success earns a tenth of one. During an outage the server
    sees one burst of retries, then none. A retry is free if the server asked for it by a 429 with
    a `Retry-After`.
    """

    def __init__(self, tokens: float = 100.0) -> None:
        self._max_tokens = tokens
        self._tokens = tokens

    def refill(self) -> None:
        """Add what a success earns."""
        self._tokens = min(self._max_tokens, self._tokens + 0.1)

    def spend(self, error: BaseException | None) -> bool:
        """Pay for a retry after this error. Return False if the budget is exhausted."""
        if isinstance(error, RateLimited) and error.retry_after:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
