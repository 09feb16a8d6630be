"""The control API's routes for notifications."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from pandium.emulator.api.service import Service, service_of
from pandium.emulator.control.control_responses import control_response, describe_error, example
from pandium.emulator.control.selection_models import value_errors_at
from pandium.emulator.network.notifications import EVENT_TYPES, EventType
from pandium.emulator.state.record_base import Id, Record

Seconds = Annotated[float, Field(ge=0, le=3600)]
NO_INTEGRATION = describe_error(404, "There is no integration with this id.")

router: APIRouter = APIRouter(prefix="/webhooks", tags=["Webhooks"])


class WebhookArguments(Record):
    """The URL to which notifications are sent, the types of the events, and the time limit."""

    url: str
    events: list[EventType] = Field(list(EVENT_TYPES))
    timeout: Seconds = 10.0


class PartnerUpdate(Record):
    """The integration that a partner has updated, and the partner."""

    integration_id: Id
    partner_id: int = 1
    partner_name: str = "Partner"


WebhookBody = Annotated[
    WebhookArguments,
    example(url="http://127.0.0.1:9000/hook?secret=s3cret", events=["run_failed"]),
]
PartnerUpdateBody = Annotated[PartnerUpdate, example(integration_id=1)]


class DeliveryView(BaseModel):
    """A notification that was sent, and the status of the response, or an error."""

    event_type: EventType
    body: dict[str, Any]
    status: int | None
    error: str | None
    duration: float


class WebhooksView(BaseModel):
    """The URL without its query, the types of the events, and the deliveries, oldest first."""

    url: str | None
    events: list[EventType]
    deliveries: list[DeliveryView]


@router.get("", response_model=WebhooksView)
async def get_webhooks(request: Request) -> Response:
    """Return the receiver's URL, the event types and the deliveries."""
    return _webhooks_response(service_of(request))


@router.put("", response_model=WebhooksView)
async def set_webhook(request: Request, body: WebhookBody) -> Response:
    """Send notifications of future events to a URL. Each is sent once and is not signed."""
    service = service_of(request)
    with value_errors_at():
        service.webhooks.send_to(body.url, events=body.events, timeout=body.timeout)
    return _webhooks_response(service)


@router.delete("", status_code=204)
async def remove_webhook(request: Request) -> Response:
    """Stop sending notifications of future events. Past deliveries are kept."""
    service_of(request).webhooks.send_to(None)
    return Response(status_code=204)


@router.delete("/deliveries", status_code=204)
async def remove_deliveries(request: Request) -> Response:
    """Remove all deliveries. Pending notifications are still sent."""
    service_of(request).webhooks.clear()
    return Response(status_code=204)


@router.post("/partner-integration-updated", status_code=204, responses=NO_INTEGRATION)
async def send_partner_update(request: Request, body: PartnerUpdateBody) -> Response:
    """Send a notification that a partner has updated an integration. Nothing is changed."""
    partner = body.model_dump(exclude={"integration_id"})
    service_of(request).webhooks.partner_integration_updated(body.integration_id, **partner)
    return Response(status_code=204)


def _webhooks_response(service: Service) -> Response:
    webhooks = service.webhooks
    return control_response(
        {"url": webhooks.url, "events": webhooks.events, "deliveries": webhooks.deliveries}
    )
