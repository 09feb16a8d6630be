"""Create listings that fetch their pages through the transport."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypedDict, TypeVar

import attrs

from pandium._listing.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from pandium._listing.listing import ConfirmEnd, OnDrift
    from pandium._transport.spec import RequestSpec
    from pandium._transport.transport import Transport

__all__ = ["Paging", "create_listing", "find_first"]

T = TypeVar("T")


class Paging(TypedDict, total=False):
    """The paging arguments that all listing operations share."""

    limit: int | None
    page_size: int
    skip: int
    prefetch: int
    on_drift: OnDrift
    confirm_end: ConfirmEnd


def create_listing(
    transport: Transport, cls: type[T], spec: RequestSpec, **paging: Unpack[Paging]
) -> Listing[T]:
    """
    Create a listing for an endpoint.

    :param transport: the transport that sends the requests.
    :param cls: the model class of a record.
    :param spec: the request spec, without ``skip`` and ``limit``.
    :param paging: the paging arguments. ``Listing`` validates them.
    """
    params = spec.params or {}

    async def fetch(skip: int, limit: int) -> list[T]:
        page = attrs.evolve(spec, params={**params, "skip": skip, "limit": limit})
        return await transport.request_model(page, list[cls])  # type: ignore[valid-type]  # a type at run time

    return Listing(fetch, attrgetter("id"), **paging)


async def find_first(listing: Listing[T], matches: Callable[[T], bool]) -> T | None:
    """Return the first matching record, or ``None``. Later pages are not requested."""
    async for page in listing.pages():
        for item in page.items:
            if matches(item):
                return item
    return None
