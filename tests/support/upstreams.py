"""Upstream systems for connector calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pandium.emulator import ConnectorRequest

HOST = "https://api.example.com"


@attrs.define
class Upstream:
    """An upstream system that records the requests it receives and returns fixed data."""

    data: Any = attrs.field(factory=dict)
    requests: list[ConnectorRequest] = attrs.field(factory=list)

    async def __call__(self, request: ConnectorRequest) -> Any:
        self.requests.append(request)
        return self.data

    @property
    def last(self) -> ConnectorRequest:
        return self.requests[-1]
