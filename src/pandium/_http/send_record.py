"""Record whether a request may have been executed, whatever ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SendRecord"]


@attrs.define
class SendRecord:
    """
    A record of whether any attempt of a request may have been executed.

    The request must not be retried if the outcome of an attempt is unknown.

    :param validate: a function that raises an error if the request must no longer be sent.
    :ivar may_be_executed: whether an attempt may have been executed.
    """

    _validate: Callable[[], None]
    may_be_executed: bool = attrs.field(default=False, init=False)

    def begin_attempt(self) -> None:
        """
        Validate the request, and record that an attempt may be executed.

        Called before each attempt, and again once it has a connection.

        :raises Exception: the error that ``validate`` raises.
        """
        self._validate()
        self.may_be_executed = True

    def mark_not_executed(self) -> None:
        """Record that no attempt so far was executed."""
        self.may_be_executed = False
