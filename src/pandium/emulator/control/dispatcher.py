"""The ASGI application of an emulator, which passes each request to the API or the control API."""

from starlette.types import Receive, Scope, Send

from pandium.emulator.api.application import ApiApplication
from pandium.emulator.api.service import SCOPE_KEY, Service
from pandium.emulator.control.guard import is_control


class Dispatcher:
    """The API, the control API and the page on one port, and the log storage on another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._api = ApiApplication(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        scope[SCOPE_KEY] = self._service
        self._service.builds.settle()
        is_storage = scope["server"][1] == self._service.storage_port
        if is_control(scope["path"]) and not is_storage:
            # Its models and routes take half as long to build as those of the API.
            from pandium.emulator.control.control_api import control_application  # noqa: PLC0415 - see above

            await control_application()(scope, receive, send)
        else:
            await self._api(scope, receive, send)
