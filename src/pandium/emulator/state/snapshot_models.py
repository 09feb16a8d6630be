"""The form of runs and builds in a saved state."""

from pydantic import Field

from pandium.emulator.state.builds import Build, BuildScript
from pandium.emulator.state.rules import Id, Moment, Object, PhasesForm, Record, SpanForm


class TriggerState(Record):
    """A request for a run."""

    id: Id
    at: Moment
    mode: str
    source: str
    payload: Object | None = None


class ScriptState(Record):
    """What a run goes through; null is for ever."""

    appears_after: SpanForm
    phases: PhasesForm
    killed_after: float | None = Field(ge=0)


class PhaseChangeState(Record):
    """A word that a run has shown, and since when."""

    at: Moment
    phase: str = Field(min_length=1)


class RunState(Record):
    """
    A run, and how far it has come.

    It has begun so many steps of its script, and shown these words. The present step ends at a
    date or with the last of so many looks; a run without words has not appeared.
    """

    id: Id
    tenant_id: Id
    integration_id: Id
    mode: str
    is_scheduled: bool = False
    triggers: list[TriggerState] = Field(min_length=1)
    script: ScriptState
    step: int = Field(0, ge=0)
    history: list[PhaseChangeState] = Field(default_factory=list)
    status: str | None = None
    until: Moment | None = None
    polls: int = Field(0, ge=0)
    ended_at: Moment | None = None


class BuildsState(Record):
    """The scripts of builds, and the builds that have not finished."""

    scripts: list[BuildScript] = Field(default_factory=list)
    pending: list[Build] = Field(default_factory=list)
