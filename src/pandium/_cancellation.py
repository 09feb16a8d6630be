"""Keep user code from ending a task or an iteration without an error."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["CancellationGuard", "as_iteration_error", "is_asyncio"]


class CancellationGuard:
    """
    A context manager that converts the cancellation of another task to a ``RuntimeError``.

    Code that awaits another task raises ``CancelledError`` if that task was canceled. In that case,
    asyncio ends the current task without an error, as if it had been canceled itself. A
    cancellation of the current task is re-raised unchanged.

    ```python
    with CancellationGuard("on_status"):
        await on_status(status)
    ```

    :param subject: the name of the code in the block, used as the subject of the error message.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._requests = 0

    def __enter__(self) -> None:
        # A pending request raises its cancellation at the next `await`. The task may have canceled
        # itself, as `asyncio.run` does when Ctrl-C is pressed while the task is running.
        self._requests = _count_cancel_requests() - _has_pending_request()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None and self._is_foreign(exc):
            name = type(exc).__name__
            text = f"{self._subject} raised {name}, but the current task was not canceled"
            # The traceback shows whose cancellation it was, and where it was raised.
            raise RuntimeError(text).with_traceback(traceback) from exc

    def _is_foreign(self, error: BaseException) -> bool:
        import asyncio  # noqa: PLC0415 - `import pandium` would take a fifth longer

        if isinstance(error, anyio.get_cancelled_exc_class()):
            return not self._is_canceled()
        # A library may raise the exception of asyncio although the event loop is trio's.
        return isinstance(error, asyncio.CancelledError)

    def _is_canceled(self) -> bool:
        # If an anyio scope was canceled, the deadline is -inf. If asyncio itself canceled the task,
        # the number of cancellation requests has increased.
        is_scope_canceled = anyio.current_effective_deadline() == -inf
        return is_scope_canceled or _count_cancel_requests() > self._requests


def as_iteration_error(error: Exception, subject: str) -> Exception:
    """
    Return an error that does not end an iteration silently if an iterator raises it.

    :param error: any error. A ``StopIteration`` or ``StopAsyncIteration`` is replaced with a
        ``RuntimeError``, as Python does in generators (PEP 479).
    :param subject: the name of the code that raised the error, for the error message.
    """
    if not isinstance(error, (StopIteration, StopAsyncIteration)):
        return error
    replacement = RuntimeError(f"{subject} raised {type(error).__name__}")
    replacement.__cause__ = error
    return replacement


def is_asyncio() -> bool:
    """Return whether the current event loop is an asyncio loop rather than a trio one."""
    import asyncio  # noqa: PLC0415 - `import pandium` would take a fifth longer

    return anyio.get_cancelled_exc_class() is asyncio.CancelledError


def _count_cancel_requests() -> int:
    task = _current_asyncio_task()
    return 0 if task is None else task.cancelling()


def _has_pending_request() -> bool:
    return bool(getattr(_current_asyncio_task(), "_must_cancel", False))  # not public


def _current_asyncio_task() -> asyncio.Task[Any] | None:
    import asyncio  # noqa: PLC0415 - `import pandium` would take a fifth longer

    return asyncio.current_task() if is_asyncio() else None
