"""The JSON models of drift changes: one per kind, distinguished by `type`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer

from pandium.emulator.api.service import Service
from pandium.emulator.control.selection_models import require_record, value_errors_at
from pandium.emulator.network.drift import Change
from pandium.emulator.state.adding import add_tenant
from pandium.emulator.state.record_base import Id, Record
from pandium.emulator.state.record_models import Tenant
from pandium.emulator.state.store import Store

Count = Annotated[int, Field(ge=1, le=100_000, description="The number of tenants.")]


class ArchiveChange(Record):
    """Archive the oldest tenants, or random ones if a seed is specified."""

    type: Literal["archive"]
    count: Count = 1
    seed: int | None = None

    def build(self, service: Service) -> Change:
        """Return the change."""
        return service.drift.archive(self.count, seed=self.seed)


class ArchiveTenantChange(Record):
    """Archive one tenant."""

    type: Literal["archive_tenant"]
    tenant: Id

    def build(self, service: Service) -> Change:
        """Return the change, or raise InvalidInput if the tenant does not exist."""
        require_record(service.store.tenants, self.tenant, "tenant")
        return _locked(service, lambda: service.store.archive(self.tenant))


class InsertChange(Record):
    """Add tenants with the next ids or, if `at_front` is set, with ids below all others."""

    type: Literal["insert"]
    count: Count = 1
    at_front: bool = False
    integration_id: int = 1

    def build(self, service: Service) -> Change:
        """Return the change, or raise ValueError if it cannot be made."""
        options = self.model_dump(exclude={"type", "count"})
        return service.drift.insert(self.count, **options)


class AddTenantChange(Record):
    """Add one tenant. The fields of `tenant` are those of `POST /tenants`."""

    type: Literal["add_tenant"]
    tenant: Tenant

    def build(self, service: Service) -> Change:
        """Return the change, or raise InvalidInput if the tenant cannot be added."""
        with value_errors_at("tenant"):
            add_tenant(_copy(service.store), self.tenant)
        return _locked(service, lambda: add_tenant(service.store, self.tenant))

    @field_serializer("tenant")
    def _given_fields(self, tenant: Tenant) -> dict[str, Any]:
        # The others are set when the tenant is added.
        return tenant.model_dump(exclude_unset=True)


class ResortChange(Record):
    """Change the order of listings without `sort_by`. By default, the order is reversed."""

    type: Literal["resort"]
    sort_by: str | None = Field(None, description="The new order, such as `name__DESC`.")

    def build(self, service: Service) -> Change:
        """Return the change, or raise ValueError if the order is invalid."""
        return service.drift.resort(self.sort_by)


class FunctionChange(Record):
    """A Python function that was added by a test. It cannot be added over HTTP."""

    type: Literal["function"]
    name: str


ChangeForm = Annotated[
    ArchiveChange | ArchiveTenantChange | InsertChange | AddTenantChange | ResortChange,
    Field(discriminator="type"),
]
ChangeState = Annotated[
    ArchiveChange
    | ArchiveTenantChange
    | InsertChange
    | AddTenantChange
    | ResortChange
    | FunctionChange,
    Field(discriminator="type"),
]


@dataclass(frozen=True, slots=True)
class DescribedChange:
    """A change together with its description as JSON data."""

    change: Change
    data: dict[str, Any]

    def __call__(self) -> object:
        """Make the change."""
        return self.change()


def build_change(given: ChangeForm, service: Service) -> DescribedChange:
    """Return the change that a model describes, or raise InvalidInput or ValueError."""
    with service.lock, value_errors_at("change"):
        return DescribedChange(given.build(service), given.model_dump())


def change_data(change: Change) -> dict[str, Any]:
    """Return the description of a change as JSON data."""
    if isinstance(change, DescribedChange):
        return change.data
    return {"type": "function", "name": getattr(change, "__qualname__", repr(change))}


def _copy(store: Store) -> Store:
    """Return a copy of a store, to which records can be added on trial."""
    trial = Store(store.now)
    trial.integrations = store.integrations.copy()
    trial.releases = store.releases.copy()
    trial.tenants = store.tenants.copy()
    return trial


def _locked(service: Service, change: Callable[[], object]) -> Change:
    def locked_change() -> None:
        with service.lock:
            change()

    return locked_change
