"""Create command callbacks from functions that take a client."""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, TypeAlias

from pandium._cli.options import data_format_option, format_option, paging_options

if TYPE_CHECKING:
    from collections.abc import Callable

    Function: TypeAlias = Callable[..., Any]

__all__ = ["output_json", "output_listing", "output_record"]


def output_json(*, is_write: bool = False) -> Callable[[Function], Function]:
    """
    Print the result of a coroutine function: text unchanged, anything else as JSON.

    :param is_write: whether the function may change something, so that its response must not be
        lost. A command with a GET ``method`` changes nothing.
    """
    return lambda function: data_format_option(
        _create_callback(function, "fetch_json", is_write=is_write)
    )


def output_record(kind: str, *, is_write: bool = False) -> Callable[[Function], Function]:
    """
    Print the record or list of records that a coroutine function returns.

    :param kind: the class name of the records.
    :param is_write: whether the function may change something, so that its response must not be
        lost.
    """
    return lambda function: format_option(
        _create_callback(function, "fetch_record", kind, is_write=is_write)
    )


def output_listing(kind: str) -> Callable[[Function], Function]:
    """
    Print the listing that a function returns, page by page.

    :param kind: the class name of the records.
    """
    return lambda function: paging_options(_create_callback(function, "fetch_listing", kind))


def _create_callback(
    function: Function, fetch: str, *arguments: str, is_write: bool = False
) -> Function:
    def callback(**options: Any) -> object:
        from pandium._cli import fetching  # imports the client, which --help does not need

        call = partial(function, **options)
        if is_write and options.get("method", "").upper() != "GET":
            return getattr(fetching, fetch)(call, *arguments, is_write=True)
        return getattr(fetching, fetch)(call, *arguments)

    return update_wrapper(callback, function)
