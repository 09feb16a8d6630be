"""Fetch a command's data and print it to standard output."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import click

from pandium import PandiumError, Trigger, to_json
from pandium._cli.options import get_option
from pandium._cli.output.rows import (
    create_writer,
    validate_columns,
    write_data,
    write_record,
    write_text,
)
from pandium._cli.output.terminal import note
from pandium._cli.session import hints_on_abort, resume_hints, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandium import AsyncPandium, Listing

    ClientCall: TypeAlias = Callable[[AsyncPandium], Awaitable[Any]]

__all__ = ["fetch_found", "fetch_json", "fetch_listing", "fetch_record"]

_DEFAULT_LIMIT = 100
_MAX_CHARACTERS = 10_000  # of a response in a message


def fetch_json(fetch: ClientCall, *, is_write: bool = False) -> int:
    """
    Fetch data and print it: text unchanged, anything else as JSON.

    :param fetch: a coroutine function that takes the client and returns the data.
    :param is_write: whether the request may change something.
    :returns: the exit code.
    """
    write = partial(_write_data, get_option("format", "json"))
    command = _FetchCommand(fetch, write, is_write)
    with hints_on_abort(command.hints):
        return run(command.run)


def _write_data(output_format: str, data: Any) -> None:
    if isinstance(data, str):
        write_text(data, sys.stdout)
    else:
        write_data(data, output_format, sys.stdout)


def fetch_record(fetch: ClientCall, kind: str, *, is_write: bool = False) -> int:
    """
    Fetch a record or a list of records and print it.

    :param fetch: a coroutine function that takes the client and returns the record or the list.
    :param kind: the class name of the records.
    :param is_write: whether the request may change something.
    :returns: the exit code.
    """
    output_format = get_option("format", "table")
    validate_columns(kind, output_format, get_option("columns"))  # before anything is sent
    write = partial(_write_records, kind, output_format)
    command = _FetchCommand(fetch, write, is_write)
    with hints_on_abort(command.hints):
        return run(command.run)


@attrs.define
class _FetchCommand:
    """
    A request whose response is printed.

    ``has_begun`` is whether the request may have been sent, and ``has_ended`` whether a successful
    response, which may be empty, has been received.
    """

    fetch: ClientCall
    write: Callable[[Any], None]
    is_write: bool
    has_begun: bool = False
    has_ended: bool = False
    response: Any = None

    async def run(self, client: AsyncPandium) -> int:
        """Print the response and return the exit code."""
        self.has_begun = True
        self.response = await self.fetch(client)
        self.has_ended = True
        self.write(self.response)
        sys.stdout.flush()
        return 0

    def hints(self, error: BaseException) -> list[str]:
        """Return what became of a request that may have changed something."""
        if not (self.is_write and self.has_begun):
            return []
        if self.has_ended:
            return _describe_response(self.response)
        is_interrupted = isinstance(error, KeyboardInterrupt)
        return ["the request may have been executed"] if is_interrupted else []


def _describe_response(response: Any) -> list[str]:
    if response is None:
        return ["the request was executed; the response is empty"]
    is_model = attrs.has(type(response))
    data = to_json(response).decode() if is_model else json.dumps(response, ensure_ascii=False)
    lines = [f"the request was executed; the response is {data[:_MAX_CHARACTERS]}"]
    is_trigger = isinstance(response, Trigger)
    return [*lines, *resume_hints([response.trigger_id])] if is_trigger else lines


def _write_records(kind: str, output_format: str, fetched: Any) -> None:
    if isinstance(fetched, list):
        writer = create_writer(kind, output_format, sys.stdout, get_option("columns"))
        writer.write(fetched)
        writer.close()
        _note_if_empty(len(fetched))
    else:
        write_record(fetched, output_format, sys.stdout, get_option("columns"))


def fetch_found(find: ClientCall, kind: str) -> int:
    """
    Search for a record and print it.

    :param find: a coroutine function that takes the client and returns the record or ``None``.
    :param kind: the class name of the record.
    :returns: the exit code.
    """

    async def find_or_raise(client: AsyncPandium) -> Any:
        found = await find(client)
        if found is None:
            raise PandiumError(f"no such {kind.lower()} was found")
        return found

    return fetch_record(find_or_raise, kind)


def _note_if_empty(written: int) -> None:
    if not written:
        note("nothing found")


def fetch_listing(create_listing: Callable[[AsyncPandium], Listing[Any]], kind: str) -> int:
    """
    Fetch a listing and print each page as it arrives.

    :param create_listing: a function that takes the client and returns the listing.
    :param kind: the class name of the records.
    :returns: the exit code.
    """
    if get_option("all") and get_option("limit"):
        raise click.UsageError("--all and --limit cannot be combined")
    limit = None if get_option("all") else get_option("limit", _DEFAULT_LIMIT)
    names = ("skip", "page_size", "prefetch", "on_drift")
    paging = {name: value for name in names if (value := get_option(name)) is not None}
    command = _ListingCommand(create_listing, kind, get_option("format", "table"), limit, paging)
    with hints_on_abort(command.resume_hints):
        return run(command.run)


@attrs.define
class _ListingCommand:
    """
    A listing that is being printed.

    ``next_skip`` is the ``--skip`` value that resumes the listing, or ``None`` before it starts.
    """

    create_listing: Callable[[AsyncPandium], Listing[Any]]
    kind: str
    output_format: str
    limit: int | None
    paging: dict[str, Any]
    next_skip: int | None = None

    def resume_hints(self, error: BaseException) -> list[str]:
        """Return a hint on how to resume, if the listing has started."""
        if isinstance(error, BrokenPipeError):  # this is normal
            return []
        if self.next_skip in (None, self.paging.get("skip", 0)):  # no record was printed
            return []
        return [f"to resume, use --skip {self.next_skip}"]

    async def run(self, client: AsyncPandium) -> int:
        """Print all pages and return the exit code."""
        # Fetch one record more than the limit to find out whether there are more records.
        fetch_limit = None if self.limit is None else self.limit + 1
        listing = attrs.evolve(self.create_listing(client), limit=fetch_limit, **self.paging)
        self.next_skip, written, has_more = listing.skip, 0, False
        writer = create_writer(self.kind, self.output_format, sys.stdout, get_option("columns"))
        async for page in listing.pages():
            records = page.items if self.limit is None else page.items[: self.limit - written]
            has_more = len(records) < len(page.items)
            writer.write(records)
            sys.stdout.flush()
            written += len(records)
            self.next_skip = page.next_skip - has_more
        writer.close()
        _note_if_empty(written)
        if has_more:
            note(f"there are more records: use --all, or --skip {self.next_skip} to continue")
        return 0
