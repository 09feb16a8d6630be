"""Speak to ``/v2/integrations/{integration_id}/releases``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pandium._transport.spec import RequestSpec
from pandium.models import Release

if TYPE_CHECKING:
    import builtins

    from pandium._transport.transport import Transport

__all__ = ["Releases"]

_PATH = "/v2/integrations/{integration_id}/releases"


@attrs.frozen
class Releases:
    """Releases of an integration."""

    _transport: Transport = attrs.field(repr=False)

    # builtins', since `list` is this method here.
    async def list(self, integration_id: int) -> builtins.list[Release]:
        """
        Give all releases of an integration; the API does not page them.

        Source: Integrations, Get Integration Releases.

        :raises NotFound: if there is no such integration.
        """
        spec = RequestSpec.create("GET", _PATH, {"integration_id": integration_id})
        return await self._transport.request_model(spec, _RELEASES)

    async def get(self, integration_id: int, release_id: int) -> Release:
        """
        Give one release.

        Source: Integrations, Get One Integration Release.

        :raises NotFound: if there is no such integration or release.
        """
        if str(release_id) in _NAMED:
            raise ValueError(f"release_id must be an id: {release_id!r} has a method of its own")
        segments = {"integration_id": integration_id, "release_id": release_id}
        spec = RequestSpec.create("GET", _PATH + "/{release_id}", segments)
        return await self._transport.request_model(spec, Release)

    async def default(self, integration_id: int) -> Release:
        """
        Give the release that tenants get who ask for none.

        Source: Integrations, Get Default Integration Release.

        :raises NotFound: if there is no such integration, or it has no default release.
        """
        spec = RequestSpec.create("GET", _PATH + "/default", {"integration_id": integration_id})
        return await self._transport.request_model(spec, Release)

    async def latest(self, integration_id: int) -> Release:
        """
        Give the newest release.

        Source: Integrations, Get Latest Release.

        :raises NotFound: if there is no such integration, or it has no release.
        """
        spec = RequestSpec.create("GET", _PATH + "/latest", {"integration_id": integration_id})
        return await self._transport.request_model(spec, Release)


# Out here, because inside the class `list` is the method.
_RELEASES = list[Release]
# What stands in the place of an id.
_NAMED = ("default", "latest")
