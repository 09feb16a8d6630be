"""The operations on releases: ``/v2/integrations/{integration_id}/releases``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from pandium._serialization.convert import decode, decode_json
from pandium._transport.spec import RequestSpec
from pandium.errors import DecodeError
from pandium.models import Release

if TYPE_CHECKING:
    import builtins

    from pandium._transport.transport import Transport

__all__ = ["Releases", "decode_tagged", "list_tagged"]

_PATH = "/v2/integrations/{integration_id}/releases"
# Reserved path segments that can take the place of a release id.
_RESERVED_SEGMENTS = ("default", "latest")
_RELEASE_LIST = list[Release]  # inside the class, `list` is the method


@attrs.frozen
class Releases:
    """Releases of integrations."""

    _transport: Transport = attrs.field(repr=False)

    async def list(self, integration_id: int) -> builtins.list[Release]:
        """
        Return all releases of an integration. The API does not paginate them.

        ```python
        for release in await client.releases.list(integration_id):
            print(release.id, release.name)
        ```

        API reference:
        [Get Integration Releases](https://docs.pandium.com/reference/pandium-api#get-integration-releases)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist.
        """
        return await self._transport.request_model(_list_spec(integration_id), _RELEASE_LIST)

    async def get(self, integration_id: int, release_id: int) -> Release:
        """
        Return one release.

        ```python
        release = await client.releases.get(integration_id, release_id)
        ```

        API reference:
        [Get One Integration Release](https://docs.pandium.com/reference/pandium-api#get-one-integration-release)

        :param integration_id: the integration's id.
        :param release_id: the release's id.
        :raises NotFound: if the integration or the release does not exist.
        :raises ValueError: if ``release_id`` is ``"default"`` or ``"latest"``. Use the method of
            that name instead.
        """
        if str(release_id) in _RESERVED_SEGMENTS:
            raise ValueError(
                f"release_id must be an id, not {release_id!r}: use releases.{release_id}"
            )
        segments = {"integration_id": integration_id, "release_id": release_id}
        spec = RequestSpec.create("GET", _PATH + "/{release_id}", segments)
        return await self._transport.request_model(spec, Release)

    async def default(self, integration_id: int) -> Release:
        """
        Return the default release, which new tenants use unless they specify another one.

        ```python
        release = await client.releases.default(integration_id)
        ```

        API reference:
        [Get Default Integration Release](https://docs.pandium.com/reference/pandium-api#get-default-integration-release)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist or has no default release.
        """
        spec = RequestSpec.create("GET", _PATH + "/default", {"integration_id": integration_id})
        return await self._transport.request_model(spec, Release)

    async def latest(self, integration_id: int) -> Release:
        """
        Return the latest release of an integration.

        ```python
        release = await client.releases.latest(integration_id)
        ```

        API reference:
        [Get Latest Release](https://docs.pandium.com/reference/pandium-api#get-latest-release)

        :param integration_id: the integration's id.
        :raises NotFound: if the integration does not exist or has no release.
        """
        spec = RequestSpec.create("GET", _PATH + "/latest", {"integration_id": integration_id})
        return await self._transport.request_model(spec, Release)


async def list_tagged(transport: Transport, integration_id: int, tag: str) -> list[Release]:
    """Return the releases that have a tag. An invalid release with another tag is ignored."""
    return await transport.request(
        _list_spec(integration_id), lambda response: decode_tagged(response.content, tag)
    )


def _list_spec(integration_id: int) -> RequestSpec:
    return RequestSpec.create("GET", _PATH, {"integration_id": integration_id})


def decode_tagged(content: bytes, tag: str) -> list[Release]:
    """Decode a list of releases and return those that have the tag."""
    try:
        releases = decode(content, _RELEASE_LIST)
    except DecodeError:
        if tagged := _decode_tagged_only(content, tag):
            return tagged
        raise
    return [release for release in releases if release.tag == tag]


def _decode_tagged_only(content: bytes, tag: str) -> list[Release]:
    """Decode the releases that have the tag. Return none of them if one is invalid."""
    with suppress(DecodeError, RecursionError):
        releases = decode_json(content)
        if isinstance(releases, list):
            objects = [release for release in releases if isinstance(release, dict)]
            tagged = [release for release in objects if release.get("tag") == tag]
            return decode(json.dumps(tagged).encode(), _RELEASE_LIST)
    return []
