"""Run the `doctor` command: check the configuration, the connection and the schemas."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

import attrs

from pandium import ConfigurationError, PandiumError
from pandium._cli import exit_codes
from pandium._cli.options import get_option
from pandium._cli.output.records import CheckRow, DifferenceRow
from pandium._cli.output.rows import create_writer, write_text
from pandium._cli.output.terminal import note
from pandium._cli.profiles import config_path
from pandium._cli.session import run
from pandium._cli.settings import find_api, find_key_file, find_profile
from pandium._http.environment import find_proxy
from pandium._schema.comparison import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandium import AsyncPandium, ResponseEvent
    from pandium._cli.profiles import Profile

__all__ = ["compare_schemas", "diagnose"]

T = TypeVar("T")

_DOCUMENT = "/v2/openapi.json"
# They mark the parts of a URL that may contain a secret. A base URL must have none of them.
_SECRET_MARKS = frozenset("@?#")

# The Date header has a resolution of one second, and the response takes some time.
_SMALLEST_OFFSET = timedelta(seconds=2)


def diagnose() -> int:
    """
    Check the configuration and the connection, print the results, and return the exit code.

    :raises ConfigurationError: if the profile is invalid.
    """
    diagnosis = _Diagnosis(find_profile())
    diagnosis.check_settings()
    try:
        code = run(diagnosis.check_service, can_prompt=False, on_response=diagnosis.observe)
    except ConfigurationError as error:
        diagnosis.add("configuration", str(error), is_ok=False)
        code = exit_codes.CONFIGURATION
    diagnosis.write()
    return code


@attrs.define
class _Diagnosis:
    """
    The results of all checks.

    :ivar clock: a comparison of the service's clock with the local one, once it has responded.
    """

    profile: Profile | None
    clock: str = "unknown, because the service has not responded"
    _rows: list[CheckRow] = attrs.field(factory=list, init=False)

    def add(
        self, check: str, detail: str, source: str | None = None, *, is_ok: bool = True
    ) -> None:
        """Add the result of a check."""
        self._rows.append(CheckRow(check, is_ok, detail, source))

    def check_settings(self) -> None:
        """Add what is known without a client."""
        if self.profile is not None:
            self.add("profile", self.profile.name, str(config_path()))
        api = find_api(self.profile)
        shown = "***" if _SECRET_MARKS & set(api.value) else api.value
        self.add(api.name.replace("_url", " URL"), shown, api.source)
        key_file = find_key_file(self.profile)
        if key_file is not None:
            self.add("key", f"in {key_file.value}", key_file.source)

    async def check_service(self, client: AsyncPandium) -> int:
        """Add the results of a request, and return the exit code."""
        if find_key_file(self.profile) is None:
            self.add("key", "in an environment variable", "PANDIUM_API_KEY")
        url = client._transport.config.base_url  # noqa: SLF001 - has no public access
        self.add("host", url)
        self.add("proxy", find_proxy(url) or "none", "the environment")
        try:
            await client.request("GET", "/v2/integrations", params={"limit": 1})
        except ConfigurationError:  # the certificates cannot be loaded
            raise
        except PandiumError as error:
            self.add("service", str(error), is_ok=False)
            return exit_codes.API
        else:
            self.add("service", "responds, and accepts the key")
            return exit_codes.SUCCESS
        finally:
            self.add("clock", self.clock)

    def observe(self, event: ResponseEvent) -> None:
        """Compare the clocks when a response arrives."""
        self.clock = _compare_clocks(event.headers.get("date"), datetime.now(UTC))

    def write(self) -> None:
        """Print the results."""
        _write_rows("CheckRow", self._rows, _format_row)


def compare_schemas() -> int:
    """Print how the service's own description of its API differs, and return the exit code."""
    return run(_compare_schemas)


async def _compare_schemas(client: AsyncPandium) -> int:
    found = await compare(await client.request("GET", _DOCUMENT))
    rows = [DifferenceRow(one.where, one.difference, one.meaning) for one in found]
    _write_rows("DifferenceRow", rows, lambda row: f"{row.where}: {row.difference}; {row.meaning}")
    if not rows:
        note("the service and the client do not differ")
    return exit_codes.SOME_FAILED if rows else exit_codes.SUCCESS


def _write_rows(kind: str, rows: Sequence[T], format_row: Callable[[T], str]) -> None:
    """Print rows in the selected format. The table has whole lines, however long they are."""
    if (output_format := get_option("format", "table")) != "table":
        writer = create_writer(kind, output_format, sys.stdout, get_option("columns"))
        writer.write(rows)
        writer.close()
    elif rows:
        write_text("\n".join(map(format_row, rows)), sys.stdout)


def _format_row(row: CheckRow) -> str:
    source = "" if row.source is None else f" (from {row.source})"
    mark = "" if row.is_ok else "FAILED: "
    return f"{row.check + ':':<15}{mark}{row.detail}{source}"


def _compare_clocks(date: str | None, now: datetime) -> str:
    try:
        service = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return "unknown, because the response has no valid Date header"
    if service.tzinfo is None:
        service = service.replace(tzinfo=UTC)
    offset = service - now
    if abs(offset) < _SMALLEST_OFFSET:
        return "the same as on this machine, within 2 s"
    direction = "ahead of" if offset > timedelta() else "behind"
    return f"{_format_duration(abs(offset))} {direction} this machine"


def _format_duration(duration: timedelta) -> str:
    seconds = round(duration.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds} s"
