"""The `builds` commands."""

from __future__ import annotations

import click

from pandium._cli.options import ID, MODE, SECONDS, Group, format_option

__all__ = ["builds"]

_INTEGRATION = click.argument("integration_id", metavar="INTEGRATION", type=ID)
_TAG = click.argument("tag")
_WAIT_TIMEOUT = click.option(
    "--wait-timeout",
    type=SECONDS,
    metavar="SECONDS",
    default=1800.0,
    help="Maximum time to wait for the release, in seconds. [default: 1800]",
)


@click.group(cls=Group)
def builds() -> None:
    """Create builds and wait for their releases."""


@builds.command("create")
@_INTEGRATION
@_TAG
@click.option(
    "--mode", type=MODE, default="normal", show_default=True, help="Run mode of the build."
)
@click.option("--branch", help="Branch to build. By default, the integration's tracking branch.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for the release and show it.")
@_WAIT_TIMEOUT
@format_option
def create(
    *,
    integration_id: int,
    tag: str,
    mode: str,
    branch: str | None,
    is_waiting: bool,
    wait_timeout: float,
) -> int:
    """
    Create a build of an integration.

    Without --wait, prints the response, as JSON by default. With --wait, shows the release of the
    build as soon as it is listed, as a table by default.

    Example: pandium-api builds create 42 v1.4.0 --wait
    """
    from pandium._cli import releasing

    build = releasing.BuildArguments(integration_id, tag, mode, branch)
    if is_waiting:
        return releasing.create_and_wait(build, wait_timeout)
    return releasing.create(build)


@builds.command("wait")
@_INTEGRATION
@_TAG
@_WAIT_TIMEOUT
@format_option
def wait(*, integration_id: int, tag: str, wait_timeout: float) -> int:
    """
    Wait for the release of a build and show it.

    Example: pandium-api builds wait 42 v1.4.0 --wait-timeout 600
    """
    from pandium._cli import releasing

    return releasing.wait(releasing.BuildArguments(integration_id, tag), wait_timeout)
