"""The tools that only read."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, model_validator

from pandium import Outcome, WaitTimeout
from pandium._listing.listing import Listing
from pandium._mcp.outputs import (
    IntegrationInfo,
    IntegrationPage,
    ReleaseFound,
    ReleaseInfo,
    ReleasePage,
    RunFound,
    RunInfo,
    RunLog,
    RunPage,
    RunProgress,
    TenantFound,
    TenantInfo,
    TenantPage,
)
from pandium._mcp.tool import ToolCall, ToolContext
from pandium._run_log import shorten_log
from pandium.models import Release

__all__ = ["READING_TOOLS"]

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)

_MAX_RECORDS = 100
MAX_WAIT = 45  # seconds: most agents give up on a call after 60
# Only this much of a log is searched for the API key, which is far more than is shown. A key that
# is cut off at the start of it would not be recognized, so the first characters are dropped.
_SEARCHED = 2**16
_DROPPED = 2**13


class _Paged(ToolCall):
    """The arguments of a listing."""

    limit: int = Field(20, ge=1, le=_MAX_RECORDS, description="The maximum number of records.")
    skip: int = Field(0, ge=0, description="The number of records to skip, to continue a listing.")

    async def _read(
        self, listing: Callable[..., Listing[T]], reduce: Callable[[T], S], **filters: Any
    ) -> tuple[list[S], int | None]:
        """Return the records and the ``skip`` of the next part, if there are more records."""
        wanted = self.limit + 1  # one more shows whether there are more
        page = listing(limit=wanted, page_size=wanted, skip=self.skip, **filters)
        return self._cut([reduce(record) for record in await page.to_list()])

    def _cut(self, records: list[S]) -> tuple[list[S], int | None]:
        has_more = len(records) > self.limit
        return records[: self.limit], self.skip + self.limit if has_more else None


class ListIntegrationsTool(_Paged):
    """
    List integrations.

    An integration is an application, built on Pandium, that connects systems such as a shop and an
    accounting program. Customers install it as tenants.
    """

    output = IntegrationPage

    async def call(self, context: ToolContext) -> IntegrationPage:
        """List the integrations."""
        listing = context.client.integrations.list
        integrations, next_skip = await self._read(listing, IntegrationInfo.create)
        return IntegrationPage(integrations=integrations, next_skip=next_skip)


class ListTenantsTool(_Paged):
    """
    List tenants.

    A tenant is one customer's installation of an integration, with its own schedule, connections
    and runs.
    """

    output = TenantPage

    integration_id: int | None = Field(
        None, ge=0, description="List only tenants of this integration."
    )
    archived: bool | None = Field(None, description="Filter by whether a tenant is archived.")

    async def call(self, context: ToolContext) -> TenantPage:
        """List the tenants."""
        tenants, next_skip = await self._read(
            context.client.tenants.list,
            TenantInfo.create,
            integration_id=self.integration_id,
            archived=self.archived,
        )
        return TenantPage(tenants=tenants, next_skip=next_skip)


class FindTenantTool(ToolCall):
    """
    Find one tenant by its id or its exact name.

    The result shows its schedule, its connections and the phases of its latest runs.
    """

    output = TenantFound

    tenant_id: int | None = Field(None, ge=0, description="The tenant's id.")
    name: str | None = Field(None, min_length=1, description="The tenant's exact name.")
    integration_id: int | None = Field(
        None, ge=0, description="Search only this integration. Names are unique only within one."
    )

    @model_validator(mode="after")
    def _has_criterion(self) -> Self:
        if self.tenant_id is None and self.name is None:
            raise ValueError("tenant_id or name is required")
        return self

    async def call(self, context: ToolContext) -> TenantFound:
        """Search the listing of tenants."""
        tenant = await context.client.tenants.find(
            self.tenant_id, name=self.name, integration_id=self.integration_id
        )
        if tenant is None:
            return TenantFound(note="no listed tenant matches; list_tenants shows all tenants")
        return TenantFound(tenant=TenantInfo.create(tenant))


class ListRunsTool(_Paged):
    """
    List the runs of a tenant.

    A run is one execution of the integration's code for the tenant. The order is up to the service
    unless sort_by is set.
    """

    output = RunPage

    tenant_id: int = Field(ge=0, description="The tenant's id.")
    sort_by: str | None = Field(
        None,
        pattern=r"^\w+__(ASC|DESC)$",
        description="A field and a direction, such as id__DESC for the newest runs first.",
    )

    async def call(self, context: ToolContext) -> RunPage:
        """List the runs."""

        def listing(**paging: Any) -> Listing[Any]:
            return context.client.tenants.runs(self.tenant_id, sort_by=self.sort_by, **paging)

        runs, next_skip = await self._read(listing, RunInfo.create)
        return RunPage(runs=runs, next_skip=next_skip)


class FindRunTool(ToolCall):
    """
    Find the run that executed a trigger, for example to read its log.

    Triggers that are created while a run is in progress are combined into the next run.
    """

    output = RunFound

    trigger_id: int | str = Field(description="The trigger's id, as returned by sync_tenant.")
    tenant_id: int = Field(ge=0, description="The id of the tenant that was synced.")

    async def call(self, context: ToolContext) -> RunFound:
        """Search the runs of the tenant."""
        run = await context.client.runs.find(self.trigger_id, tenant_id=self.tenant_id)
        if run is None:
            return RunFound(note="no run has this trigger yet; try again in a minute")
        return RunFound(run=RunInfo.create(run))


class GetRunLogTool(ToolCall):
    """
    Read the end of a run's log, where an error usually is.

    Takes a run id from list_runs or find_run, not a trigger id.
    """

    output = RunLog

    run_id: int = Field(ge=0, description="The run's id.")
    max_lines: int = Field(100, ge=1, le=500, description="The maximum number of lines.")

    async def call(self, context: ToolContext) -> RunLog:
        """Download the log and shorten it."""
        log = await context.client.runs.log(self.run_id)
        start = max(len(log) - _SEARCHED, 0)
        searched = context.redact(log[start:])
        dropped = searched[:_DROPPED] if start else ""
        end, omitted = shorten_log(searched.removeprefix(dropped), self.max_lines)
        omitted += log.count("\n", 0, start) + dropped.count("\n")
        note = f"the first {omitted} lines are not shown" if omitted else None
        return RunLog(run_id=self.run_id, log=end, omitted_lines=omitted, note=note)


class WaitForRunTool(ToolCall):
    """
    Wait until the run of a trigger ends, for at most 45 seconds.

    Runs can take much longer: if the run has not ended, call the tool again with the same
    trigger_id.
    """

    output = RunProgress

    trigger_id: int | str = Field(description="The trigger's id, as returned by sync_tenant.")
    seconds: int = Field(30, ge=1, le=MAX_WAIT, description="The maximum time to wait.")

    async def call(self, context: ToolContext) -> RunProgress:
        """Poll the status until the run ends or the time is over."""
        trigger_id = str(self.trigger_id)
        try:
            status = await context.client.runs.wait(trigger_id, timeout=self.seconds)
        except WaitTimeout as error:
            return _still_active(trigger_id, error)
        has_failed = status.outcome is Outcome.FAILED
        note = "find_run returns the run, and get_run_log its log" if has_failed else None
        return RunProgress(
            trigger_id=trigger_id,
            ended=True,
            outcome=status.outcome,
            status=status.status,
            note=note,
        )


def _still_active(trigger_id: str, error: WaitTimeout) -> RunProgress:
    status = None if error.last_status is None else error.last_status.status
    note = "the run has not ended; call wait_for_run again with the same trigger_id"
    if status is None:
        note = "the run has not started, or there is no such trigger; call wait_for_run again"
    if error.__cause__ is not None:
        note = f"{note}; the last request failed: {error.__cause__}"
    return RunProgress(
        trigger_id=trigger_id, ended=False, outcome=Outcome.ACTIVE, status=status, note=note
    )


class ListReleasesTool(_Paged):
    """
    List the releases of an integration, newest first.

    A release is a version of the integration's code, created by a build.
    """

    output = ReleasePage

    integration_id: int = Field(ge=0, description="The integration's id.")

    async def call(self, context: ToolContext) -> ReleasePage:
        """List all releases, which the API does not paginate, and return a part."""
        releases = await context.client.releases.list(self.integration_id)
        releases.sort(key=attrgetter("id"), reverse=True)
        part = releases[self.skip : self.skip + self.limit + 1]
        shown, next_skip = self._cut([ReleaseInfo.create(release) for release in part])
        return ReleasePage(releases=shown, next_skip=next_skip)


class FindReleaseTool(ToolCall):
    """
    Find a release of an integration, by the tag of its build or as the default or latest one.

    To wait for a build that was just created, pass its tag and wait_seconds.
    """

    output = ReleaseFound

    integration_id: int = Field(ge=0, description="The integration's id.")
    tag: str | None = Field(None, min_length=1, description="The tag of the build, such as v1.4.0.")
    channel: Literal["default", "latest"] | None = Field(
        None, description="default is the release of new tenants, latest is the newest one."
    )
    wait_seconds: int = Field(
        0, ge=0, le=MAX_WAIT, description="How long to wait for the release of a tag."
    )

    @model_validator(mode="after")
    def _has_one_criterion(self) -> Self:
        if (self.tag is None) is (self.channel is None):
            raise ValueError("either tag or channel is required, and not both")
        if self.wait_seconds and self.tag is None:
            raise ValueError("wait_seconds requires tag")
        return self

    async def call(self, context: ToolContext) -> ReleaseFound:
        """Request the release, or search the listing for the tag."""
        releases = context.client.releases
        if self.tag is not None:
            return await self._find(context, self.tag)
        get = releases.default if self.channel == "default" else releases.latest
        return ReleaseFound(release=ReleaseInfo.create(await get(self.integration_id)))

    async def _find(self, context: ToolContext, tag: str) -> ReleaseFound:
        release = await self._search(context, tag)
        if release is not None:
            return ReleaseFound(release=ReleaseInfo.create(release))
        return ReleaseFound(
            note=f"no release has the tag {tag} yet; a build takes minutes, and a failed build"
            " creates no release: call find_release again, or list_releases"
        )

    async def _search(self, context: ToolContext, tag: str) -> Release | None:
        if not self.wait_seconds:
            releases = await context.client.releases.list(self.integration_id)
            matching = [release for release in releases if release.tag == tag]
            return max(matching, key=attrgetter("id"), default=None)
        try:
            return await context.client.builds.wait(
                self.integration_id, tag, timeout=self.wait_seconds
            )
        except WaitTimeout as error:
            if error.__cause__ is not None:  # the service cannot be reached
                raise
            return None


READING_TOOLS: tuple[type[ToolCall], ...] = (
    ListIntegrationsTool,
    ListTenantsTool,
    FindTenantTool,
    ListRunsTool,
    FindRunTool,
    GetRunLogTool,
    WaitForRunTool,
    ListReleasesTool,
    FindReleaseTool,
)
