"""Limit a client's requests: pause them after a 429 and enforce a retry budget."""

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
    A gate that delays all requests of a client while it is rate limited.

    :ivar paused_until: the time on the client's clock at which requests may be sent again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.paused_until = -inf

    def pause(self, seconds: float) -> None:
        """Pause for the given number of seconds, unless a longer pause is already in effect."""
        self.paused_until = max(self.paused_until, self._clock.now() + seconds)

    async def wait(self, max_seconds: float) -> None:
        """
        Wait until requests may be sent.

        :param max_seconds: the maximum time to wait, in seconds.
        :raises RateLimited: immediately, if the pause lasts longer than ``max_seconds``.
        """
        while (seconds := self.paused_until - self._clock.now()) > 0:
            if seconds > max_seconds:
                raise RateLimited(
                    f"not sent: rate limited by an earlier 429 for another {seconds:.0f} s",
                    status_code=_TOO_MANY_REQUESTS,
                    retry_after=seconds,
                )
            await self._clock.sleep(seconds)


class RetryBudget:
    """
    A budget that limits a client's retries to about a tenth of its requests.

    Each retry costs one token, and each successful request earns a tenth of a token. During an
    outage, the server sees one burst of retries, then none. A retry is free if the server
    requested it with a 429 and a `Retry-After` header.
    """

    def __init__(self, tokens: float = 100.0) -> None:
        self._max_tokens = tokens
        self._tokens = tokens

    def refill(self) -> None:
        """Add the tokens that a successful request earns."""
        self._tokens = min(self._max_tokens, self._tokens + 0.1)

    def spend(self, error: BaseException | None) -> bool:
        """Charge a retry after an error. Return False if the budget is exhausted."""
        if isinstance(error, RateLimited) and error.retry_after:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
