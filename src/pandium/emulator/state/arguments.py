"""Methods that take the fields of a record as arguments."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, ParamSpec, Protocol, TypeVar, cast, get_type_hints, overload

from pandium.emulator.state.errors import validate
from pandium.emulator.state.record_base import Record

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
S_contra = TypeVar("S_contra", contravariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class RecordCall(Protocol[P, T_co]):
    """A call with the fields of a record as keyword arguments. One may be positional."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    @overload
    def __call__(self, first: str | int, /, *args: P.args, **kwargs: P.kwargs) -> T_co: ...


class RecordMethod(Protocol[S_contra, P, T_co]):
    """A method that is called with the fields of a record."""

    def __get__(self, instance: S_contra, owner: object, /) -> RecordCall[P, T_co]: ...


def fields_as_arguments(
    record: Callable[P, R], positional: str
) -> Callable[[Callable[[S_contra, R], T]], RecordMethod[S_contra, P, T]]:
    """
    Return a decorator for a method that takes a record. Callers pass the record's fields instead.

    :param record: the class of the record.
    :param positional: the field that may be passed as a positional argument.
    """
    model = cast("type[R]", record)

    def decorate(method: Callable[[S_contra, R], T]) -> RecordMethod[S_contra, P, T]:
        @wraps(method)
        def call(self: S_contra, first: object = None, /, **fields: Any) -> T:
            if first is not None:
                fields = dict(**{positional: first}, **fields)
            return method(self, validate(model, fields))

        call.__signature__ = _signature(model, positional)  # type: ignore[attr-defined]  # `help` reads it
        return cast("RecordMethod[S_contra, P, T]", call)

    return decorate


def _signature(model: type[Record], positional: str) -> Signature:
    """Return the signature for `help`: the record's fields, one of which may be positional."""
    types = get_type_hints(model)  # without the validators, which would fill a screen
    fields = {
        name: parameter.replace(annotation=types[name])
        for name, parameter in signature(model).parameters.items()
    }
    first = fields.pop(positional).replace(kind=Parameter.POSITIONAL_OR_KEYWORD)
    owner = Parameter("self", Parameter.POSITIONAL_ONLY)
    return Signature([owner, first, *fields.values()])
