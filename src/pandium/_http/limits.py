"""Limit a client's requests: pause them after a 429 and enforce a retry budget."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import anyio

from pandium.errors import RateLimited

if TYPE_CHECKING:
    from pandium._clock import Clock

__all__ = ["RateLimitGate", "RequestPacer", "RetryBudget"]

_TOO_MANY_REQUESTS = 429
# The maximum length of a burst: the requests of this many seconds may be sent at once.
_BURST_SECONDS = 0.1
# A clock that is advanced by sleeping may stop just before the target time, because of rounding.
_ROUNDING_SECONDS = 1e-6


class RateLimitGate:
    """
    A gate that delays all requests of a client while it is rate limited.

    :param clock: the client's clock.
    :param pacer: the limit on the number of requests per second, or ``None``.
    :ivar paused_until: the time on the client's clock at which requests may be sent again.
    """

    def __init__(self, clock: Clock, pacer: RequestPacer | None = None) -> None:
        self._clock = clock
        self._pacer = pacer
        self._shares: dict[object, float] = {}
        self.paused_until = -inf

    def set_share(self, job: object, share: float) -> None:
        """
        Set the share of the rate that a bulk job leaves to this client.

        :param job: the job. If there are several, the smallest share applies.
        :param share: from 0, which stops all requests, to 1, which removes the limit of the job.
        """
        self._shares[job] = share
        if share == 1:
            del self._shares[job]
        if self._pacer is not None:
            self._pacer.set_share(min(self._shares.values(), default=1.0))

    def pause(self, seconds: float) -> None:
        """Pause for the given number of seconds, unless a longer pause is already in effect."""
        self.paused_until = max(self.paused_until, self._clock.now() + seconds)

    async def wait(self, max_seconds: float) -> None:
        """
        Wait until a request may be sent.

        :param max_seconds: the maximum duration of a pause, in seconds.
        :raises RateLimited: immediately, if the pause lasts longer than ``max_seconds``.
        """
        await self._wait_until_resumed(max_seconds)
        if self._pacer is None or self._pacer.count_now():
            return
        await self._pacer.wait()
        while self.paused_until > self._clock.now():
            # The pause began while the request was waiting for its turn. Wait for another turn
            # after the pause, because all requests that are waiting here resume at the same time.
            await self._wait_until_resumed(max_seconds)
            await self._pacer.wait()

    async def _wait_until_resumed(self, max_seconds: float) -> None:
        while (seconds := self.paused_until - self._clock.now()) > 0:
            if seconds > max_seconds:
                raise RateLimited(
                    f"not sent: rate limited by an earlier 429 for another {seconds:.0f} s",
                    status_code=_TOO_MANY_REQUESTS,
                    retry_after=seconds,
                )
            await self._clock.sleep(seconds)


class RequestPacer:
    """
    A limit on the number of requests per second, in order of arrival.

    After a period with fewer requests, at most a tenth of a second's worth is sent at once. A
    request that is canceled while it waits does not count.

    :param clock: the client's clock.
    :param rate: the maximum number of requests per second.
    """

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        # The time at which the last request would have been sent if there were no bursts. The next
        # one follows after the current interval, so a larger share takes effect at once.
        self._last_regular = -inf
        # Created on first use, because they belong to the event loop that creates them.
        self._resumed: anyio.Event | None = None
        self._turn: anyio.Lock | None = None
        self.set_share(1.0)

    def set_share(self, share: float) -> None:
        """Set the share of the rate that may be used. With a share of 0, requests wait."""
        self._interval = 1 / (self._rate * share) if share else inf
        self._allowance = max(0.0, _BURST_SECONDS - self._interval)
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def count_now(self) -> bool:
        """Count a request if it may be sent now. Return whether it may."""
        is_free = self._turn is None or not self._turn.locked()
        return is_free and self._try_to_count() <= 0

    async def wait(self) -> None:
        """Wait until the next request may be sent, and count it."""
        if self._turn is None:
            self._turn = anyio.Lock(fast_acquire=True)
        async with self._turn:
            while (seconds := self._try_to_count()) > 0:
                self._resumed = resumed = self._resumed or anyio.Event()
                if seconds == inf:
                    await resumed.wait()
                else:
                    with self._clock.move_on_after(seconds):
                        await resumed.wait()

    def _try_to_count(self) -> float:
        """Count a request if it may be sent now. Return the delay until then, in seconds."""
        if self._interval == inf:
            return inf
        now = self._clock.now()
        regular = self._last_regular + self._interval
        delay = regular - self._allowance - now
        if delay > _ROUNDING_SECONDS:
            return delay
        self._last_regular = max(regular, now)
        return 0.0


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
