"""Scripts: what a run goes through, by time or by the number of looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass

PAIR = 2


@dataclass(frozen=True, slots=True)
class Polls:
    """
    So many looks at the status of a trigger: what a phase may last in place of seconds.

    `("Running", Polls(3))` shows to three looks, and is over with the third. A look counts for
    the run that its trigger waits for: its own, or the one that goes before.

    :raises ValueError: the number is not whole, or below zero.
    """

    number: int

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or isinstance(self.number, bool) or self.number < 0:
            raise ValueError(f"number: must be whole, zero or more, not {self.number!r}")


Span = float | Polls
# None is a word that is missing: the status answers 404.
Phase = tuple[str | None, Span]


@dataclass(frozen=True, slots=True)
class Script:
    """How long a run keeps its triggers waiting, what it goes through, and when it is killed."""

    appears_after: Span
    phases: tuple[Phase, ...]
    killed_after: float


def validate_script(appears_after: object, phases: object, killed_after: object) -> Script:
    """Read a script, or raise ValueError that names the place of what cannot be read."""
    return Script(
        _validate_span("appears_after", appears_after),
        _validate_phases(phases),
        _validate_seconds("killed_after", killed_after, "seconds, zero or more"),
    )


def _validate_phases(phases: object) -> tuple[Phase, ...]:
    if isinstance(phases, str) or not isinstance(phases, Sequence) or not phases:
        raise ValueError("phases: must be a sequence of (word, seconds), one at least")
    read = tuple(_validate_phase(f"phases[{index}]", phase) for index, phase in enumerate(phases))
    if read[0][0] is None:
        raise ValueError("phases[0][0]: must be a word; appears_after says how long there is none")
    return read


def _validate_phase(place: str, phase: object) -> Phase:
    if isinstance(phase, str) or not isinstance(phase, Sequence) or len(phase) != PAIR:
        raise ValueError(f"{place}: must be a word and its seconds or Polls, not {phase!r}")
    name, span = phase
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"{place}[0]: must be a word, or None for 404, not {name!r}")
    return name, _validate_span(f"{place}[1]", span)


def _validate_span(place: str, span: object) -> Span:
    if isinstance(span, Polls):
        return span
    return _validate_seconds(place, span, "seconds, zero or more, or Polls")


def _validate_seconds(place: str, seconds: object, what: str) -> float:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        return seconds
    raise ValueError(f"{place}: must be {what}, not {seconds!r}")
