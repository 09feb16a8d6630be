"""Rules that select the requests that a fault or a change applies to."""

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
    The requests of an operation that a rule applies to. By default, it applies to all of them.

    - `after`: skip this number of requests first.
    - `every`: apply the rule only to every n-th of the remaining requests.
    - `probability`: apply it to each of these with this probability, above 0 and at most 1. The
      choice depends only on `seed`.
    - `times`: apply it at most this number of times.
    - `tenant`: count only requests for this tenant. A request for a trigger's status or for a log
      belongs to the tenant of the run, and a sync by integration to the tenant of the user.
    """

    after: int
    every: int
    probability: float
    seed: int
    times: int | None
    tenant: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """The validated options of a rule. If `operation` is None, all operations match."""

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
            raise ValueError(
                f"probability: must be above 0 and at most 1, not {self.probability!r}"
            )
        if self.tenant is not None and not has_tenant(self.operation):
            raise ValueError(f"tenant: requests of {self.operation} are not for a single tenant")


@dataclass(slots=True, eq=False)
class RequestRule(Generic[T]):
    """A fault or change for certain requests. `hits` counts how often it was applied."""

    action: T
    condition: Condition
    ends_at: float = math.inf
    id: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.condition.seed)  # noqa: S311 - not a secret

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
        """Assign an id to a rule, and add it after all others or before them."""
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
        """Count a request. Return the rules that are due, up to the first that is the last."""
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
    """Validate a whole number with a lower limit."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ValueError(f"{place}: must be a whole number of at least {least}, not {value!r}")


def validate_seconds(place: str, value: object) -> float:
    """Validate a finite number that is at least zero."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    raise ValueError(f"{place}: must be a finite number of at least 0, not {value!r}")
