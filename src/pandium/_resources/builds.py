"""Speak to ``/v2/sourcecontrol/build``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._serialization.convert import encode_json_object
from pandium._transport.spec import RequestSpec
from pandium._validation import (
    validate_mode,
    validate_text,
    validate_whole_number,
)

if TYPE_CHECKING:
    from pandium._transport.transport import Transport
    from pandium.models import RunMode

__all__ = ["Builds"]


@attrs.frozen
class Builds:
    """Builds, from which the vendor makes releases."""

    _transport: Transport = attrs.field(repr=False)

    async def create(self, integration_id: int, build_tag: str, *, mode: RunMode | str) -> Any:
        """
        Create a build of an integration, and give the API's answer as decoded JSON.

        ``mode`` is ``init`` or ``normal``. A later form of this operation, with ``tag`` and
        ``branch``, can be sent by the client's ``request``.

        Source: Builds, Create Build V2.

        :raises ValidationError: if there is no such integration, or the tag is refused.
        """
        body = {
            "build_tag": validate_text("build_tag", build_tag),
            "integration_id": validate_whole_number("integration_id", integration_id),
        }
        spec = RequestSpec.create(
            "POST",
            "/v2/sourcecontrol/build",
            params={"mode": validate_mode(mode)},
            content=encode_json_object(body, "build_tag"),
        )
        return await self._transport.request_json(spec)
