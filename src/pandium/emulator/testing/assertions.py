"""Assertions about recorded requests. A failure shows the relevant requests."""

from collections.abc import Callable

from pandium.emulator.network.operations import SYNCS, parse_operation
from pandium.emulator.network.request_log import Kind, Request, RequestLog
from pandium.emulator.network.request_selection import validate_count

MAX_LISTED = 20
MAX_LAST = 5
NOT_FOUND = 404
SUCCESSES = range(1, 400)


def assert_triggered(log: RequestLog, tenant: int | None, times: int | None) -> None:
    """Fail unless a tenant was triggered `times` times, or at least once by default."""
    __tracebackhide__ = True
    effects = log.effects.copy()
    found = sum(
        number
        for (operation, one), number in effects.items()
        if operation in SYNCS and tenant in (None, one)
    )

    def is_about(kind: Kind) -> bool:
        return kind[0] in SYNCS and tenant in (None, kind[1])

    _check(f"triggers of {_tenant_name(tenant)}", found, times, log, is_about)


def assert_requested(
    log: RequestLog,
    operation: str,
    tenant: int | None,
    status: int | None,
    times: int | None,
) -> None:
    """Fail unless an operation was requested `times` times, or at least once by default."""
    __tracebackhide__ = True
    name = parse_operation(operation)

    def is_about(kind: Kind) -> bool:
        return kind[0] == name and tenant in (None, kind[1])

    found = log.total(lambda kind: is_about(kind) and status in (None, kind[2]))
    whose = "" if tenant is None else f" for {_tenant_name(tenant)}"
    answered = "" if status is None else f" with status {status}"
    _check(f"requests of {name}{whose}{answered}", found, times, log, is_about)


def assert_no_errors(log: RequestLog) -> None:
    """Fail if a request failed. A 404 for a trigger without a run is not a failure."""
    __tracebackhide__ = True
    if number := log.total(_is_error):
        raise AssertionError(
            f"requests that failed: {number}, not 0{_format_requests(log, _is_error)}"
        )


def _is_error(kind: Kind) -> bool:
    operation, _, status = kind
    return status not in SUCCESSES and (operation, status) != ("runs.status", NOT_FOUND)


def _tenant_name(tenant: int | None) -> str:
    return "any tenant" if tenant is None else f"tenant {validate_count('tenant', tenant, 1)}"


def _check(
    what: str,
    found: int,
    times: int | None,
    log: RequestLog,
    is_about: Callable[[Kind], bool],
) -> None:
    __tracebackhide__ = True
    if found != times if times is not None else not found:
        wanted = "1 or more" if times is None else validate_count("times", times, 0)
        raise AssertionError(f"{what}: {found}, not {wanted}{_format_requests(log, is_about)}")


def _format_requests(log: RequestLog, is_about: Callable[[Kind], bool]) -> str:
    about: list[Request] = [one for one in log if is_about(one.kind)]
    lines = about[-MAX_LISTED:] or log[-MAX_LAST:]
    title = "" if about else "\nno such request; the last requests:" if lines else "\nno request"
    left = len(about) - len(lines)
    before = f"\n  … and {left} earlier" if left > 0 else ""
    return title + before + "".join(f"\n  {one}" for one in lines)
