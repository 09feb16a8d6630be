"""Create builds and wait for their releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._cli.fetching import fetch_json, fetch_record
from pandium._cli.options import get_option, show_command
from pandium._cli.output.terminal import note
from pandium._cli.session import hints_on_abort

if TYPE_CHECKING:
    from pandium import AsyncPandium
    from pandium.models import Release

__all__ = ["BuildArguments", "create", "create_and_wait", "wait"]


@attrs.define
class BuildArguments:
    """
    The arguments of a build command.

    ``is_created`` is whether the build was created, so that its release can be waited for.
    ``is_sent`` is whether the request to create it may have been sent.
    """

    integration_id: int
    tag: str
    mode: str | None = None
    branch: str | None = None
    is_created: bool = False
    is_sent: bool = False

    async def create(self, client: AsyncPandium) -> Any:
        """Create the build and return the response."""
        self.is_sent = True
        response = await client.builds.create(
            self.integration_id, self.tag, mode=self.mode, branch=self.branch
        )
        self.is_created = True
        return response

    async def wait(self, client: AsyncPandium, seconds: float) -> Release:
        """Wait for the release and return it."""
        return await client.builds.wait(self.integration_id, self.tag, timeout=seconds)

    def hints(self, error: BaseException) -> list[str]:
        """Return hints on whether the build was created and how to wait for its release."""
        if self.is_sent and not self.is_created and isinstance(error, KeyboardInterrupt):
            return ["the build may or may not have been created"]
        operands = [str(self.integration_id), self.tag]
        resume = show_command("builds", "wait", operands=operands)
        return [f"to resume, run: {resume}"] if self.is_created else []


def create(build: BuildArguments) -> int:
    """
    Create a build, print the response and return the exit code.

    :raises ValueError: if CSV columns were chosen. The fields of the response are not known.
    """
    if get_option("columns") is not None:
        raise ValueError("--columns requires --wait")
    return fetch_json(build.create, is_write=True)


def create_and_wait(build: BuildArguments, timeout: float) -> int:
    """
    Create a build, wait for its release and show it.

    :param build: the build.
    :param timeout: the time limit of the wait, in seconds.
    :returns: the exit code.
    """

    async def create_and_find(client: AsyncPandium) -> Release:
        await build.create(client)
        note(f"created build {build.tag}; waiting for its release")
        return await build.wait(client, timeout)

    with hints_on_abort(build.hints):
        return fetch_record(create_and_find, "Release")


def wait(build: BuildArguments, timeout: float) -> int:
    """
    Wait for the release of a build and show it.

    :param build: the build.
    :param timeout: the time limit of the wait, in seconds.
    :returns: the exit code.
    """
    build.is_created = True
    with hints_on_abort(build.hints):
        return fetch_record(lambda client: build.wait(client, timeout), "Release")
