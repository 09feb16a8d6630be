"""
Derive a description of the client's operations from the client itself.

Each operation is called with sample arguments on a transport that records the request instead of
sending it. A hand-written description was rejected, because it would drift from the client.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pandium import models
from pandium._client import AsyncPandium
from pandium._listing.listing import Listing
from pandium._resources.builds import AcceptedForm
from pandium._resources.paging import Paging
from pandium.models import ReleaseChannel, RunMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandium._transport.spec import RequestSpec

    Part: TypeAlias = tuple[str, str]  # "query" or "body", and the name of a parameter or field

__all__ = ["FREE_BODY", "Argument", "Operation", "Part", "Reader", "describe_client"]

# These methods send no request of their own, or only requests of other methods.
_COMPOSED = frozenset({"as_completed", "find", "log", "sync_all", "transport", "wait", "wait_all"})
_SAMPLES = {"sort_by": "id__ASC", "method": "GET", "target_url": "https://api.example.com/"}
_ENUMS: dict[str, Any] = {"RunMode": RunMode, "ReleaseChannel": ReleaseChannel}
_KINDS = {
    "int": "integer",
    "Tenant": "integer",
    "str": "string",
    "Trigger": "string",
    "bool": "boolean",
    **dict.fromkeys(_ENUMS, "string"),
    "Mapping[str, Any]": "object",
}
_OPEN = "changes"  # the parameter of an operation that takes any field
_MARK = "sample"  # the field of an object that the user passes
FREE_BODY: Part = ("body", "")  # the body is an object that the user passes


@attrs.frozen
class Reader:
    """A function with which an operation decodes its response on its own."""

    read: Callable[[Any], Any]


@attrs.frozen
class Argument:
    """
    A part of a request that the client can send.

    :ivar kinds: the JSON types that the client accepts, such as ``integer``. Empty for any type.
    :ivar is_always_sent: whether every request contains it.
    :ivar values: the only values that the client sends, or ``None`` if it sends any.
    :ivar default: the value that the client sends on its own, or ``None``.
    """

    kinds: frozenset[str] = frozenset()
    is_always_sent: bool = False
    values: frozenset[str] | None = None
    default: int | None = None


@attrs.frozen
class Operation:
    """
    An operation of the client.

    :ivar name: the method, such as ``tenants.list``.
    :ivar method: the HTTP method.
    :ivar path: the path template, such as ``/v2/tenants/{tenant_id}``.
    :ivar segments: the arguments in the path, in order.
    :ivar arguments: the query parameters and the fields of the body.
    :ivar response: the type that the response is decoded as, or a ``Reader``.
    """

    name: str
    method: str
    path: str
    segments: list[Argument]
    arguments: dict[Part, Argument]
    response: Any


async def describe_client() -> list[Operation]:
    """Return the operations of the client, in the order of its methods."""
    recorder = _Recorder()
    client: Any = object.__new__(AsyncPandium)
    client._bind(recorder, AcceptedForm(), owns=False)  # noqa: SLF001 - creates the resources
    return [
        await _Method(f"{name}.{method}", getattr(resource, method), recorder).describe()
        for name, resource in vars(client).items()
        if not name.startswith("_")
        for method in vars(type(resource))
        if not method.startswith("_") and method not in _COMPOSED
    ]


@attrs.frozen
class _RecordedRequest:
    """A request that was recorded, and the type that its response would be decoded as."""

    spec: RequestSpec
    response: Any

    def parts(self) -> dict[Part, Any]:
        """Return the query parameters and the fields of the body."""
        query = {("query", name): value for name, value in (self.spec.params or {}).items()}
        body = None if self.spec.content is None else json.loads(self.spec.content)
        if body is None:
            return query
        if _MARK in body:
            return {**query, FREE_BODY: body}
        return {**query, **{("body", name): value for name, value in body.items()}}


class _Recorder:
    """A stand-in for the transport, which records requests instead of sending them."""

    def __init__(self) -> None:
        self.requests: list[_RecordedRequest] = []

    async def request_model(self, spec: RequestSpec, cls: Any, **_: object) -> Any:
        self.requests.append(_RecordedRequest(spec, cls))
        return []

    async def request_json(self, spec: RequestSpec) -> None:
        self.requests.append(_RecordedRequest(spec, Any))

    async def request(self, spec: RequestSpec, read: Callable[[Any], Any]) -> None:
        model = getattr(models, str(inspect.signature(read).return_annotation), None)
        is_model = model is not None and attrs.has(model)
        self.requests.append(_RecordedRequest(spec, model if is_model else Reader(read)))


class _Method:
    """A method of the client, which is described by calling it."""

    def __init__(self, name: str, function: Any, recorder: _Recorder) -> None:
        self._name = name
        self._function = function
        self._recorder = recorder
        parameters = inspect.signature(function).parameters.values()
        own = [one for one in parameters if one.name not in Paging.__annotations__]
        self._annotations = {one.name: str(one.annotation).split(" | ") for one in own}
        samples = {one.name: self._sample(one) for one in own}
        self._required = {one.name: samples[one.name] for one in own if one.default is one.empty}
        self._optional = {k: v for k, v in samples.items() if k not in self._required}

    def _sample(self, parameter: inspect.Parameter) -> Any:
        """Return a valid value for a parameter, which differs from those of all others."""
        name, kinds = parameter.name, self._annotations[parameter.name]
        if name in _SAMPLES:
            return _SAMPLES[name]
        for enum in _ENUMS.keys() & set(kinds):
            return next(iter(_ENUMS[enum])).value
        if "str" in kinds:
            return f"sample-{name.replace('_', '-')}"
        if "int" in kinds:
            return 1000 + len(name)
        return True if "bool" in kinds else {_MARK: name}

    async def describe(self) -> Operation:
        """Call the method with its required arguments, and once more with each optional one."""
        base = await self._call(self._required)
        known = base.parts()
        arguments = {part: await self._identify(value) for part, value in known.items()}
        for name, value in self._optional.items():
            more = await self._call({**self._required, name: value})
            argument = await self._describe_argument(name)
            arguments |= dict.fromkeys(more.parts().keys() - known.keys(), argument)
        spec = base.spec
        samples = {str(value): name for name, value in self._required.items()}
        names = [samples[word] for word in spec.path.split("/") if word in samples]
        segments = [await self._describe_argument(name) for name in names]
        return Operation(self._name, spec.method, spec.template, segments, arguments, base.response)

    async def _call(self, arguments: Mapping[str, Any]) -> _RecordedRequest:
        self._recorder.requests.clear()
        named = {name: value for name, value in arguments.items() if name != _OPEN}
        returned = self._function(**named, **arguments.get(_OPEN, {}))
        await (anext(aiter(returned.pages()), None) if isinstance(returned, Listing) else returned)
        return self._recorder.requests[0]

    async def _identify(self, value: Any) -> Argument:
        """Describe a part of every request by the argument that it comes from."""
        for name, sample in self._required.items():
            if value == sample:
                argument = await self._describe_argument(name)
                return attrs.evolve(argument, is_always_sent=True)
        return Argument(frozenset({"integer"}), is_always_sent=True, default=value)

    async def _describe_argument(self, name: str) -> Argument:
        annotation = self._annotations[name]
        kinds = frozenset(_KINDS[word] for word in annotation if word in _KINDS)
        return Argument(kinds, values=await self._values(name))

    async def _values(self, name: str) -> frozenset[str] | None:
        """Return the only values of an enum that the method accepts, or ``None``."""
        for enum in _ENUMS.keys() & set(self._annotations[name]):
            try:
                await self._call({**self._required, name: "sample"})
            except ValueError:
                return frozenset(_ENUMS[enum])
        return None
