"""Speak to ``/v2/sourcecontrol/build``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources._checks import checked_count, checked_mode, checked_text, object_json
from pandium._transport import Call, Transport

if TYPE_CHECKING:
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
            "build_tag": checked_text("build_tag", build_tag),
            "integration_id": checked_count("integration_id", integration_id),
        }
        call = Call.of(
            "POST",
            "/v2/sourcecontrol/build",
            params={"mode": checked_mode(mode)},
            content=object_json(body, "build_tag"),
        )
        return await self._transport.call_json(call)
