"""
The notifications that Pandium sends to your URL, for example when a run has failed.

    Event
    ├── IntegrationCreated              new_integration_created
    ├── TenantCreated                   new_tenant_created, tenant_created
    ├── TenantArchived                  tenant_archived
    ├── PartnerIntegrationUpdated       partner_integration_updated
    ├── RunFailed                       run_failed
    └── UnknownEvent                    any other type

Notifications are not signed, and each is sent only once. Put a secret into the query of the URL and
compare it with ``hmac.compare_digest``. Respond quickly, and do the work afterwards. To notice what
was missed, list the runs with ``tenants.runs``.

No example of a notification has been published. Every field but ``event_type`` may be absent, in
which case it is ``None``.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from pandium._serialization.convert import decode, decode_json
from pandium.errors import DecodeError

__all__ = [
    "Event",
    "IntegrationCreated",
    "PartnerIntegrationUpdated",
    "RunFailed",
    "TenantArchived",
    "TenantCreated",
    "UnknownEvent",
    "parse",
]


@attrs.frozen
class Event:
    """
    The base class of all notifications.

    :ivar event_type: the type, such as ``run_failed``.
    :ivar environment: the environment.
    :ivar account_id: the id of your account.
    :ivar account_name: the name of your account.
    :ivar timestamp: the time of the event.
    """

    event_type: str
    environment: str | None = None
    account_id: int | None = None
    account_name: str | None = None
    timestamp: datetime | None = None


@attrs.frozen
class IntegrationCreated(Event):
    """
    An integration was created.

    :ivar integration_id: the integration's id.
    :ivar integration_name: the integration's name.
    """

    integration_id: int | None = None
    integration_name: str | None = None


@attrs.frozen
class TenantCreated(Event):
    """
    A tenant was created.

    :ivar tenant_id: the tenant's id.
    :ivar tenant_name: the tenant's name.
    :ivar integration_id: the integration's id.
    :ivar integration_name: the integration's name.
    """

    tenant_id: int | None = None
    tenant_name: str | None = None
    integration_id: int | None = None
    integration_name: str | None = None


@attrs.frozen
class TenantArchived(Event):
    """
    A tenant was archived.

    :ivar tenant_id: the tenant's id.
    :ivar tenant_name: the tenant's name.
    :ivar integration_id: the integration's id.
    :ivar integration_name: the integration's name.
    """

    tenant_id: int | None = None
    tenant_name: str | None = None
    integration_id: int | None = None
    integration_name: str | None = None


@attrs.frozen
class PartnerIntegrationUpdated(Event):
    """
    A partner updated an integration.

    :ivar integration_id: the integration's id.
    :ivar integration_name: the integration's name.
    :ivar partner_id: the partner's id.
    :ivar partner_name: the partner's name.
    """

    integration_id: int | None = None
    integration_name: str | None = None
    partner_id: int | None = None
    partner_name: str | None = None


@attrs.frozen
class RunFailed(Event):
    """
    A run failed.

    :ivar run_id: the run's id, as used in ``runs.log(run_id)``.
    :ivar run_status: the status of the run, such as ``Failed (Timeout)``.
    :ivar admin_link: the URL of the run in Pandium's web application.
    :ivar api_link: the URL of the run in the API.
    :ivar api_status_link: the URL of the run's status in the API.
    :ivar api_triggers_link: the URL of the run's triggers in the API.
    :ivar tenant_id: the tenant's id.
    :ivar tenant_name: the tenant's name.
    :ivar integration_id: the integration's id.
    :ivar integration_name: the integration's name.
    """

    run_id: int | None = None
    run_status: str | None = None
    admin_link: str | None = None
    api_link: str | None = None
    api_status_link: str | None = None
    api_triggers_link: str | None = None
    tenant_id: int | None = None
    tenant_name: str | None = None
    integration_id: int | None = None
    integration_name: str | None = None


@attrs.frozen
class UnknownEvent(Event):
    """
    A notification of a type that this version of the library does not know.

    The common fields are ``None`` if they cannot be decoded.

    :ivar data: the whole body.
    """

    data: dict[str, Any] = attrs.field(factory=dict)


_CLASSES: Mapping[str, type[Event]] = {
    "new_integration_created": IntegrationCreated,
    "new_tenant_created": TenantCreated,
    "tenant_created": TenantCreated,  # a table in the vendor's documentation uses this name
    "tenant_archived": TenantArchived,
    "partner_integration_updated": PartnerIntegrationUpdated,
    "run_failed": RunFailed,
}


def parse(body: bytes | bytearray | memoryview | str | Mapping[str, Any]) -> Event:
    """
    Parse the body of a notification.

    ```python
    from pandium import webhooks

    body = b'{"event_type": "run_failed", "run_id": 301, "tenant_id": 7}'
    match webhooks.parse(body):
        case webhooks.RunFailed(run_id=run_id, tenant_id=tenant_id):
            print(f"run {run_id} of tenant {tenant_id} failed")
        case event:
            print("ignored", event.event_type)
    ```

    :param body: the body of the request, or the decoded JSON object.
    :returns: the event. Unknown fields are ignored.
    :raises DecodeError: if the body is not a JSON object with an ``event_type``, or if a field has
        the wrong type. Its ``path`` locates the invalid value.
    """
    content = _encode(body)
    data = decode_json(content)
    if not isinstance(data, dict):
        raise DecodeError("the notification is not a JSON object")
    event_type = data.get("event_type")
    if not isinstance(event_type, str):
        raise DecodeError("the notification has no event_type", path="event_type")
    if (cls := _CLASSES.get(event_type)) is not None:
        return decode(content, cls)
    return _parse_unknown(content, event_type, data)


def _encode(body: object) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        return body.encode(errors="surrogatepass")
    if isinstance(body, Mapping):
        return _encode_mapping(body)
    raise ValueError(f"body must be bytes, text or a mapping, not {type(body).__name__}")


def _encode_mapping(body: Mapping[Any, Any]) -> bytes:
    # Unlike `encode_json`, accept what JSON decoders accept: NaN, infinity and lone surrogates.
    try:
        return json.dumps(dict(body)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"body cannot be encoded as JSON: {error}") from None


def _parse_unknown(content: bytes, event_type: str, data: dict[str, Any]) -> UnknownEvent:
    try:
        common = decode(content, Event)
    except DecodeError:  # the fields of an unknown type may have other types, too
        common = Event(event_type)
    return UnknownEvent(**attrs.asdict(common, recurse=False), data=data)
