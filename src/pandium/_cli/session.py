"""Run what a command asks of the API, and write what it gives."""

from __future__ import annotations

import logging
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import attrs
import click

from pandium import AsyncPandium, Retry
from pandium._cli.key import find_key
from pandium._cli.options import setting
from pandium._cli.output.rows import create_writer, write_json, write_record, write_text
from pandium._cli.output.terminal import note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import FrameType

    from pandium import Listing

    Ask: TypeAlias = Callable[[AsyncPandium], Awaitable[Any]]

__all__ = ["answer", "explaining", "run", "show", "walk"]

_LIMIT = 100
_IN_GOOD_ORDER = 5.0  # seconds that an end after Ctrl-C may take undisturbed
_log = logging.getLogger("pandium")


def run(use: Callable[[AsyncPandium], Awaitable[int]]) -> int:
    """
    Open a client by the options of the command line, and give the exit code of its use.

    :raises ConfigurationError: if there is no key, or another setting cannot be used.
    """
    options = _client_options()
    with _noting():
        return anyio.run(_use, use, options)


def _client_options() -> dict[str, Any]:
    found = {name: setting(name) for name in ("environment", "base_url", "timeout")}
    options = {name: value for name, value in found.items() if value is not None}
    if (attempts := setting("attempts")) is not None:
        options["retry"] = Retry(attempts=attempts)
    return {**options, "api_key": find_key(setting("key_file"))}


async def _use(use: Callable[[AsyncPandium], Awaitable[int]], options: dict[str, Any]) -> int:
    with _interrupted_once():
        async with AsyncPandium(**options) as client:
            return await use(client)


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let Ctrl-C begin an end in good order, and another soon after not break that off."""
    before, deaf_until = signal.getsignal(signal.SIGINT), -inf
    if not callable(before):  # it is ignored
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal deaf_until
        if (now := time.monotonic()) >= deaf_until:
            deaf_until = now + _IN_GOOD_ORDER
            before(number, frame)  # asyncio's cancels the first time, and raises the second

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if deaf_until == -inf:  # else it is not over before the program is
            signal.signal(signal.SIGINT, before)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


@contextmanager
def _noting() -> Iterator[None]:
    """Log to standard error: everything if asked to, and on a terminal what a person waits for."""
    is_debug, before = setting("debug", False), _log.level
    handler = _Notes(logging.DEBUG if is_debug else logging.WARNING)
    if not (is_debug or sys.stderr.isatty()):
        handler.setLevel(logging.ERROR)
    _log.setLevel(logging.DEBUG if is_debug else before)
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


def answer(ask: Ask) -> int:
    """Write what a call answers: text as it is, and anything else as JSON."""
    return run(partial(_answer, ask))


async def _answer(ask: Ask, client: AsyncPandium) -> int:
    data = await ask(client)
    if isinstance(data, str):
        write_text(data, sys.stdout)
    else:
        write_json(data, sys.stdout)
    return 0


def show(ask: Ask, kind: str) -> int:
    """Write the record that a call answers, or the list of them."""
    return run(partial(_show, ask, kind, setting("format", "table")))


async def _show(ask: Ask, kind: str, form: str, client: AsyncPandium) -> int:
    found = await ask(client)
    if isinstance(found, list):
        writer = create_writer(kind, form, sys.stdout)
        writer.write(found)
        writer.close()
        _tell_if_none(len(found))
    else:
        write_record(found, form, sys.stdout)
    return 0


def walk(ask: Callable[[AsyncPandium], Listing[Any]], kind: str) -> int:
    """Write the records of a listing as they come."""
    if setting("all") and setting("limit"):
        raise click.UsageError("--all and --limit exclude each other")
    limit = None if setting("all") else setting("limit", _LIMIT)
    names = ("skip", "page_size", "prefetch", "on_drift")
    paging = {name: value for name in names if (value := setting(name)) is not None}
    walked = _Walk(ask, kind, setting("format", "table"), limit, paging)
    with explaining(walked.going_on):
        return run(walked.run)


@contextmanager
def explaining(going_on: Callable[[], Iterable[str]]) -> Iterator[None]:
    """After Ctrl-C, say what goes on from there, if there is anything to say."""
    try:
        yield
    except KeyboardInterrupt:
        if said := "; ".join(going_on()):
            note(f"interrupted; {said}")
        raise


def _tell_if_none(written: int) -> None:
    if not written:
        note("nothing found")


@attrs.define
class _Walk:
    """A listing on its way to standard output."""

    ask: Callable[[AsyncPandium], Listing[Any]]
    kind: str
    form: str
    limit: int | None
    paging: dict[str, Any]
    next_skip: int | None = None

    def going_on(self) -> list[str]:
        """Say where to go on, once there is such a place."""
        return [] if self.next_skip is None else [f"--skip {self.next_skip} goes on from there"]

    async def run(self, client: AsyncPandium) -> int:
        """Write page after page; one record more than asked for shows whether there are more."""
        wanted = None if self.limit is None else self.limit + 1
        listing = attrs.evolve(self.ask(client), limit=wanted, **self.paging)
        self.next_skip, written, has_more = listing.skip, 0, False
        writer = create_writer(self.kind, self.form, sys.stdout)
        async for page in listing.pages():
            records = page.items if self.limit is None else page.items[: self.limit - written]
            has_more = len(records) < len(page.items)
            writer.write(records)
            sys.stdout.flush()
            written += len(records)
            self.next_skip = page.next_skip - has_more
        writer.close()
        _tell_if_none(written)
        if has_more:
            note(f"there are more: --all lists all of them, --skip {self.next_skip} goes on")
        return 0
