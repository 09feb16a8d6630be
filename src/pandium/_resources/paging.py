"""Bind a listing of the API to the transport."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from pandium._listing.listing import Listing
from pandium._transport.spec import RequestSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._listing.listing import OnDrift
    from pandium._transport.transport import Transport

__all__ = ["listing"]

T = TypeVar("T")


def listing(  # noqa: PLR0913 - the common arguments of all listings
    transport: Transport,
    cls: type[T],
    template: str,
    segments: Mapping[str, object],
    params: Mapping[str, object],
    *,
    limit: int | None,
    page_size: int,
    skip: int,
    prefetch: int,
    on_drift: OnDrift,
) -> Listing[T]:
    """Make a listing of `cls` whose pages come from one endpoint."""
    # Made once, so that what is wrong with an argument shows before anything is iterated over.
    RequestSpec.create("GET", template, segments)

    async def fetch(begin: int, size: int) -> list[T]:
        paging = {**params, "skip": begin, "limit": size}
        spec = RequestSpec.create("GET", template, segments, params=paging)
        return await transport.request_model(spec, list[cls])  # type: ignore[valid-type]  # a type at run time

    return Listing(
        fetch,
        attrgetter("id"),
        limit=limit,
        page_size=page_size,
        skip=skip,
        prefetch=prefetch,
        on_drift=on_drift,
    )
