"""Send the vendor's notifications of events to a URL."""

import re
from collections.abc import Callable, Collection
from datetime import datetime
from threading import RLock
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from anyio import to_thread

from pandium.emulator.network.deliveries import Delivery, Notification, Outbox
from pandium.emulator.network.request_selection import validate_seconds
from pandium.emulator.runs.advancing import NEVER
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.record_models import Integration, Run, Tenant
from pandium.emulator.state.store import Store

EventType = Literal[
    "new_integration_created",
    "new_tenant_created",
    "tenant_archived",
    "partner_integration_updated",
    "run_failed",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
ACCOUNT: dict[str, Any] = {"environment": "sandbox", "account_id": 1, "account_name": "Emulator"}
PRINTABLE = re.compile(r"[\x21-\x7e]+")
# Clocks do not report changes, so runs are checked at this interval, in seconds of real time.
WATCH_INTERVAL = 0.1


class Webhooks:
    """
    The notifications that an emulator sends. Like the vendor's, each is sent once and unsigned.

    Each receiver gets them one after another, in the order of the events. They do not delay the
    requests that cause them, and the responses have no effect. A failed run is detected within a
    tenth of a second of real time, or, on a `ManualClock`, before the clock advances any further.
    """

    def __init__(self, store: Store, runs: Runs, lock: RLock, origin: Callable[[], str]) -> None:
        self._store = store
        self._runs = runs
        self._lock = lock
        self._origin = origin
        self.wake: Callable[[], object] = lambda: None
        self.outbox: Outbox = Outbox()
        self.reset()

    def reset(self) -> None:
        """Stop sending notifications, and remove all deliveries and pending notifications."""
        self._url: str | None = None
        self._timeout = 10.0
        self._events: frozenset[str] = frozenset()
        self.outbox.discard()
        self.outbox = Outbox()

    def send_to(
        self, url: str | None, *, events: Collection[str] = EVENT_TYPES, timeout: float = 10.0
    ) -> None:
        """
        Send notifications of all future events to a URL.

        The vendor neither signs notifications nor sends an authentication header. It suggests
        putting a secret into the query of the URL, which is omitted from reprs and errors.

        :param url: an http or https URL, or None to send nothing.
        :param events: the types of the events to send. By default, all types are sent.
        :param timeout: seconds of real time to wait for the response.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        timeout = validate_seconds("timeout", timeout)
        events = _validate_events(events)
        url = None if url is None else _validate_url(url)
        with self._lock:
            self._url, self._events, self._timeout = url, events, timeout
        self.wake()

    @property
    def url(self) -> str | None:
        """The URL that notifications are sent to, without its query, or None."""
        return None if self._url is None else _redact(self._url)

    @property
    def events(self) -> list[str]:
        """The types of the events that are sent."""
        return [one for one in EVENT_TYPES if self._url is not None and one in self._events]

    @property
    def deliveries(self) -> list[Delivery]:
        """The notifications that were sent and their responses, oldest first."""
        return self.outbox.deliveries

    def clear(self) -> None:
        """Remove all deliveries. Pending notifications are still sent."""
        self.outbox.forget_deliveries()

    def drain(self, timeout: float = 10.0) -> None:
        """
        Wait until all notifications of past events have been sent.

        This blocks. If the receiver runs in the test's own event loop, call it in a thread, for
        example with `await asyncio.to_thread(emulator.webhooks.drain)`.

        :param timeout: seconds of real time.
        :raises TimeoutError: if notifications are still pending. The message contains their number.
        """
        self.watch()
        if unsent := self.outbox.drain(validate_seconds("timeout", timeout)):
            raise TimeoutError(f"{unsent} notifications have not been sent after {timeout} seconds")

    def partner_integration_updated(
        self, integration_id: int, *, partner_id: int = 1, partner_name: str = "Partner"
    ) -> None:
        """
        Send a notification that a partner has updated an integration.

        The emulator has no partners, so this does nothing else.

        :raises LookupError: if there is no integration with this id.
        """
        with self._lock:
            integration = self._store.integration(integration_id)
            partner = {"partner_id": partner_id, "partner_name": partner_name}
            self._notify(
                "partner_integration_updated", {**_integration_fields(integration), **partner}
            )

    def record_added(self, record: object) -> None:
        """Send a notification that an integration or a tenant was created."""
        if isinstance(record, Integration):
            self._notify("new_integration_created", _integration_fields(record))
        elif isinstance(record, Tenant):
            self._notify("new_tenant_created", self._tenant_fields(record))

    def tenant_archived(self, tenant: Tenant) -> None:
        """Send a notification that a tenant was archived."""
        self._notify("tenant_archived", self._tenant_fields(tenant))

    def run_ended(self, run: Run) -> None:
        """Send a notification if a run has failed."""
        if run.has_succeeded():
            return
        api, trigger = f"{self._origin()}/v2", run.triggers[-1].id
        runs = f"{api}/tenants/{run.tenant_id}/runs"
        fields = {
            "run_id": run.id,
            "run_status": run.history[-1].phase,
            "admin_link": f"{self._origin()}/",
            "api_link": runs,
            "api_status_link": f"{api}/runs/triggers/{trigger}/status",
            "api_triggers_link": runs,
            **self._tenant_fields(self._store.tenant(run.tenant_id)),
        }
        self._notify("run_failed", fields, run.completed_date)

    def watch(self) -> float | None:
        """Advance the runs. Return the number of seconds until the next check, or None."""
        if not self._reports_runs():
            return None
        self._runs.settle()
        return WATCH_INTERVAL

    def next_due(self) -> datetime:
        """Return the next date at which a run changes, or NEVER if this sends no notifications."""
        return self._runs.next_change() if self._reports_runs() else NEVER

    async def finish(self) -> bool:
        """Send all notifications of past events, and return whether there were any."""
        self.watch()
        if not self.outbox.is_pending:
            return False
        await to_thread.run_sync(self.outbox.drain, abandon_on_cancel=True)
        return True

    def _reports_runs(self) -> bool:
        return self._url is not None and "run_failed" in self._events

    def _notify(
        self, event_type: EventType, fields: dict[str, Any], at: datetime | None = None
    ) -> None:
        if self._url is None or event_type not in self._events:
            return
        timestamp = (at or self._store.now()).isoformat()
        body = {"event_type": event_type, **ACCOUNT, "timestamp": timestamp, **fields}
        self.outbox.put(Notification(event_type, body, self._url, self._timeout))
        self.wake()

    def _tenant_fields(self, tenant: Tenant) -> dict[str, Any]:
        integration = self._store.integration(tenant.integration_id)
        return {
            "tenant_id": tenant.id,
            "tenant_name": tenant.name,
            **_integration_fields(integration),
        }


def _integration_fields(integration: Integration) -> dict[str, Any]:
    return {"integration_id": integration.id, "integration_name": integration.name}


def _validate_events(events: Collection[str]) -> frozenset[str]:
    given = [events] if isinstance(events, str) else list(events)
    for event in given:
        if event not in EVENT_TYPES:
            raise ValueError(f"events: {event!r} is unknown: use {', '.join(EVENT_TYPES)}")
    return frozenset(given)


def _validate_url(url: str) -> str:
    """Validate a URL. An error message omits the query, which may contain a secret."""
    if not isinstance(url, str):
        raise ValueError(f"url: must be a string or None, not {url!r}")
    if not _is_sendable(url):
        raise ValueError(f"url: must be an http or https URL in ASCII, not {_redact(url)!r}")
    if "@" in urlsplit(url).netloc:
        raise ValueError("url: must not contain a user name; put a secret into the query instead")
    return url


def _is_sendable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False
    return has_host and parts.scheme in ("http", "https") and PRINTABLE.fullmatch(url) is not None


def _redact(url: str) -> str:
    return url.partition("?")[0] + ("?***" if "?" in url else "")
