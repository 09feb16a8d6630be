"""The tree of errors: what each is, says, and carries through a pickle."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pandium
from pandium import errors
from pandium.errors import Attempt, ErrorDetail
from pandium.models import TriggerStatus

# The documented tree: an error, and what it is directly derived from.
BASES: dict[str, tuple[type[BaseException], ...]] = {
    "PandiumError": (Exception,),
    "ConfigurationError": (errors.PandiumError, ValueError),
    "TransportError": (errors.PandiumError,),
    "ConnectFailed": (errors.TransportError,),
    "RequestTimeout": (errors.TransportError, TimeoutError),
    "ConnectionLost": (errors.TransportError,),
    "APIError": (errors.PandiumError,),
    "BadRequest": (errors.APIError,),
    "AuthenticationError": (errors.APIError,),
    "NotFound": (errors.APIError,),
    "ValidationError": (errors.APIError,),
    "RateLimited": (errors.APIError,),
    "ServerError": (errors.APIError,),
    "ConnectorError": (errors.APIError,),
    "DecodeError": (errors.PandiumError,),
    "DriftError": (errors.PandiumError,),
    "WaitTimeout": (errors.PandiumError, TimeoutError),
    "RunFailed": (errors.PandiumError,),
}
VALUES = [errors.Attempt, errors.ErrorDetail]
STATUS = TriggerStatus("Failed (Timeout)")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
OWN: dict[type[errors.PandiumError], dict[str, Any]] = {
    errors.APIError: {
        "status_code": 422,
        "message": "no such mode",
        "details": (ErrorDetail(("query", "mode", 0), "no such mode", "enum"),),
        "body": {"detail": [{"loc": ["query"]}]},
        "headers": {"x-request-id": "r1"},
        "retry_after": 1.5,
    },
    errors.DecodeError: {"path": "[3].status.auth"},
    errors.WaitTimeout: {"trigger_id": "t1", "last_status": STATUS, "polls": 9},
    errors.RunFailed: {"trigger_id": "t1", "status": STATUS},
}
COMMON: dict[str, Any] = {
    "method": "POST",
    "url": "https://api.example/v2/tenants/7/sync?mode=normal",
    "attempts": (Attempt(NOW, 0.25, "503"), Attempt(NOW, 0.5, "422")),
    "outcome_unknown": True,
    "resume_skip": 40,
}


def error_classes() -> list[type[errors.PandiumError]]:
    listed = [getattr(errors, name) for name in errors.__all__]
    return [value for value in listed if issubclass(value, BaseException)]


def own_attributes(cls: type[errors.PandiumError]) -> dict[str, Any]:
    return next((own for base, own in OWN.items() if issubclass(cls, base)), {})


def make(cls: type[errors.PandiumError], text: str = "it went wrong") -> errors.PandiumError:
    """Make an error with every attribute that it documents."""
    construct: Any = cls
    error: errors.PandiumError = construct(text, **own_attributes(cls))
    for name, value in COMMON.items():
        setattr(error, name, value)
    if isinstance(error, errors.ConnectorError):
        error.data = {"upstream": ["no"]}
    return error


def attributes(error: errors.PandiumError) -> dict[str, Any]:
    names = [*COMMON, *own_attributes(type(error)), "args"]
    data = {"data": error.data} if isinstance(error, errors.ConnectorError) else {}
    return {name: getattr(error, name) for name in names} | data


CLASSES = error_classes()
EVERY_ERROR = pytest.mark.parametrize("cls", CLASSES)
COPIES: list[Callable[[Any], Any]] = [
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: pickle.loads(pickle.dumps(error, protocol=0)),
    copy.copy,
    copy.deepcopy,
]
EVERY_COPY = pytest.mark.parametrize(
    "copied", COPIES, ids=["pickle", "pickle-0", "copy", "deepcopy"]
)


def test_every_listed_name_is_in_the_documented_tree() -> None:
    """No error is listed that the documented tree does not have, and none is missing."""
    assert {cls.__name__ for cls in CLASSES} == set(BASES)
    assert set(errors.__all__) == set(BASES) | {value.__name__ for value in VALUES}


def test_every_error_of_the_package_is_listed() -> None:
    """No module of the package defines an exception outside the documented tree."""
    for module in pkgutil.walk_packages(pandium.__path__, "pandium."):
        if module.name.endswith("__main__") or module.name.startswith("pandium.emulator"):
            continue
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, BaseException) and cls.__module__.startswith("pandium"):
                # These two are signals within their modules, and never reach users.
                assert cls in CLASSES or cls.__name__ in ("_Held", "_Locked")


@EVERY_ERROR
def test_every_error_can_be_imported_from_the_package(cls: type[errors.PandiumError]) -> None:
    """Each error is a name of the package itself."""
    assert getattr(pandium, cls.__name__) is cls
    assert cls.__name__ in pandium.__all__


@EVERY_ERROR
def test_an_error_has_its_documented_bases(cls: type[errors.PandiumError]) -> None:
    """Each error is derived from what the documented tree says."""
    assert cls.__bases__ == BASES[cls.__name__]


@EVERY_ERROR
@EVERY_COPY
def test_a_copy_of_an_error_has_all_its_attributes(
    cls: type[errors.PandiumError], copied: Callable[[Any], Any]
) -> None:
    """A pickle and a copy of an error have its type, text and attributes."""
    error = make(cls)
    again = copied(error)
    assert type(again) is cls
    assert again is not error
    assert attributes(again) == attributes(error)
    assert (str(again), repr(again)) == (str(error), repr(error))


@EVERY_ERROR
@EVERY_COPY
def test_a_copy_of_a_bare_error_has_the_defaults(
    cls: type[errors.PandiumError], copied: Callable[[Any], Any]
) -> None:
    """A copy of an error that names no request names none either."""
    construct: Any = cls
    error = construct("", **own_attributes(cls))
    again = copied(error)
    assert attributes(again) == attributes(error)
    assert (again.method, again.url, again.attempts, again.resume_skip) == (None, None, (), None)


@EVERY_COPY
def test_a_copy_keeps_notes(copied: Callable[[Any], Any]) -> None:
    """A note that somebody added to an error is in its copies."""
    error = make(errors.NotFound)
    error.add_note("while the moon was full")
    assert copied(error).__notes__ == ["while the moon was full"]


def test_a_shallow_copy_is_independent() -> None:
    """Setting an attribute of a copy leaves the error as it was."""
    error = make(errors.NotFound)
    copy.copy(error).resume_skip = 99
    assert error.resume_skip == COMMON["resume_skip"]


def test_a_deep_copy_shares_nothing() -> None:
    """Changing the body of a deep copy leaves the error as it was."""
    error = errors.APIError("x", status_code=400, body={"a": []})
    copy.deepcopy(error).body["a"].append(1)
    assert error.body == {"a": []}


def target_in(cls: type[errors.PandiumError]) -> str:
    host = "https://api.example" if cls is errors.ConnectFailed else ""
    return f"{host}/v2/tenants/7/sync"


@EVERY_ERROR
def test_an_error_without_arguments_can_be_shown_and_copied(
    cls: type[errors.PandiumError],
) -> None:
    """An error whose text is missing is shown as an empty one, and pickles."""
    error = make(cls)
    error.args = ()
    again = pickle.loads(pickle.dumps(error))
    assert again.args == ()
    assert str(again) == f"POST {target_in(cls)}: "


@EVERY_ERROR
def test_the_text_names_the_request(cls: type[errors.PandiumError]) -> None:
    """
    The text is the method, the path without its query, and what happened.

    Where no connection was made it has the host, too, as that may be what is wrong.
    """
    error = make(cls, "422 Unprocessable Entity: no such mode")
    text = f"POST {target_in(cls)}: 422 Unprocessable Entity: no such mode"
    assert str(error) == text
    assert repr(error) == f"{cls.__name__}({text!r})"


@pytest.mark.parametrize("missing", ["method", "url"])
def test_the_text_is_bare_without_a_request(missing: str) -> None:
    """An error that belongs to no request shows its text alone."""
    error = make(errors.PandiumError)
    setattr(error, missing, None)
    assert str(error) == "it went wrong"


@EVERY_ERROR
@given(text=st.text(st.characters() | st.sampled_from("\r\n\t\x0b\x0c\x1c\x85\u2028\u2029")))
def test_the_text_is_one_line(cls: type[errors.PandiumError], text: str) -> None:
    """Whatever the server said, an error is shown in one line."""
    error = make(cls, text)
    assert len(str(error).splitlines()) == 1
    assert len(repr(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("cls", "is_unknown"),
    [
        (errors.PandiumError, False),
        (errors.ConfigurationError, False),
        (errors.TransportError, True),
        (errors.ConnectFailed, False),
        (errors.RequestTimeout, True),
        (errors.ConnectionLost, True),
        (errors.DriftError, False),
    ],
)
def test_only_a_request_that_was_sent_has_an_unknown_outcome(
    cls: type[errors.PandiumError], *, is_unknown: bool
) -> None:
    """A lost answer leaves the outcome open; a request that was never sent does not."""
    assert cls("x").outcome_unknown is is_unknown


def test_an_api_error_has_empty_defaults() -> None:
    """An answer of which only the status is known has empty attributes, its own ones."""
    error, other = (errors.APIError("x", status_code=500) for _ in range(2))
    assert (error.message, error.details, error.body) == ("", (), None)
    assert (error.headers, error.retry_after) == ({}, None)
    assert error.headers is not other.headers


def test_a_connector_error_has_no_data_by_default() -> None:
    """An upstream's error of which nothing is known has no data."""
    assert errors.ConnectorError("x", status_code=500).data is None


def test_a_decode_error_is_of_the_whole_by_default() -> None:
    """A DecodeError without a path is about the whole answer."""
    assert errors.DecodeError("x").path == ""


@pytest.mark.parametrize("cls", [errors.RequestTimeout, errors.WaitTimeout])
def test_a_timeout_is_caught_as_the_builtin_one(cls: type[errors.PandiumError]) -> None:
    """Whoever catches TimeoutError catches the library's time limits."""
    with pytest.raises(TimeoutError, match="it went wrong"):
        raise make(cls)


@pytest.mark.parametrize("value", [COMMON["attempts"][0], OWN[errors.APIError]["details"][0]])
def test_the_values_of_an_error_are_frozen_and_hashable(value: Any) -> None:
    """An attempt and a detail cannot be changed, and can be members of a set."""
    name = type(value).__attrs_attrs__[0].name
    with pytest.raises(AttributeError):
        setattr(value, name, None)
    assert {value} == {copy.deepcopy(value)}
