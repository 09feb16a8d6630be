"""The operations on builds: ``/v2/sourcecontrol/build``."""

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
    """Builds of integrations. Pandium creates releases from them."""

    _transport: Transport = attrs.field(repr=False)

    async def create(self, integration_id: int, build_tag: str, *, mode: RunMode | str) -> Any:
        """
        Create a build of an integration.

        The request is not retried if it may already have created the build.

        ```python
        await client.builds.create(integration_id, "v1.4.0", mode="normal")
        ```

        Pandium documents a second form of this operation that takes ``tag`` and ``branch``. Use
        ``client.request`` to call it.

        API reference:
        [Create Build V2](https://docs.pandium.com/reference/pandium-api#create-build-v2)

        :param integration_id: the integration's id.
        :param build_tag: the build's tag, such as ``"v1.4.0"``.
        :param mode: the run mode, ``"init"`` or ``"normal"``.
        :returns: the response as decoded JSON.
        :raises ValidationError: if the integration does not exist or the tag is rejected.
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
