"""Assertions on the requests of a request log: a failure shows the requests that it is about."""

from collections.abc import Callable

from pandium.emulator.network.operations import SYNCS, read_operation
from pandium.emulator.network.request_log import Kind, Request, RequestLog
from pandium.emulator.network.request_rules import read_count

MOST_SHOWN = 20
LAST_SHOWN = 5
NOT_YET = 404
ANSWERED = range(1, 400)


def assert_triggered(log: RequestLog, tenant: int | None, times: int | None) -> None:
    """Fail unless a tenant (None: any) got a trigger, or as many as `times`."""
    __tracebackhide__ = True
    effects = log.effects.copy()
    found = sum(
        number
        for (operation, one), number in effects.items()
        if operation in SYNCS and tenant in (None, one)
    )

    def is_about(kind: Kind) -> bool:
        return kind[0] in SYNCS and tenant in (None, kind[1])

    _expect(f"triggers of {_name(tenant)}", found, times, log, is_about)


def assert_requested(
    log: RequestLog,
    operation: str,
    tenant: int | None,
    status: int | None,
    times: int | None,
) -> None:
    """Fail unless an operation was requested, or as often as `times`."""
    __tracebackhide__ = True
    name = read_operation(operation)

    def is_about(kind: Kind) -> bool:
        return kind[0] == name and tenant in (None, kind[1])

    found = log.total(lambda kind: is_about(kind) and status in (None, kind[2]))
    whose = "" if tenant is None else f" for {_name(tenant)}"
    answered = "" if status is None else f" with status {status}"
    _expect(f"requests of {name}{whose}{answered}", found, times, log, is_about)


def assert_no_errors(log: RequestLog) -> None:
    """Fail if a request got no answer, or one of failure; a trigger without a run is none."""
    __tracebackhide__ = True
    if number := log.total(_is_error):
        raise AssertionError(f"requests that failed: {number}, not 0{_shown(log, _is_error)}")


def _is_error(kind: Kind) -> bool:
    operation, _, status = kind
    return status not in ANSWERED and (operation, status) != ("runs.status", NOT_YET)


def _name(tenant: int | None) -> str:
    return "any tenant" if tenant is None else f"tenant {read_count('tenant', tenant, 1)}"


def _expect(
    what: str,
    found: int,
    times: int | None,
    log: RequestLog,
    is_about: Callable[[Kind], bool],
) -> None:
    __tracebackhide__ = True
    if found != times if times is not None else not found:
        wanted = "1 or more" if times is None else read_count("times", times, 0)
        raise AssertionError(f"{what}: {found}, not {wanted}{_shown(log, is_about)}")


def _shown(log: RequestLog, is_about: Callable[[Kind], bool]) -> str:
    about: list[Request] = [one for one in log if is_about(one.kind)]
    lines = about[-MOST_SHOWN:] or log[-LAST_SHOWN:]
    title = "" if about else "\nno such request; the last ones:" if lines else "\nno request"
    left = len(about) - len(lines)
    before = f"\n  … and {left} before" if left > 0 else ""
    return title + before + "".join(f"\n  {one}" for one in lines)
