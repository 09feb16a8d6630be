"""Create listings that fetch their pages through the transport."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import attrs

from pandium._listing.listing import Listing
from pandium._serialization.convert import decode_records

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

    def page_spec(skip: int, limit: int) -> RequestSpec:
        return attrs.evolve(spec, params={**params, "skip": skip, "limit": limit})

    async def fetch(skip: int, limit: int) -> list[T]:
        return await transport.request_model(page_spec(skip, limit), list[cls])  # type: ignore[valid-type]  # a type at run time

    async def fetch_raw(skip: int, limit: int) -> list[dict[str, Any]]:
        return await transport.request(
            page_spec(skip, limit), lambda response: decode_records(response.content)
        )

    return Listing(fetch, attrgetter("id"), fetch_raw, **paging)


async def find_first(listing: Listing[T], matches: Callable[[T], bool]) -> T | None:
    """Return the first matching record, or ``None``. Later pages are not requested."""
    async for page in listing.pages():
        for item in page.items:
            if matches(item):
                return item
    return None
