"""Scripts, which determine the phases of runs by time or by number of polls."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from pandium.emulator.state.record_base import Id, Record

# The vendor kills a run after ten minutes.
KILLED_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Polls:
    """
    The duration of a phase as a number of polls of a trigger's status instead of seconds.

    With `("Running", Polls(3))`, three polls return this status, and the third one ends the phase.
    A poll counts for the run that the trigger is waiting for: its own run or the previous one.

    :raises ValueError: if the number is not a whole number or is negative.
    """

    polls: int

    def __post_init__(self) -> None:
        if not isinstance(self.polls, int) or isinstance(self.polls, bool) or self.polls < 0:
            raise ValueError(f"polls: must be a whole number, zero or more, not {self.polls!r}")


# Seconds, polls, or None for an unlimited time.
Span = float | Polls | None
# None in place of a status means that the API responds with 404.
Phase = tuple[str | None, Span]

DEFAULT_PHASES: tuple[Phase, ...] = (("Running", 0.3), ("Succeeded", 0))
SPAN: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {
            "type": "object",
            "properties": {"polls": {"type": "integer", "minimum": 0}},
            "required": ["polls"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}


def _parse_span(given: object) -> Span:
    if given is None or given == math.inf:
        return None
    if isinstance(given, Polls):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return given
    if isinstance(given, Mapping) and list(given) == ["polls"]:
        with suppress(ValueError):
            return Polls(given["polls"])
    raise PydanticCustomError(
        "value_error",
        "must be seconds, zero or more, or {example}, or null for an unlimited time",
        {"example": '{"polls": 3}'},
    )


def _validate_phases(phases: Sequence[Phase]) -> Sequence[Phase]:
    if phases[0][0] is None:
        raise PydanticCustomError(
            "value_error", "must begin with a status; use appears_after for 404 before it"
        )
    return phases


def _never_if_infinite(seconds: float | None) -> float | None:
    return None if seconds == math.inf else seconds


SpanField = Annotated[Span, PlainValidator(_parse_span), WithJsonSchema(SPAN)]
Status = Annotated[str, Field(min_length=1)]
PhaseField = Annotated[tuple[Status | None, SpanField], Field(strict=False)]
Phases = Annotated[Sequence[PhaseField], Field(min_length=1), AfterValidator(_validate_phases)]
Seconds = Annotated[float, Field(ge=0)]


class Script(Record):
    """The script for new runs of a tenant, of an integration, or of all others."""

    tenant: Id | None = None
    integration: Id | None = None
    appears_after: SpanField = 0.1
    phases: Phases = Field(default_factory=lambda: list(DEFAULT_PHASES))
    killed_after: Annotated[Seconds | None, AfterValidator(_never_if_infinite)] = KILLED_AFTER

    @field_validator("integration")
    @classmethod
    def _excludes_a_tenant(cls, integration: int | None, given: ValidationInfo) -> int | None:
        if integration is not None and given.data.get("tenant") is not None:
            raise PydanticCustomError("value_error", "specify a tenant or an integration, not both")
        return integration
