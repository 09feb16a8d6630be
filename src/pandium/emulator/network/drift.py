"""Changes to the records while a client is working, for example between two pages."""

import inspect
import logging
import random
from collections.abc import Callable
from itertools import count
from threading import RLock
from typing import Literal, Unpack

from pandium.emulator.network.request_selection import (
    Condition,
    RequestRule,
    RequestRules,
    RuleOptions,
    validate_count,
)
from pandium.emulator.runs.clock import Clock
from pandium.emulator.state.adding import add_tenant
from pandium.emulator.state.errors import Missing, validate
from pandium.emulator.state.record_models import Tenant
from pandium.emulator.state.store import SORTABLE, Store
from pandium.emulator.state.window import parse_window

Change = Callable[[], object]
Timing = Literal["before", "after"]

log: logging.Logger = logging.getLogger("pandium.emulator")


class ChangeFailed(Exception):  # noqa: N818 - the name states what has failed
    """The function that makes a change raised an exception."""


class Drift:
    """
    Changes that are made before or after certain requests.

    A change is any function without parameters, such as `lambda: emulator.archive_tenant(7)`, or
    the result of `archive`, `insert` or `resort`. It is called in the emulator's thread and blocks
    all requests until it returns.
    """

    def __init__(self, store: Store, clock: Clock, lock: RLock) -> None:
        self._store = store
        self._lock = lock
        ids = count(1)
        self._before: RequestRules[Change] = RequestRules(clock, ids)
        self._after: RequestRules[Change] = RequestRules(clock, ids)

    def before(
        self, operation: str | None, change: Change, **options: Unpack[RuleOptions]
    ) -> RequestRule[Change]:
        """
        Make a change when a request is received, before it is executed.

        :param operation: as in `Faults.add`.
        :param change: the function.
        :param options: the options that select requests: see `RuleOptions`.
        :return: a handle. `hits` is the number of times that the change has been made, and
            `remove()` removes it.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        return self._before.add(
            RequestRule(_validate_change(change), Condition(operation, **options))
        )

    def after(
        self, operation: str | None, change: Change, **options: Unpack[RuleOptions]
    ) -> RequestRule[Change]:
        """
        Make a change after a request is executed and before its response is sent.

        The response shows the state before the change. The arguments and the result are those of
        `before`.

        :raises ValueError: if an argument is invalid. The message names it.
        """
        return self._after.add(
            RequestRule(_validate_change(change), Condition(operation, **options))
        )

    def archive(self, count: int = 1, *, seed: int | None = None) -> Change:
        """
        Return a change that archives tenants.

        :param count: the number of tenants.
        :param seed: the seed that determines which tenants are archived. By default, the oldest
            tenants are archived.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        validate_count("count", count, 1)
        chance = None if seed is None else random.Random(seed)  # noqa: S311 - no secret

        def change() -> None:
            with self._lock:
                left = [one.id for one in self._store.tenants.values() if not one.archived]
                chosen = left if chance is None else chance.sample(left, min(count, len(left)))
                for tenant_id in chosen[:count]:
                    self._store.archive(tenant_id)

        return change

    def insert(self, count: int = 1, *, at_front: bool = False, integration_id: int = 1) -> Change:
        """
        Return a change that adds tenants.

        :param count: the number of tenants.
        :param at_front: whether to assign ids lower than all others, so that the tenants come first
            in a listing. By default, they get the next ids and come last.
        :param integration_id: the integration of the tenants.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        validate_count("count", count, 1)
        with self._lock:
            try:
                self._store.integration(integration_id)
            except Missing as error:
                raise ValueError(f"integration_id: {error}") from None
            self._ids(count, at_front=at_front)

        def change() -> None:
            with self._lock:
                for key in self._ids(count, at_front=at_front):
                    given = {"id": key, "integration_id": integration_id}
                    add_tenant(self._store, validate(Tenant, given))

        return change

    def resort(self, sort_by: str | None = None) -> Change:
        """
        Return a change that sets the default order of listings.

        :param sort_by: the new order, such as "name__DESC". By default, the order is reversed.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        parse_window(0, 1, sort_by, SORTABLE)

        def change() -> None:
            with self._lock:
                self._store.default_sort = sort_by or _reversed(self._store.default_sort)

        return change

    def rules(self, timing: Timing) -> list[RequestRule[Change]]:
        """Return the handles of all changes with this timing that have not been removed."""
        return (self._before if timing == "before" else self._after).all()

    def clear(self) -> None:
        """Remove all rules. The effects of past changes remain."""
        self._before.clear()
        self._after.clear()

    def __len__(self) -> int:
        return len(self._before) + len(self._after)

    def apply_before(self, operation: str | None, tenant: int | None) -> None:
        """Make the changes that are due before a request. Raise ChangeFailed if one fails."""
        _apply("before", self._before.take_due(operation, tenant))

    def apply_after(self, operation: str | None, tenant: int | None) -> None:
        """Make the changes that are due after a request. Raise ChangeFailed if one fails."""
        _apply("after", self._after.take_due(operation, tenant))

    def _ids(self, count: int, *, at_front: bool) -> list[int | None]:
        lowest = min(self._store.tenants, default=None)
        if not at_front or lowest is None:
            return [None] * count
        if lowest <= count:
            raise ValueError(f"count: there are {lowest - 1} ids below all others, not {count}")
        return list(range(lowest - 1, lowest - 1 - count, -1))


def _reversed(sort_by: str) -> str:
    field, _, direction = sort_by.rpartition("__")
    return f"{field}__{'ASC' if direction == 'DESC' else 'DESC'}"


def _apply(moment: str, due: list[RequestRule[Change]]) -> None:
    for rule in due:
        try:
            rule.action()
        except Exception as error:
            place = f"the change of drift.{moment}({rule.condition.operation!r}, …)"
            log.exception("%s failed", place)
            raise ChangeFailed(f"{place} failed: {error!r}") from error


def _validate_change(change: Change) -> Change:
    if not callable(change) or inspect.iscoroutinefunction(change):
        raise ValueError(f"change: must be a function that is not async, not {change!r}")
    return change
