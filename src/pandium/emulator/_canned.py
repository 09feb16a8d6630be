"""Answers of upstream systems that are said beforehand, for programs in other languages."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pandium.emulator._arguments import UpstreamArguments
from pandium.emulator._connectors import Connectors
from pandium.emulator._upstreams import UpstreamFailure


@dataclass(frozen=True, slots=True)
class Canned:
    """A handler that always answers the same."""

    status: int
    data: Any

    def __call__(self, _request: object) -> Any:
        """Answer as was said."""
        failed = self.status >= HTTPStatus.MULTIPLE_CHOICES
        return UpstreamFailure(self.status, self.data) if failed else self.data


def can(connectors: Connectors, given: UpstreamArguments) -> None:
    """Let a connector, or one host of it, answer as was said."""
    connectors.register(given.connector, Canned(given.status, given.data), given.host)


def canned(connectors: Connectors) -> list[UpstreamArguments]:
    """Return what was said; handlers that are code of their own are left out."""
    return [
        UpstreamArguments(connector=connector, host=host, status=one.status, data=one.data)
        for (connector, host), one in connectors.handlers.items()
        if isinstance(one, Canned)
    ]
