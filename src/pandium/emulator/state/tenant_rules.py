"""
The rules for a tenant: its name, connections and release.

Its schedule follows the rule for all schedules, and its configs and metadata have to match the
schemas of its release.
"""

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from pandium.emulator.state.errors import Problem
from pandium.emulator.state.record_base import Id

TENANT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)


def _validate_name(name: str) -> str:
    if not TENANT_NAME.fullmatch(name):
        raise PydanticCustomError(
            "value_error",
            "must be lowercase letters, digits and '-', and neither begin nor end with '-'",
        )
    return name


def _validate_connected(given: object) -> bool | list[str]:
    if isinstance(given, bool):
        return given
    if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
        return list(given)
    raise PydanticCustomError("value_error", "must be true, false, or the names of connectors")


def _exclude_channel(release_id: int | None, given: ValidationInfo) -> int | None:
    if release_id is not None and given.data.get("integration_release_channel") is not None:
        raise PydanticCustomError("value_error", "specify a release or a channel, not both")
    return release_id


TenantName = Annotated[str, AfterValidator(_validate_name)]
Channel = Literal["Latest", "Default"]
# A tenant has a release or a channel. The field of the channel has to come first.
ReleaseWithoutChannel = Annotated[Id | None, AfterValidator(_exclude_channel)]
Connected = Annotated[
    bool | list[str],
    PlainValidator(_validate_connected, json_schema_input_type=bool | list[str]),
]


def release_problems(release_id: int | None, releases: Collection[int]) -> Iterator[Problem]:
    """Yield a problem if a tenant has a release, but its integration does not."""
    if release_id is not None and release_id not in releases:
        msg = "is not a release of the tenant's integration"
        yield Problem(("integration_release_id",), msg, release_id)


def connector_problems(
    connected: bool | Collection[str],  # noqa: FBT001 - the value of a field
    connectors: Collection[str],
) -> Iterator[Problem]:
    """Yield a problem for each connected connector that the integration does not have."""
    for name in [] if isinstance(connected, bool) else connected:
        if name not in connectors:
            yield Problem(("connected",), f"the integration has no connector {name!r}", name)
