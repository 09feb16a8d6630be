"""Create command callbacks from functions that take a client."""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, TypeAlias

from pandium._cli.options import format_option, paging_options

if TYPE_CHECKING:
    from collections.abc import Callable

    Function: TypeAlias = Callable[..., Any]

__all__ = ["output_json", "output_listing", "output_record"]


def output_json(function: Function) -> Function:
    """Print the result of a coroutine function: text unchanged, anything else as JSON."""
    return _create_callback(function, "fetch_json")


def output_record(kind: str) -> Callable[[Function], Function]:
    """
    Print the record or list of records that a coroutine function returns.

    :param kind: the class name of the records.
    """
    return lambda function: format_option(_create_callback(function, "fetch_record", kind))


def output_listing(kind: str) -> Callable[[Function], Function]:
    """
    Print the listing that a function returns, page by page.

    :param kind: the class name of the records.
    """
    return lambda function: paging_options(_create_callback(function, "fetch_listing", kind))


def _create_callback(function: Function, fetch: str, *arguments: str) -> Function:
    def callback(**options: object) -> object:
        from pandium._cli import fetching  # imports the client, which --help does not need

        return getattr(fetching, fetch)(partial(function, **options), *arguments)

    return update_wrapper(callback, function)
