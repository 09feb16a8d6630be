"""Fixed responses of upstream systems, for programs in other languages."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pandium.emulator.connectors.connectors import Connectors
from pandium.emulator.connectors.upstreams import UpstreamFailure
from pandium.emulator.state.record_models import Upstream


@dataclass(frozen=True, slots=True)
class FixedResponse:
    """A handler that always returns the same response."""

    status: int
    data: Any

    def __call__(self, _request: object) -> Any:
        """Return the response."""
        failed = self.status >= HTTPStatus.MULTIPLE_CHOICES
        return UpstreamFailure(self.status, self.data) if failed else self.data


def set_fixed_response(connectors: Connectors, given: Upstream) -> None:
    """Set the response of a connector, or of one of its hosts."""
    connectors.register(given.connector, FixedResponse(given.status, given.data), given.host)


def fixed_responses(connectors: Connectors) -> list[Upstream]:
    """Return the fixed responses, without handlers that are functions or applications."""
    return [
        Upstream(connector=connector, host=host, status=one.status, data=one.data)
        for (connector, host), one in connectors.handlers.items()
        if isinstance(one, FixedResponse)
    ]
