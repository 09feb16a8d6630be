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

    upstream: Upstream

    def __call__(self, _request: object) -> Any:
        """Return the response."""
        status, data = self.upstream.status, self.upstream.data
        return UpstreamFailure(status, data) if status >= HTTPStatus.MULTIPLE_CHOICES else data


def set_fixed_response(connectors: Connectors, given: Upstream) -> None:
    """Set the response of a connector, or of one of its hosts."""
    connectors.register(given.connector, FixedResponse(given), given.host)


def fixed_responses(connectors: Connectors) -> list[Upstream]:
    """Return the fixed responses, without handlers that are functions or applications."""
    handlers = connectors.handlers.values()
    return [one.upstream for one in handlers if isinstance(one, FixedResponse)]
