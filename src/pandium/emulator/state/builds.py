"""Builds, which become releases of their integrations after the time set by a script."""

from collections.abc import Sequence
from datetime import timedelta
from threading import RLock
from typing import Literal, get_args

from pydantic import Field

from pandium.emulator.state.adding import add_build, integration_problems
from pandium.emulator.state.errors import raise_if_any, validate
from pandium.emulator.state.record_base import Id, Moment, Record
from pandium.emulator.state.store import Store

BuildForm = Literal["any", "build_tag", "tag"]
# About thirty years, so that the time at which a build finishes is a valid date.
MAX_SECONDS = 1e9


class BuildScript(Record):
    """The duration and the outcome of builds of one tag, or of all other tags."""

    tag: str | None = None
    finishes_after: float = Field(default=0.1, ge=0, le=MAX_SECONDS)
    fails: bool = False


class Build(Record):
    """An unfinished build. A build that fails never becomes a release."""

    integration_id: Id
    tag: str
    branch: str | None = None
    finishes_at: Moment
    fails: bool = False


class BuildsState(Record):
    """The scripts of builds, and the builds that have not finished."""

    scripts: list[BuildScript] = Field(default_factory=list)
    pending: list[Build] = Field(default_factory=list)


class Builds:
    """
    The builds of an emulator, and the scripts that they follow.

    A successful build becomes a release of its integration, with the same tag. This is the only way
    in which the API shows builds.
    """

    def __init__(self, store: Store, lock: RLock) -> None:
        self._store = store
        self._lock = lock
        self._pending: list[Build] = []
        self.replace((), ())

    def replace(self, scripts: Sequence[BuildScript], pending: Sequence[Build]) -> None:
        """Replace all scripts and builds, and accept any form."""
        self.accepted: BuildForm = "any"
        self._scripts: dict[str | None, BuildScript] = {None: BuildScript()}
        self._scripts |= {one.tag: one for one in scripts}
        self._pending = list(pending)

    def accept(self, form: BuildForm) -> None:
        """
        Accept only one form of `POST /v2/sourcecontrol/build`, or any form.

        The response to any other form is a 422 that lists the unexpected and the missing fields.

        :param form: "build_tag" for the API reference's form (`build_tag` and `?mode=`), "tag" for
            the later form (`tag`, and optionally `branch` and `?mode=`), or "any" for both, which
            is the initial setting.
        :raises ValueError: if there is no such form.
        """
        if form not in get_args(BuildForm):
            raise ValueError(f"form: must be one of {', '.join(get_args(BuildForm))}, not {form!r}")
        self.accepted = form

    def script(
        self, *, tag: str | None = None, finishes_after: float = 0.1, fails: bool = False
    ) -> None:
        """
        Set the script for builds that are requested from now on.

        :param tag: the tag of the builds. None stands for all tags without their own script.
        :param finishes_after: the time from the request to the release, in seconds of the
            emulator's clock.
        :param fails: whether the build fails, so that it never becomes a release.
        :raises ValueError: if an argument is invalid. The message names it.
        """
        given = {"tag": tag, "finishes_after": finishes_after, "fails": fails}
        self.set_script(validate(BuildScript, given))

    def set_script(self, script: BuildScript) -> None:
        """Set a script."""
        with self._lock:
            self._scripts[script.tag] = script

    def clear_scripts(self) -> None:
        """Remove all scripts, so that new builds follow the default script."""
        with self._lock:
            self._scripts = {None: BuildScript()}

    def remove_script(self, tag: str) -> None:
        """
        Remove the script of a tag. Existing builds keep it.

        :param tag: the tag.
        :raises LookupError: if there is no such script.
        """
        with self._lock:
            if self._scripts.pop(tag, None) is None:
                raise LookupError(f"tag {tag!r} has no script")

    @property
    def scripts(self) -> list[BuildScript]:
        """The scripts, starting with the one for all tags without their own script."""
        with self._lock:
            return list(self._scripts.values())

    @property
    def pending(self) -> list[Build]:
        """The builds that have not finished, in the order of the requests."""
        with self._lock:
            self.settle()
            return list(self._pending)

    def start(self, integration_id: int, tag: str, branch: str | None) -> None:
        """Start a build, or raise InvalidInput."""
        with self._lock:
            raise_if_any(*integration_problems(self._store, integration_id))
            script = self._scripts.get(tag, self._scripts[None])
            finishes_at = self._store.now() + timedelta(seconds=script.finishes_after)
            build = Build(
                integration_id=integration_id,
                tag=tag,
                branch=branch,
                finishes_at=finishes_at,
                fails=script.fails,
            )
            self._pending.append(build)

    def settle(self) -> None:
        """Finish the builds that are due, and add the releases of those that succeed."""
        if self._pending:
            with self._lock:
                self._finish_due()

    def _finish_due(self) -> None:
        now = self._store.now()
        due = sorted(
            (one for one in self._pending if one.finishes_at <= now),
            key=lambda build: build.finishes_at,
        )
        for build in due:
            self._pending.remove(build)
            if not build.fails:
                add_build(
                    self._store, build.integration_id, build.tag, build.branch, build.finishes_at
                )
