"""A producer in a background task, and the consumer of its items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pandium._background import Background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


async def test_a_background_task_is_entered_once_before_it_is_read() -> None:
    """Iterating before `async with`, leaving without it, or entering twice is an error."""

    async def produce(send: Callable[[int], Awaitable[None]]) -> None:
        await send(1)

    background = Background(produce, 1)
    with pytest.raises(RuntimeError, match="async with"):
        await anext(background)
    with pytest.raises(RuntimeError, match="not entered"):
        await background.__aexit__(None, None, None)
    async with background as items:
        assert [item async for item in items] == [1]
        with pytest.raises(RuntimeError, match="entered already"):
            await background.__aenter__()


async def test_an_error_of_the_task_is_raised_once() -> None:
    """The error follows the items sent before it, and ends the iteration."""

    async def produce(send: Callable[[int], Awaitable[None]]) -> None:
        await send(1)
        raise KeyError

    async with Background(produce, 1) as items:
        assert await anext(items) == 1
        with pytest.raises(KeyError):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)
