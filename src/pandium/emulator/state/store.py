"""The integrations, releases and tenants that exist, and the changes to them."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pandium.emulator.state.errors import Missing, Problem, raise_if_any, validate
from pandium.emulator.state.record_models import Integration, Release, Tenant
from pandium.emulator.state.schema_rules import data_problems
from pandium.emulator.state.tenant_rules import connector_problems, release_problems
from pandium.emulator.state.window import Window

ID = "integration_release_id"
CHANNEL = "integration_release_channel"
MAX_VIEWS = 64
SORTABLE = (
    "id", "name", "archived", "integration_id", "created_date", "modified_date", "paused",
    "user_schedule", "source", "integration_release_id", "integration_release_channel",
)  # fmt: skip

OnSchedule = Callable[[Tenant, str | None], None]
R = TypeVar("R", Integration, Release, Tenant)


class Store:
    """The records of one emulator. Callers must hold the emulator's lock."""

    def __init__(
        self, now: Callable[[], datetime], on_schedule: OnSchedule = lambda _, __: None
    ) -> None:
        self.now = now
        self._on_schedule = on_schedule
        self.integrations: dict[int, Integration] = {}
        self.releases: dict[int, Release] = {}
        self.tenants: dict[int, Tenant] = {}
        self.default_sort: str = "id__ASC"
        self.on_added: Callable[[Integration | Release | Tenant], object] = lambda _: None
        self.on_archived: Callable[[Tenant], object] = lambda _: None
        self._views: dict[tuple[Any, ...], list[Tenant]] = {}

    def replace(self, other: "Store") -> None:
        """Replace all records with those of another store."""
        self.integrations = other.integrations
        self.releases = other.releases
        self.tenants = other.tenants
        self.default_sort = other.default_sort
        self._views.clear()
        for tenant in self.tenants.values():
            self._reschedule(tenant)

    def integration(self, integration_id: int) -> Integration:
        """Return an integration, or raise Missing."""
        return _find(self.integrations, integration_id, "Integration")

    def tenant(self, tenant_id: int) -> Tenant:
        """Return a tenant, or raise Missing."""
        return _find(self.tenants, tenant_id, "Tenant")

    def releases_of(self, integration_id: int) -> list[Release]:
        """Return the releases of an integration, by id."""
        self.integration(integration_id)
        return [one for one in self.releases.values() if one.integration_id == integration_id]

    def release(self, integration_id: int, release_id: int) -> Release:
        """Return a release of an integration, or raise Missing."""
        self.integration(integration_id)
        release = _find(self.releases, release_id, "Release")
        if release.integration_id != integration_id:
            raise Missing(f"Release {release_id} of integration {integration_id} not found")
        return release

    def latest_release(self, integration_id: int) -> Release:
        """Return the release with the highest id, or raise Missing."""
        releases = self.releases_of(integration_id)
        if not releases:
            raise Missing(f"Integration {integration_id} has no release")
        return releases[-1]

    def default_release_id(self, integration_id: int) -> int | None:
        """Return the id of the release that is marked as the default, or None."""
        marked = (one.id for one in self.releases_of(integration_id) if one.default)
        return next(marked, None)

    def default_release(self, integration_id: int) -> Release:
        """Return the release that tenants use by default, or raise Missing."""
        key = self.default_release_id(integration_id)
        return self.latest_release(integration_id) if key is None else self.releases[key]

    def release_of(self, tenant: Tenant) -> Release:
        """Return the release that a tenant runs, or raise Missing."""
        if tenant.integration_release_id is not None:
            return self.releases[tenant.integration_release_id]
        if tenant.integration_release_channel == "Latest":
            return self.latest_release(tenant.integration_id)
        return self.default_release(tenant.integration_id)

    def pause_integration(self, integration_id: int, *, paused: bool) -> Integration:
        """Pause or resume the schedules of all tenants of an integration, or raise Missing."""
        integration = self.integration(integration_id).model_copy(update={"paused": paused})
        self.integrations[integration_id] = integration
        for tenant in self.tenants.values():
            self._reschedule(tenant)
        return integration

    def change_tenant(self, tenant_id: int, changes: Mapping[str, Any]) -> Tenant:
        """Change fields of a tenant. Setting a release clears the channel, and vice versa."""
        tenant = self.tenant(tenant_id)
        if changes.get(ID) is not None:
            changes = {CHANNEL: None, **changes}
        elif changes.get(CHANNEL) is not None:
            changes = {ID: None, **changes}
        changed = validate(Tenant, {**dict(tenant), **changes})
        return self.put(self.validate(changed))

    def archive(self, tenant_id: int) -> Tenant:
        """Archive a tenant. Idempotent."""
        tenant = self.tenant(tenant_id)
        return tenant if tenant.archived else self.put(tenant, archived=True)

    def patch_metadata(self, tenant_id: int, data: Mapping[str, Any]) -> Tenant:
        """Merge the top level of `data` into the metadata, or raise InvalidInput."""
        tenant = self.tenant(tenant_id)
        merged = {**tenant.metadata, **data}
        raise_if_any(*self.metadata_problems(tenant, merged))
        date = self.now()
        return self.put(
            tenant,
            metadata=merged,
            metadata_created_date=tenant.metadata_created_date or date,
            metadata_modified_date=date,
        )

    def metadata_problems(
        self, tenant: Tenant, data: Mapping[str, Any], *place: str
    ) -> Iterator[Problem]:
        """Yield each mismatch between metadata and the schema of the tenant's release."""
        if self.releases_of(tenant.integration_id):
            yield from data_problems(data, self.release_of(tenant).metadata_schema, *place)

    def connections(self, tenant: Tenant) -> dict[str, bool]:
        """Return whether each connector of the tenant's integration is connected, by name."""
        systems = self.integrations[tenant.integration_id].systems
        return {one.name: tenant.is_connected(one.name) for one in systems}

    def disconnect(self, tenant_id: int, connector: str) -> Tenant:
        """Disconnect a tenant's connector, or raise Missing."""
        tenant = self.tenant(tenant_id)
        states = self.connections(tenant)
        if connector not in states:
            raise Missing(f"Connector {connector} of tenant {tenant_id} not found")
        connected = [name for name, is_on in states.items() if is_on and name != connector]
        dates = {**tenant.connection_dates, connector: self.now()}
        return self.put(tenant, connected=connected, connection_dates=dates)

    def put(self, tenant: Tenant, **changes: Any) -> Tenant:
        """Replace a tenant with an updated copy."""
        tenant = tenant.model_copy(update={**changes, "modified_date": self.now()})
        is_newly_archived = tenant.archived and not self.tenants[tenant.id].archived
        self.tenants[tenant.id] = tenant
        self._views.clear()
        self._reschedule(tenant)
        if is_newly_archived:
            self.on_archived(tenant)
        return tenant

    def add(self, records: dict[int, R], record: R) -> R:
        """Add a record, and keep the records in the order of their ids."""
        is_last = not records or next(reversed(records)) < record.id
        records[record.id] = record
        if not is_last:
            for key in sorted(records):
                records[key] = records.pop(key)
        self._views.clear()
        if isinstance(record, Tenant):
            self._reschedule(record)
        self.on_added(record)
        return record

    def _reschedule(self, tenant: Tenant) -> None:
        """Report a tenant's schedule, or None if the tenant or its integration is paused."""
        integration = self.integration(tenant.integration_id)
        schedule = tenant.user_schedule or integration.schedule
        is_paused = tenant.paused or integration.paused
        self._on_schedule(tenant, None if is_paused or tenant.archived else schedule)

    def list_tenants(
        self, window: Window, *, archived: bool, integration_id: int, user_name: str
    ) -> list[Tenant]:
        """Return one page of a listing. A filter of 0 or "" matches all tenants."""
        key = (archived, integration_id, user_name, window.field, window.descending)
        if key not in self._views:
            rows = [
                one
                for one in self.tenants.values()
                if one.archived is archived
                and integration_id in (0, one.integration_id)
                and user_name in ("", one.user_name)
            ]
            if len(self._views) >= MAX_VIEWS:
                self._views.clear()
            self._views[key] = list(window.order(rows, getattr))
        return list(window.cut(self._views[key]))

    def tenant_of_user(self, integration_id: int, user_name: str) -> Tenant:
        """Return a user's tenant of an integration, or raise Missing."""
        self.integration(integration_id)
        for one in self.tenants.values():
            found = (one.integration_id, one.user_name, one.archived)
            if found == (integration_id, user_name, False):
                return one
        raise Missing(f"No tenant of integration {integration_id} has user name {user_name!r}")

    def validate(self, tenant: Tenant, *, check_data: bool = True) -> Tenant:
        """
        Validate a tenant against the other records and return it, or raise InvalidInput.

        :param check_data: whether the configs must match the schema of the release.
        """
        releases = [one.id for one in self.releases_of(tenant.integration_id)]
        raise_if_any(
            *release_problems(tenant.integration_release_id, releases),
            *connector_problems(tenant.connected, self.connections(tenant)),
        )
        if tenant.integration_release_id is None and tenant.integration_release_channel is None:
            tenant = tenant.model_copy(update={CHANNEL: "Default"})
        if check_data and releases:
            schema = self.release_of(tenant).config_schema
            raise_if_any(*data_problems(tenant.configs, schema, "configs"))
        return tenant


def _find(records: Mapping[int, R], key: int, noun: str) -> R:
    try:
        return records[key]
    except KeyError:
        raise Missing(f"{noun} {key} not found") from None
