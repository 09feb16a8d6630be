"""The JSON models of the options that select requests for a fault or change."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from pandium.emulator.network.request_selection import RequestRule
from pandium.emulator.runs.clock import Clock
from pandium.emulator.state.errors import InvalidInput, Missing, Problem
from pandium.emulator.state.record_base import Id, Record
from pandium.emulator.state.store import Store

A = TypeVar("A")


class RuleArguments(Record):
    """The requests that a rule applies to. By default, these are all requests to the API."""

    operation: str | None = Field(
        None,
        description="A name, such as `tenants.sync`, or a method and path template, such as"
        " `POST /v2/tenants/{tenant_id}/sync`. `null` selects all operations.",
    )
    tenant: Id | None = Field(None, description="Select only requests for this tenant.")
    after: int = Field(0, ge=0, description="Skip this many of the selected requests first.")
    every: int = Field(1, ge=1, description="Of the others, apply only to every n-th request.")
    probability: float = Field(
        1.0, gt=0, le=1, description="Apply to each of those with this probability."
    )
    seed: int = Field(0, description="Rules with the same seed apply to the same requests.")
    times: int | None = Field(None, ge=1, description="Apply at most this many times.")

    def selection(self, store: Store) -> dict[str, Any]:
        """
        Return the arguments that select the requests.

        :raises InvalidInput: if the tenant does not exist.
        """
        require_record(store.tenants, self.tenant, "tenant")
        return self.model_dump(include=set(RuleArguments.model_fields))


class RuleState(BaseModel):
    """The id of a rule and the number of times that the rule has been applied."""

    id: int
    hits: int = Field(description="The number of times that the rule has been applied.")
    ends_at: datetime | None = Field(
        description="The time at which the rule ends, on the emulator's clock."
    )


def rule_data(rule: RequestRule[Any], clock: Clock) -> dict[str, Any]:
    """Return a rule as JSON data, without its action."""
    ends_at = _date(clock, rule.ends_at)
    return {"id": rule.id, "hits": rule.hits, "ends_at": ends_at, **asdict(rule.condition)}


def _date(clock: Clock, seconds: float) -> datetime | None:
    """Return a date, or None if it is infinite or out of range."""
    try:
        return clock.at(seconds)
    except OverflowError:
        return None


def find_rule(rules: Sequence[RequestRule[A]], rule_id: int, noun: str) -> RequestRule[A]:
    """Return the rule with an id, or raise Missing."""
    for rule in rules:
        if rule.id == rule_id:
            return rule
    raise Missing(f"there is no {noun} {rule_id}")


def require_record(
    records: Mapping[int, object], record_id: int | None, noun: str, *place: str
) -> None:
    """Raise InvalidInput if an id is specified but no record has it."""
    if record_id is not None and record_id not in records:
        problem = Problem((*place, noun), f"there is no {noun} {record_id}", record_id)
        raise InvalidInput([problem])


@contextmanager
def value_errors_at(*place: str) -> Iterator[None]:
    """Convert a ValueError whose message starts with an argument's name to InvalidInput."""
    try:
        yield
    except InvalidInput as error:
        raise error.under(*place) from None
    except ValueError as error:
        argument, _, message = str(error).partition(": ")
        raise InvalidInput([Problem((*place, argument), message, None)]) from None
