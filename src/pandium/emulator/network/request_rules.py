"""Rules that select requests for a fault or a change, by count or at random."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Generic, TypedDict, TypeVar

from pandium.emulator.network.operations import has_tenant, parse_operation
from pandium.emulator.runs.clock import Clock

T = TypeVar("T")


class RuleOptions(TypedDict, total=False):
    """
    At which requests of an operation something happens; without any of these at all of them.

    - `after`: how many are left alone first.
    - `every`: it is each how many-th of the others.
    - `probability`: the share of those, above 0 and 1 at most, drawn with `seed`.
    - `times`: how often at most.
    - `tenant`: count only requests for this tenant. For the status of a trigger and for a log it
      is the tenant of the run, for a sync by integration that of the user.
    """

    after: int
    every: int
    probability: float
    seed: int
    times: int | None
    tenant: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """The validated options of a rule. If `operation` is None, it applies to all operations."""

    operation: str | None = None
    after: int = 0
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    times: int | None = None
    tenant: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "operation", parse_operation(self.operation))
        validate_count("after", self.after, 0)
        validate_count("every", self.every, 1)
        validate_count("times", 1 if self.times is None else self.times, 1)
        validate_count("tenant", 1 if self.tenant is None else self.tenant, 1)
        if validate_seconds("probability", self.probability) > 1 or not self.probability:
            raise ValueError(f"probability: must be above 0, 1 at most, not {self.probability!r}")
        if self.tenant is not None and not has_tenant(self.operation):
            raise ValueError(f"tenant: no request of {self.operation} is for one tenant")


@dataclass(slots=True, eq=False)
class RequestRule(Generic[T]):
    """A fault or change for the requests that match a condition. It has happened `hits` times."""

    action: T
    condition: Condition
    ends_at: float = math.inf
    id: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.condition.seed)  # noqa: S311 - a choice, not a secret

    def remove(self) -> None:
        """Remove the rule. Idempotent."""
        self.ends_at = -math.inf

    @property
    def is_removed(self) -> bool:
        """Whether the rule has been removed."""
        return self.ends_at == -math.inf

    def is_expired(self, now: float) -> bool:
        """Return whether the rule no longer applies."""
        return now >= self.ends_at or self.hits == self.condition.times

    def is_due(self, operation: str | None, tenant: int | None) -> bool:
        """Count a request, and return whether the rule applies to it."""
        at = self.condition
        if at.operation not in (None, operation) or at.tenant not in (None, tenant):
            return False
        self._seen += 1
        number = self._seen - at.after
        is_hit = number > 0 and number % at.every == 0 and self._random.random() < at.probability
        self.hits += is_hit
        return is_hit


class RequestRules(Generic[T]):
    """Rules in the order in which they are evaluated."""

    def __init__(self, clock: Clock, ids: Iterator[int] | None = None) -> None:
        self._clock = clock
        self._ids = ids or count(1)
        self._lock = Lock()
        self._rules: list[RequestRule[T]] = []
        self._expired: list[RequestRule[T]] = []

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, rule: RequestRule[T], *, is_first: bool = False) -> RequestRule[T]:
        """Add a rule after the others, or before them."""
        with self._lock:
            rule.id = next(self._ids)
            self._rules.insert(0 if is_first else len(self._rules), rule)
        return rule

    def all(self) -> list[RequestRule[T]]:
        """Return the rules that have not been removed, including expired ones, by id."""
        with self._lock:
            rules = [*self._rules, *self._expired]
        return sorted((rule for rule in rules if not rule.is_removed), key=lambda rule: rule.id)

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            for rule in self._rules:
                rule.remove()
            self._rules.clear()
            self._expired.clear()

    def take_due(
        self,
        operation: str | None,
        tenant: int | None,
        is_last: Callable[[T], bool] = lambda _: False,
    ) -> list[RequestRule[T]]:
        """Count a request with each rule, up to one that is the last; return those that are due."""
        due: list[RequestRule[T]] = []
        with self._lock:
            self._retire(self._clock.now())
            for rule in self._rules:
                if rule.is_due(operation, tenant):
                    due.append(rule)
                    if is_last(rule.action):
                        break
        return due

    def _retire(self, now: float) -> None:
        """Set expired rules aside, so that they are not evaluated for every request."""
        expired = [rule for rule in self._rules if rule.is_expired(now)]
        if expired:
            self._rules = [rule for rule in self._rules if rule not in expired]
            self._expired = [rule for rule in [*self._expired, *expired] if not rule.is_removed]


def validate_count(place: str, value: object, least: int) -> int:
    """Read a whole number, or raise ValueError that names its place."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(f"{place}: must be a whole number, {least} at least, not {value!r}")


def validate_seconds(place: str, value: object) -> float:
    """Read a number that is finite and not below zero, or raise ValueError that names its place."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    raise ValueError(f"{place}: must be a number, zero or more, not {value!r}")
