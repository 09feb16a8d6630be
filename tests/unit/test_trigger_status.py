"""The arguments of a wait and its use of the client."""

from __future__ import annotations

import logging
from math import inf, nan
from typing import TYPE_CHECKING, Any

import pytest

from pandium import AsyncPandium, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[AsyncPandium]:
    async with AsyncPandium("key", base_url="http://127.0.0.1:1") as open_client:
        yield open_client


NOT_A_POLLING: Any = {"first": 1}
INVALID: list[tuple[str, object]] = [
    *(("timeout", value) for value in (-1, nan, "60", True, None)),
    ("poll", NOT_A_POLLING),
    ("classify", None),
    ("on_status", "print"),
]


@pytest.mark.parametrize(("argument", "value"), INVALID)
async def test_invalid_arguments_are_rejected(
    client: AsyncPandium, argument: str, value: Any
) -> None:
    """An invalid argument is a ValueError that names it, and nothing is sent."""
    options: dict[str, Any] = {argument: value}
    with pytest.raises(ValueError, match=rf"^{argument} must be "):
        await client.runs.wait("t", **options)
    with pytest.raises(ValueError, match=rf"^{argument} must be "):
        client.runs.as_completed(["t"], **options)
    with pytest.raises(ValueError, match=rf"^{argument} must be "):
        await client.runs.wait_all(["t"], **options)


@pytest.mark.parametrize("triggers", ["123", b"123", 7, None])
async def test_triggers_must_be_an_iterable(client: AsyncPandium, triggers: Any) -> None:
    """A single id is a ValueError. Its characters are not treated as ids."""
    with pytest.raises(ValueError, match="triggers"):
        client.runs.as_completed(triggers)


async def test_no_poll_is_sent_while_the_client_is_paused(client: AsyncPandium) -> None:
    """No polls are sent or counted while any request has rate limited the client."""
    client._transport.connections.gate.paused_until = inf
    with pytest.raises(WaitTimeout) as caught:
        await client.runs.wait("t", timeout=0.05)
    assert caught.value.polls == 0


def test_the_library_installs_no_log_handler() -> None:
    """The application decides how to handle log records."""
    assert logging.getLogger("pandium").handlers == []
