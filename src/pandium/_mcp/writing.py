"""The tools that change something. They are offered only if the user allows writes."""

from typing import Any, Literal

from pydantic import Field

from pandium._mcp.outputs import BuildCreated, SyncTriggered
from pandium._mcp.tool import ToolCall, ToolContext

__all__ = ["WRITING_TOOLS"]

RunMode = Literal["init", "normal"]


class SyncTenantTool(ToolCall):
    """
    Sync a tenant: start a run, which reads and writes data in the systems that it connects.

    Each call starts another run, and a run cannot be canceled. Returns a trigger id for
    wait_for_run.
    """

    is_write = True
    is_destructive = True  # the run may overwrite data in the connected systems
    output = SyncTriggered

    tenant_id: int = Field(ge=0, description="The tenant's id.")
    mode: RunMode = Field(
        "normal", description="normal for a regular run, init for an initial load of all data."
    )
    payload: dict[str, Any] | None = Field(
        None, description="Data for the integration's code. Its form depends on the integration."
    )

    async def call(self, context: ToolContext) -> SyncTriggered:
        """Trigger the sync."""
        trigger = await context.client.tenants.sync(
            self.tenant_id, mode=self.mode, payload=self.payload
        )
        return SyncTriggered(
            tenant_id=self.tenant_id,
            trigger_id=trigger.trigger_id,
            note="call wait_for_run with the trigger_id",
        )


class CreateBuildTool(ToolCall):
    """
    Build a release of an integration from its source code.

    Each call starts another build. A build takes minutes. When it has succeeded, find_release finds
    the release by its tag.
    """

    is_write = True
    output = BuildCreated

    integration_id: int = Field(ge=0, description="The integration's id.")
    tag: str = Field(min_length=1, description="The tag to build, such as v1.4.0.")
    mode: RunMode = Field("normal", description="The run mode of the build.")
    branch: str | None = Field(
        None, min_length=1, description="The branch to build. By default, the tracking branch."
    )

    async def call(self, context: ToolContext) -> BuildCreated:
        """Create the build."""
        await context.client.builds.create(
            self.integration_id, self.tag, mode=self.mode, branch=self.branch
        )
        return BuildCreated(
            integration_id=self.integration_id,
            tag=self.tag,
            note="call find_release with the tag and wait_seconds",
        )


WRITING_TOOLS: tuple[type[ToolCall], ...] = (SyncTenantTool, CreateBuildTool)
