"""Pass errors raised by user code through layers that handle the library's own errors."""

from __future__ import annotations

from contextlib import suppress
from typing import NoReturn
from weakref import WeakValueDictionary

from pandium.errors import PandiumError

__all__ = ["UserCodeError", "is_user_error"]

# The library's errors that user code raised, by their ids. An attribute would change the errors.
_raised: WeakValueDictionary[int, PandiumError] = WeakValueDictionary()


def is_user_error(error: BaseException) -> bool:
    """
    Return whether user code raised an error during a request, whatever its class.

    Such an error may belong to another call, so it says nothing about this one.
    """
    return _raised.get(id(error)) is error


class UserCodeError(Exception):
    """
    An error that user code, such as an event hook, raised during a request.

    It wraps the error so that no layer mistakes it for one of the library's own, whatever its
    class. It never reaches users, because the transport re-raises the wrapped error.

    :ivar error: the error that user code raised.
    :ivar may_be_sent: whether the request may have been sent.
    """

    def __init__(self, error: Exception, *, may_be_sent: bool = True) -> None:
        super().__init__(error)
        self.error = error
        self.may_be_sent = may_be_sent

    def reraise(self) -> NoReturn:
        """
        Raise the wrapped error with its own context, and remember it for `is_user_error`.

        If the request may have been sent, ``outcome_unknown`` is set on an error of the library.
        The class of the error does not show whether the request was sent.
        """
        context = self.error.__context__
        if isinstance(self.error, PandiumError):
            _raised[id(self.error)] = self.error
            if self.may_be_sent:
                # The attributes of a frozen dataclass cannot be set in the usual way.
                with suppress(AttributeError):  # the user's class has a property of this name
                    object.__setattr__(self.error, "outcome_unknown", True)
        try:
            raise self.error
        finally:
            object.__setattr__(self.error, "__context__", context)
            del context  # a transport's error may show a signed URL
