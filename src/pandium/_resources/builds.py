"""The operations on builds: ``/v2/sourcecontrol/build``."""

from __future__ import annotations

import re
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import attrs

from pandium._resources.releases import Releases, list_tagged
from pandium._serialization.convert import encode_json_object
from pandium._transport.spec import RequestSpec
from pandium._user_code import is_user_error
from pandium._validation import validate_mode, validate_tag, validate_text, validate_whole_number
from pandium._waiting.polling import Polling
from pandium._waiting.scheduler import wait_for_run
from pandium.errors import NotFound, ValidationError, WaitTimeout
from pandium.models import Outcome, TriggerStatus

if TYPE_CHECKING:
    from pandium._resources.trigger_status import StatusPoller
    from pandium._transport.transport import Transport
    from pandium.models import Release, RunMode

__all__ = ["AcceptedForm", "Builds"]

_PATH = "/v2/sourcecontrol/build"
# How Pydantic, JSON Schema and similar validators report a field that they do not expect. The text
# is the server's, so the repetition is bounded.
_UNEXPECTED_FIELD = re.compile(
    r"extra_forbidden"
    r"|\b(extra|unexpected|unknown|unrecognized|additional|unsupported)"
    r" (field|input|key|propert|parameter|argument)"
    r"|\b(field|input|key|property|parameter|argument)\b(?! value).{0,80}"
    r" not (permitted|allowed|expected)"
)


class BuildForm(Enum):
    """
    The known forms of the request that creates a build.

    The vendor has documented two forms, and which one the service accepts is unknown. The first
    form contains the fields of both, which works unless the service rejects unknown fields.
    """

    COMBINED = ("build_tag", "tag", "branch", "mode")
    REFERENCE = ("build_tag", "mode")
    LATER = ("tag", "branch")


@attrs.frozen
class _BuildRequest:
    """The arguments of ``Builds.create``, which are sent in one of the forms."""

    integration_id: int
    fields: dict[str, str]
    mode: str | None

    @classmethod
    def validate(
        cls, integration_id: int, tag: str, mode: RunMode | str | None, branch: str | None
    ) -> _BuildRequest:
        """Validate the arguments. An argument that is ``None`` is not sent."""
        tag = validate_tag(tag)
        fields = {"build_tag": tag, "tag": tag}
        if branch is not None:
            fields["branch"] = validate_text("branch", branch)
        integration_id = validate_whole_number("integration_id", integration_id)
        return cls(integration_id, fields, None if mode is None else validate_mode(mode))

    def forms(self, accepted: BuildForm | None) -> list[BuildForm]:
        """Return the forms to try, in order. Omit a form that would drop the branch."""
        forms = [
            form for form in BuildForm if "branch" not in self.fields or "branch" in form.value
        ]
        return sorted(forms, key=lambda form: form is not accepted)  # the sort is stable

    def spec(self, form: BuildForm) -> RequestSpec:
        """Return the request spec for one of the forms."""
        fields = {name: value for name, value in self.fields.items() if name in form.value}
        return RequestSpec.create(
            "POST",
            _PATH,
            params={"mode": self.mode if "mode" in form.value else None},
            content=encode_json_object({**fields, "integration_id": self.integration_id}, "tag"),
        )


@attrs.define
class AcceptedForm:
    """The form that the service accepted last. All views of a client share it."""

    form: BuildForm | None = None


@attrs.frozen
class Builds:
    """Builds of integrations. Pandium creates releases from them."""

    _transport: Transport = attrs.field(repr=False)
    _poller: StatusPoller = attrs.field(repr=False)
    _releases: Releases = attrs.field(repr=False)
    _accepted: AcceptedForm = attrs.field(repr=False, eq=False)

    async def create(
        self,
        integration_id: int,
        tag: str,
        *,
        mode: RunMode | str | None = None,
        branch: str | None = None,
    ) -> Any:
        """
        Create a build of an integration.

        The request is not retried if it may already have created the build.

        ```python
        await client.builds.create(integration_id, "v1.4.0", mode="normal")
        release = await client.builds.wait(integration_id, "v1.4.0")
        ```

        Pandium documents two forms of this request: one with ``build_tag`` and ``mode``, and a
        later one with ``tag`` and ``branch``. The client sends the tag under both names. If the
        service rejects a field that it does not expect, nothing was built, and the client sends
        one form after the other. It remembers the form that the service accepts. The later form
        has no ``mode``. A ``branch`` is never dropped: the form without it is not tried.

        API reference:
        [Create Build V2](https://docs.pandium.com/reference/pandium-api#create-build-v2)

        :param integration_id: the integration's id.
        :param tag: the build's tag, such as ``"v1.4.0"``.
        :param mode: the run mode, ``"init"`` or ``"normal"``. The API reference requires it.
            Default: not sent.
        :param branch: the branch to build. Default: not sent, which builds the integration's
            tracking branch.
        :returns: the response as decoded JSON.
        :raises ValidationError: if the integration does not exist, or if a value is rejected or
            missing.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        build = _BuildRequest.validate(integration_id, tag, mode, branch)
        *forms, last_form = build.forms(self._accepted.form)
        for form in forms:
            try:
                return await self._send(build, form)
            except ValidationError as error:
                if is_user_error(error) or not _is_unexpected_field(error):
                    raise
        return await self._send(build, last_form)

    async def _send(self, build: _BuildRequest, form: BuildForm) -> Any:
        response = await self._transport.request_json(build.spec(form))
        self._accepted.form = form
        return response

    async def wait(
        self,
        integration_id: int,
        tag: str,
        *,
        timeout: float = 1800.0,  # noqa: ASYNC109 - the time limit of the build, not of this coroutine
        poll: Polling = Polling(),  # noqa: B008 - frozen
    ) -> Release:
        """
        Wait until the release of a build is listed, and return it.

        A finished build appears as a release of its integration with the same tag. The API does not
        report the status of a build, so a failed build is noticed only at the time limit. Transient
        errors do not end the wait.

        ```python
        await client.builds.create(integration_id, "v1.4.1", mode="normal")
        release = await client.builds.wait(integration_id, "v1.4.1", timeout=600)
        print(release.id, release.name)
        ```

        API reference:
        [Get Integration Releases](https://docs.pandium.com/reference/pandium-api#get-integration-releases)

        :param integration_id: the integration's id.
        :param tag: the build's tag.
        :param timeout: the time limit in seconds.
        :param poll: the polling settings.
        :returns: the release. If several releases have the tag, the one with the highest id.
        :raises WaitTimeout: if no release has the tag by the time limit. Its ``trigger_id`` is the
            tag.
        :raises NotFound: if the integration does not exist.
        :raises ValueError: if an argument is invalid. Nothing is sent.
        """
        tag = validate_tag(tag)
        integration_id = validate_whole_number("integration_id", integration_id)
        transport = self._transport.without_retries()  # polling repeats the request
        search = _ReleaseSearch(transport, integration_id, tag)
        options = self._poller.wait_options(
            poll=poll,
            timeout=timeout,
            classify=lambda _: Outcome.SUCCEEDED,
            on_status=None,
            on_status_args=lambda _: (),
        )
        options = attrs.evolve(options, poll_status=search.poll, polled="the releases for build {}")
        try:
            await wait_for_run(tag, options)
        except WaitTimeout as error:
            if not is_user_error(error):
                error.args = (_timeout_text(error, timeout),)
            raise
        if isinstance(search.outcome, NotFound):
            raise search.outcome
        return cast("Release", search.outcome)


@attrs.define
class _ReleaseSearch:
    """
    A search for the release with a tag, which is repeated until there is an ``outcome``.

    A ``NotFound`` ends the search too. A wait for a run would treat it as "not yet".
    """

    _transport: Transport
    _integration_id: int
    tag: str
    outcome: Release | NotFound | None = attrs.field(default=None, init=False)

    async def poll(self, _: str) -> TriggerStatus | None:
        """List the releases once. Return a status if the search has ended."""
        try:
            matching = await list_tagged(self._transport, self._integration_id, self.tag)
        except NotFound as error:
            if is_user_error(error):
                raise
            self.outcome = error
        else:
            self.outcome = max(matching, key=attrgetter("id"), default=None)
        return None if self.outcome is None else TriggerStatus("ended")


def _is_unexpected_field(error: ValidationError) -> bool:
    """Return whether the service rejected a request only because of a field in it."""
    types = " ".join(detail.type for detail in error.details)
    return _UNEXPECTED_FIELD.search(f"{error.message} {types}".lower()) is not None


def _timeout_text(error: WaitTimeout, seconds: float) -> str:
    cause = "" if error.__cause__ is None else f"; the last poll failed: {error.__cause__}"
    polls = f"({error.polls} polls)"
    return f"no release has the tag {error.trigger_id!r} after {seconds:g} s {polls}{cause}"
